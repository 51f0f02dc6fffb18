"""Chips through a network: how many at once, what becomes of their pixels on the way there, and of its answers.

The way is one on every device: pixels go there as they are filed, are standardised, run through the network, and come
back as bytes.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import cache, reduce
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import check_units
from segmentation.inference.runtimes import GPU_LANES, PACKAGES, Device, Engine, Runtime, engine, pool_of
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card
from segmentation.networks.receptive_field import taper
from segmentation.segmenter import Measure, Prediction

if TYPE_CHECKING:
    import torch

_BATCH: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Chips in one call of the network. A constant: what is computed never follows how much memory happens to be free."""

BYTES_PER_PIXEL = 800
"""What one chip takes on its way through a U-Net on resnet18, and torch itself, measured."""

_AT_ONCE = 4 * 1152**2
"""Pixels that are on their way at once, at most: the four chips of a common shard."""

R = TypeVar("R")


class Wish(NamedTuple):
    """What is asked of a network."""

    runtime: Runtime = "torch"
    symmetries: bool = False
    """Whether it looks at each chip in its 8 turns and mirror images, and its probabilities are averaged."""
    measures: tuple[Measure, ...] = ()


def lanes(chip_pixels: int, threads: int) -> int:
    """How many chips of that size run at once on the CPU, each on a thread of its own."""
    return min(threads, max(2, _AT_ONCE // chip_pixels))


def facts(bundle: Bundle, device: Device, wish: Wish) -> dict[str, str]:
    """What decides the numbers: device, runtime with its version, precision, layout, batch. `Mistake` as `engine`."""
    import torch

    engine(bundle, device, wish.runtime)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),  # its own type would have whoever unpickles it import torch
        "runtime": f"{wish.runtime} {version(PACKAGES[wish.runtime][0])}",
        "precision": "bfloat16" if device == "cuda" else "float32",
        "layout": "channels_last",
        "batch": str(_BATCH[device]),
    }


# ----------------------------------------------------------------------------------------------------- chips to answers


def answers(
    bundle: Bundle, device: Device, wish: Wish, chips: Iterable[xr.Dataset], at_once: int
) -> Iterator[Prediction]:
    """Labels, confidence and measures of each chip, in order; `at_once` chips are under way."""
    card, ready = bundle.card, engine(bundle, device, wish.runtime)

    def compute(batch: Sequence[xr.Dataset]) -> list[Prediction]:
        return _settled(card, wish.measures, _probabilities(ready, wish, batch), [c["valid"].values for c in batch])

    def nothing(chip: xr.Dataset) -> Prediction:
        shape = chip["valid"].shape
        counts = {name: len(card.legend) if name == "probabilities" else 1 for name in wish.measures}
        return Prediction(
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
            {name: np.zeros((count, *shape), np.uint8) for name, count in counts.items()},
        )

    return _in_order(chips, compute, nothing, device, at_once)


def scores(
    bundle: Bundle, device: Device, wish: Wish, chips: Iterable[xr.Dataset], at_once: int, margin: int
) -> Iterator[npt.NDArray[np.float32] | None]:
    """What each chip adds to the sums that `settle` reads, `(class, y, x) float32`; None where no pixel is valid.

    Logarithms of its probabilities, shifted so that their mean over the classes is 1, times its weights, which fall
    towards the edges of a chip, over the margin on both sides of each core's edge.
    """
    import torch

    ready = engine(bundle, device, wish.runtime)

    @cache
    def weights(height: int, width: int) -> torch.Tensor:
        return torch.from_numpy(np.multiply.outer(taper(height, margin), taper(width, margin))).to(device)

    def compute(batch: Sequence[xr.Dataset]) -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            logs = _probabilities(ready, wish, batch).clamp(torch.finfo(torch.float32).tiny).log()
            weighted = (logs - logs.mean(1, keepdim=True) + 1) * weights(*batch[0]["valid"].shape)
            return list(weighted.contiguous().cpu().numpy()[: len(batch)])

    return _in_order(chips, compute, lambda chip: None, device, at_once)


