"""How far a network looks and how much of that it needs: its support, its effective field, the
margin that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.models.card import Support

if TYPE_CHECKING:
    import torch

TOLERATED = 0.001
"""Share of labels that may change when a network sees its margin instead of everything."""

_STRIP = 64
"""Columns of the chips on which rows are looked at, at least: some windows are as wide."""

_AT_ONCE = 8
"""Chips in one call while support is looked for."""


LARGEST_REACH = 1024
"""Pixels within which a support is looked for: a U-Net on resnet34 sees 543 far. A chip of that
length is looked at twice only, and shorter ones for what is found."""


class Margin(NamedTuple):
    """A margin, and what it costs."""

    margin: int
    """Pixels, a multiple of the stride."""
    disagreement: float
    """Share of labels unlike the untiled result."""


def support(
    model: torch.nn.Module, bands: int, *, stride: int = 32, reach: int = LARGEST_REACH
) -> Support | None:
    """How far an inference model looks: a NaN goes in, at each phase of the stride, and shows where
    it acts.

    Returns None where it acts further than `reach` px away, or not alike at two multiples of the
    stride: such a network sees the whole chip, or knows where in the chip it looks.
    """
    sides: list[int] = []
    for down in (True, False):
        first, again = _measure_reach(
            model, bands, stride, -(-reach // stride) * stride, (0, stride), down
        )
        # A pixel more or less is the rounding of where interpolation looks; where windows lie is
        # more than that.
        if max(first) >= reach or 2 * np.abs(np.subtract(first, again)).max() >= max(2, stride):
            return None
        near = (max(first) // stride + 2) * stride
        worst = np.max(
            [first, again, *_measure_reach(model, bands, stride, near, range(1, stride), down)],
            axis=0,
        )
        if max(worst) >= reach:
            return None
        sides += map(int, worst)
    return Support(*sides)


def _measure_reach(
    model: torch.nn.Module, bands: int, stride: int, around: int, phases: Sequence[int], down: bool
) -> list[tuple[int, int]]:
    """For each phase, how far those pixels look up and down (or left and right) that see a NaN
    there.

    What convolutions and pools see is a rectangle, so that rows can be found out on a chip of few
    columns.
    """
    import torch

    length, width, found = 2 * (around + stride), -(-_STRIP // stride) * stride, []
    for start in range(0, len(phases), _AT_ONCE):
        poked = [around + phase for phase in phases[start : start + _AT_ONCE]]
        chips = torch.zeros(len(poked), bands, length, width)
        chips[range(len(poked)), :, poked, width // 2] = float("nan")
        chips = (chips if down else chips.mT).to(_place(model))
        with torch.inference_mode():
            spoilt = model(chips.contiguous(memory_format=torch.channels_last)).isnan().any(1)
        for at, seen in zip(poked, spoilt.any(2 if down else 1).cpu().numpy(), strict=True):
            where = np.flatnonzero(seen)
            # what comes out below the NaN has looked up
            found.append((int(where[-1]) - at, at - int(where[0])))
    return found


def effective_field(
    model: torch.nn.Module,
    chips: Iterable[npt.NDArray[np.float32]],
    *,
    stride: int = 32,
    share: float = 0.999,
) -> int:
    """How far from a pixel lies `share` of what decides its label, in pixels: Luo et al. 2016,
    arXiv:1701.04128.

    What decides is the gradient of the winning logit less the second, with respect to each
    normalised input; the chips `(band, y, x)`, of multiples of the stride, are looked at from their
    middles.
    """
    import torch

    within = np.zeros(1)
    # no gradient of theirs is needed
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    for turn, pixels in enumerate(chips):
        height, width = pixels.shape[1:]
        row, col = height // 2 + turn % stride, width // 2 + turn % stride  # each phase counts
        chip = torch.from_numpy(pixels)[None].to(_place(model), memory_format=torch.channels_last)
        chip.requires_grad_()
        first, second = (
            torch.func.functional_call(model, weights, chip)[0, :, row, col].topk(2).values
        )
        (gradient,) = torch.autograd.grad(first - second, chip)
        down, across = np.ogrid[-row : height - row, -col : width - col]
        far = np.maximum(np.abs(down), np.abs(across))
        rings = np.bincount(far.ravel(), gradient[0].abs().sum(0).double().cpu().numpy().ravel())
        within.resize(max(len(within), len(rings)), refcheck=False)
        within[: len(rings)] += rings
    shares = np.cumsum(within) / max(within.sum(), np.finfo(float).tiny)
    return int(np.searchsorted(shares, share))


def taper(length: int, margin: int) -> npt.NDArray[np.float32]:
    """Weights along one side of a chip that is blended with its neighbours: above 0 everywhere, 1 a
    margin inside.

    Where two chips overlap, by two margins, their weights add up to 1. They fall straight: a
    steeper part would gather the places where a label changes from one chip's to the other's.
    """
    from_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return np.minimum(1, from_edge / max(2 * margin, 0.5)).astype(np.float32)


def disagreement(
    model: torch.nn.Module,
    whole: npt.NDArray[np.float32],
    core: int,
    margin: int,
    around: int | None = None,
    *,
    blend: bool = False,
) -> float:
    """Share of labels that change when an inference model sees squares of `core` px with `margin`
    more around them.

    `whole` `(band, y, x)` is normalised; labels count that lie at least `around` px inside, by
    default those of one core in its middle. `around` is a multiple of the stride, at least the
    margin, and best the network's support: its labels are then those of an endless raster. `blend`
    is for networks that see the whole chip.
    """
    around = (whole.shape[1] - core) // 2 if around is None else around
    labels = _predict_whole(model, whole, 1, around)
    return float(np.mean(labels != _predict_in_tiles(model, whole, core, margin, around, blend)))


def choose_margin(
    model: torch.nn.Module,
    chips: Sequence[npt.NDArray[np.float32]],
    *,
    tile: int,
    stride: int,
    support: Support | None,
    most: int | None = None,
    tolerated: float = TOLERATED,
    gradients: bool = True,
) -> Margin:
    """The smallest margin that changes at most the `tolerated` share of labels, or the largest.

    Measured by cutting `chips (band, y, x)`, normalised and of any size, into squares: at least two
    a side, so that there is a cut to see; the share is then that of a cut every `tile` px. No
    margin exceeds the support, nor `most`. Networks without `support` blend their chips; for these
    `most` is a quarter of the tile unless it is given, and a margin is such that tile and two
    margins are whole strides, of which the tile may be half a one short. Without `gradients` the
    search begins at one end, not at the effective field.
    """
    whole_chip = support is None
    if whole_chip and stride % 2 == 0:
        tile += tile % 2  # as the grid of tiles does
    odd = tile % stride if whole_chip else 0
    least, most, around = _margin_bounds(tile, stride, odd, support, most)
    cores = [
        min(tile, odd + -(-(max(chip.shape[1:]) - 2 * odd) // (2 * stride)) * stride)
        for chip in chips
    ]
    wholes = [np.pad(chip, ((0, 0), (around, around), (around, around))) for chip in chips]
    expected = [_predict_whole(model, whole, stride, around) for whole in wholes]

    def changed_share(margin: int) -> float:
        changed = 0
        for whole, core, labels in zip(wholes, cores, expected, strict=True):
            tiled = _predict_in_tiles(model, whole, core, margin, around, whole_chip)
            changed += core * np.count_nonzero(labels != tiled)
        return float(changed / (tile * sum(labels.size for labels in expected)))

    seen = most if whole_chip else least
    if gradients:
        looked_at = [_whole_strides(chip, stride) for chip in chips]
        if not whole_chip:
            looked_at = [_middle(chip, around + stride, stride) for chip in looked_at]
        seen = effective_field(model, looked_at, stride=stride)
    margin = min(most, least + -(-max(0, seen - least) // stride) * stride)
    while (share := changed_share(margin)) > tolerated and margin < most:
        margin += stride
    while share <= tolerated and margin > least:
        less = changed_share(margin - stride)
        if less > tolerated:
            break
        margin, share = margin - stride, less
    return Margin(margin, share)


def _margin_bounds(
    tile: int, stride: int, odd: int, support: Support | None, most: int | None
) -> tuple[int, int, int]:
    """The least and the largest margin, and how much of the image is needed around the tiles.

    Of networks without support, tile and two margins are whole strides; a tile that is `odd` pixels
    longer than whole strides has margins of half strides.
    """
    enough = tile // 4 if support is None else -(-max(support) // stride) * stride
    least = 0
    if odd:
        halves = range(stride // 2, 2 * stride)
        least = next(margin for margin in halves if (tile + 2 * margin) % stride == 0)
    wanted = enough if most is None else most
    largest = max(least or stride, least + (wanted - least) // stride * stride)
    around = largest if support is None else enough
    return least, min(largest, around), around


def _middle(pixels: npt.NDArray[np.float32], around: int, stride: int) -> npt.NDArray[np.float32]:
    """The middle of a chip, `around` px or more to each side; its sides are whole strides before
    and after."""
    rows, cols = (max(0, size // 2 - around) // stride * stride for size in pixels.shape[1:])
    return pixels[:, rows : pixels.shape[1] - rows, cols : pixels.shape[2] - cols]


def _whole_strides(pixels: npt.NDArray[np.float32], stride: int) -> npt.NDArray[np.float32]:
    """The chip, below and to the right filled up with what lies beyond a raster."""
    return np.pad(pixels, ((0, 0), *((0, -size % stride) for size in pixels.shape[1:])))


def _logits(model: torch.nn.Module, pixels: npt.NDArray[np.float32]) -> torch.Tensor:
    import torch

    chip = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(_place(model))
    return model(chip.to(memory_format=torch.channels_last))[0].cpu()


def _place(model: torch.nn.Module) -> torch.device | str:
    """Where a network computes: its weights are there, if it has any."""
    return next((weight.device for weight in model.parameters()), "cpu")


def _predict_whole(
    model: torch.nn.Module, whole: npt.NDArray[np.float32], stride: int, around: int
) -> npt.NDArray[np.int64]:
    """Labels from one pass over everything."""
    import torch

    height, width = (size - 2 * around for size in whole.shape[1:])
    with torch.inference_mode():
        logits = _logits(model, _whole_strides(whole, stride))
        return logits[:, around : around + height, around : around + width].argmax(0).numpy()


def _predict_in_tiles(
    model: torch.nn.Module,
    whole: npt.NDArray[np.float32],
    core: int,
    margin: int,
    around: int,
    blend: bool,
) -> npt.NDArray[np.int64]:
    """Labels from chips, cut or blended as `flows` does it with tiles."""
    import torch

    height, width = (size - 2 * around for size in whole.shape[1:])
    length = core + 2 * margin
    weights = torch.from_numpy(np.multiply.outer(taper(length, margin), taper(length, margin)))
    padded = np.pad(whole, ((0, 0), (0, core), (0, core)))
    total: torch.Tensor | None = None
    with torch.inference_mode():
        for row, col in product(range(0, height, core), range(0, width, core)):
            top, left = around + row - margin, around + col - margin
            logits = _logits(model, padded[:, top : top + length, left : left + length])
            if total is None:
                total = torch.zeros(len(logits), *padded.shape[1:])
            here = total[:, top : top + length, left : left + length]
            if blend:
                here += logits * weights  # in proportion to the logarithms of a geometric mean
            else:
                inner = np.s_[:, margin : margin + core, margin : margin + core]
                here[inner] = logits[inner]
        assert total is not None
        return total[:, around : around + height, around : around + width].argmax(0).numpy()