def settle(
    card: Card, measures: Sequence[Measure], total: npt.NDArray[np.float32] | None, valid: npt.NDArray[np.bool_]
) -> Prediction:
    """Labels, confidence and measures where `total` is the sum of the scores of all chips that see these pixels."""
    import torch

    if total is None:
        total = np.ones((len(card.legend), *valid.shape), np.float32)
    with torch.inference_mode():
        return _settled(card, measures, torch.from_numpy(agreed(total))[None], [valid])[0]


def agreed(total: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities `(class, y, x)` from sums of scores: the weighted geometric mean of what all chips say.

    With an arithmetic mean, two chips that are sure of different things change places where their weights do: along a
    line. With this one it is nearer to the less sure of them, at another place for every pixel, and it follows from
    logits alone: no temperature moves it.
    """
    # To the last bit the same wherever in an array a pixel lies, and so for every shard: classes are added up one after
    # the other, while `sum` takes another order for a single pixel; torch's softmax has another last bit at its ends.
    # Scores have a mean of 1 times their weight, so that of their sum is the sum of the weights.
    weights = reduce(np.add, total) / np.float32(len(total))
    logs = total / np.maximum(weights, np.finfo(np.float32).tiny)
    powers = np.exp(logs - logs.max(0))
    return powers / reduce(np.add, powers)


def _in_order(
    chips: Iterable[xr.Dataset],
    compute: Callable[[Sequence[xr.Dataset]], Sequence[R]],
    nothing: Callable[[xr.Dataset], R],
    device: Device,
    at_once: int,
) -> Iterator[R]:
    """One result a chip, in order. Chips without a valid pixel cost `nothing`."""
    (pool, _), waiting = pool_of(device), deque[Future[R]]()
    most = _BATCH[device] * (at_once if device == "cpu" else GPU_LANES)
    batch: list[tuple[xr.Dataset, Future[R]]] = []

    def work(taken: list[tuple[xr.Dataset, Future[R]]]) -> None:
        try:
            found = compute([chip for chip, _ in taken])
        except BaseException as error:  # raised again where the result is asked for
            for _, future in taken:
                future.set_exception(error)
        else:
            for (_, future), result in zip(taken, found, strict=True):
                future.set_result(result)

    def send() -> None:
        pool.submit(work, batch.copy())
        batch.clear()

    def first() -> R:
        if batch and waiting[0] is batch[0][1]:
            send()
        return waiting.popleft().result()

    for chip in chips:
        future: Future[R] = Future()
        waiting.append(future)
        if chip["valid"].values.any():
            batch.append((chip, future))
            if len(batch) == _BATCH[device]:
                send()
        else:
            future.set_result(nothing(chip))
        if len(waiting) > most:
            yield first()
    while waiting:
        yield first()


def _probabilities(engine: Engine, wish: Wish, chips: Sequence[xr.Dataset]) -> torch.Tensor:
    """`(batch, class, y, x) float32` on the engine's device; a last batch is filled up with nothing."""
    import torch

    temperature = engine.card.network.temperature
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=engine.device == "cuda"):
        pixels = _on_device(chips, engine.card, engine.device)
        if not wish.symmetries:
            return (engine.logits(pixels).float() / temperature).softmax(1)
        total: torch.Tensor | None = None
        for turns in range(4):
            for mirrored in (False, True):
                seen = pixels.rot90(turns, (2, 3))
                seen = (seen.flip(3) if mirrored else seen).contiguous(memory_format=torch.channels_last)
                found = (engine.logits(seen).float() / temperature).softmax(1)
                found = (found.flip(3) if mirrored else found).rot90(-turns, (2, 3))
                total = found if total is None else total + found
        assert total is not None
        return total / 8


def _settled(
    card: Card, measures: Sequence[Measure], shares: torch.Tensor, valids: Sequence[npt.NDArray[np.bool_]]
) -> list[Prediction]:
    """What follows from probabilities `(batch, class, y, x)`; only bytes leave the device."""
    import torch

    with torch.inference_mode():
        best, index = shares.max(1)  # of equals the first
        labels = torch.tensor(card.legend.values, dtype=torch.uint8, device=shares.device)[index].cpu().numpy()
        confidence = _percent(best)
        found = {name: _percent(_MEASURES[name](shares)) for name in measures}
    return [
        Prediction(
            labels=np.where(valid, labels[i], np.uint8(0)),
            confidence=confidence[i],
            measures={name: values[i] for name, values in found.items()},
        )
        for i, valid in enumerate(valids)
    ]


def _percent(shares: torch.Tensor) -> npt.NDArray[np.uint8]:
    import torch

    return (100 * shares).round().to(torch.uint8).cpu().numpy()


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, 1, y, x)`: 0 where one class is certain, 1 where all are equally likely."""
    import torch

    classes = torch.special.entr(shares).split(1, dim=1)
    return reduce(torch.add, classes).clamp(0, None) / math.log(max(2, len(classes)))  # added as in `agreed`


def _lead(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, 1, y, x)`: the likeliest class less the second."""
    if shares.shape[1] == 1:
        return shares
    two = shares.topk(2, 1).values
    return two[:, :1] - two[:, 1:]


_MEASURES: dict[Measure, Callable[[torch.Tensor], torch.Tensor]] = {
    "probabilities": lambda shares: shares,
    "entropy": _entropy,
    "margin": _lead,
}


# ------------------------------------------------------------------------------------------------- pixels on the device


def normalised(chip: xr.Dataset, card: Card) -> npt.NDArray[np.float32]:
    """What the network sees: `(band, y, x)` in the card's order, (value − mean) / std, and 0 where not valid.

    Raises `Mistake` where a band's values are not in the units the network was trained on.
    """
    import torch

    with torch.inference_mode():
        return _on_device([chip], card, "cpu")[0].contiguous().numpy()


def _on_device(chips: Sequence[xr.Dataset], card: Card, device: Device) -> torch.Tensor:
    """Chips as the network sees them, `(batch, band, y, x) float32` in channels_last; what travels is as filed."""
    import torch

    names = list(card.band_names)
    ordered = [chip if list(chip["band"].values) == names else chip.sel(band=names) for chip in chips]
    first = ordered[0]
    check_units(first, [band.units for band in card.bands])
    filed = (_together(name, [chip[name].values for chip in ordered], device) for name in ("pixels", "valid"))
    pixels, valid = (array.to(device, non_blocking=True) for array in filed)
    # One operation after the other in float32, as everywhere: fused they would round otherwise.
    seen = pixels.to(torch.float32, memory_format=torch.channels_last, copy=True)
    factors = [first["scale"].values, first["offset"].values, *zip(*((b.mean, b.std) for b in card.bands), strict=True)]
    scale, offset, mean, std = (torch.tensor(f, dtype=torch.float32, device=device)[:, None, None] for f in factors)
    seen.mul_(scale).add_(offset).sub_(mean).div_(std)
    return seen.masked_fill_(~valid[:, None], 0)


def _together(name: str, arrays: Sequence[npt.NDArray[Any]], device: Device) -> torch.Tensor:
    """The arrays as one batch: a single one as it is, more in memory that each lane makes once.

    For a GPU it is page-locked: the device copies from there by itself.
    """
    import torch

    if _BATCH[device] == 1:
        return torch.from_numpy(arrays[0])[None]
    kept: dict[str, torch.Tensor] = _lane.__dict__.setdefault("kept", {})
    dtype, shape = torch.from_numpy(arrays[0][:0]).dtype, (_BATCH[device], *arrays[0].shape)
    if name not in kept or (kept[name].dtype, kept[name].shape) != (dtype, shape):
        kept[name] = torch.zeros(shape, dtype=dtype, pin_memory=device == "cuda")
    filled = kept[name].numpy()
    filled[: len(arrays)] = arrays
    filled[len(arrays) :] = 0
    return kept[name]


_lane = threading.local()
