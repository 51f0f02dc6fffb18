"""From chips as they are packed to bytes: standardised, through the network, decided. What a device
computes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.graphs.session import Provider
from segmentation.inference.device import PLACES, Engine, Runtime, WantedPrecision, set_precision
from segmentation.inference.joint import join
from segmentation.inference.measures import decide, join_strips, legend_values
from segmentation.inference.transfer import Ranges, Standardiser
from segmentation.inference.zoom import restore
from segmentation.networks.receptive_field import taper
from segmentation.segmenter import Measure

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]


class InferenceOptions(NamedTuple):
    """How a network is run: in which runtime, by how many views of a chip, with which measures."""

    runtime: Runtime = "torch"
    symmetries: bool = False
    """Whether it looks at each chip in its 8 turns and mirror images, and its probabilities are
    averaged."""
    measures: tuple[Measure, ...] = ()
    ranges: Ranges = ()
    """What a fit found, for a network that is normalised by its scene."""
    provider: Provider = "cpu"
    """Where ONNX Runtime computes a graph."""
    zoom: int = 1
    """At which pixel size it sees a chip; see `segmentation.inference.zoom`."""
    precision: WantedPrecision = "auto"
    """Of the products on a graphics card."""


class Probabilities:
    """Packed chips `(batch, …)`, zoomed already, to `(batch, class, y, x) float32`; joined with
    those of trees beside the network, where chips bring them."""

    def __init__(self, engine: Engine, wish: InferenceOptions) -> None:
        self._engine, self._symmetries = engine, wish.symmetries
        self._temperature = engine.card.chips.temperature
        self._standardise = Standardiser(engine.card, PLACES[engine.device], wish.ranges)

    def __call__(self, seen: Tensors) -> torch.Tensor:
        if self._engine.device == "cuda":
            set_precision(self._engine.precision)
        pixels = self._standardise(seen)
        shares = self._eight(pixels) if self._symmetries else self._shares(pixels)
        return join(shares, seen["beside"]) if "beside" in seen else shares

    def _shares(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self._engine.logits(pixels).float() / self._temperature).softmax(1)

    def _eight(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        total: torch.Tensor | None = None
        for turns in range(4):
            for mirrored in (False, True):
                seen = pixels.rot90(turns, (2, 3))
                seen = (seen.flip(3) if mirrored else seen).contiguous(
                    memory_format=torch.channels_last
                )
                found = self._shares(seen)
                found = (found.flip(3) if mirrored else found).rot90(-turns, (2, 3))
                total = found if total is None else total + found
        assert total is not None
        return total / 8


class Labelling:
    """Packed chips to what is decided of them: `labels`, `confidence` and measures, uint8.

    On a graphics card also `finite (batch) bool`: whether a chip's probabilities are numbers.
    """

    def __init__(self, engine: Engine, wish: InferenceOptions) -> None:
        self._look, self._wish = Probabilities(engine, wish), wish
        self._values = legend_values(engine.card, PLACES[engine.device])
        self._flags = engine.device == "cuda"

    def __call__(self, seen: Tensors) -> dict[str, torch.Tensor]:
        import torch

        with torch.inference_mode():
            shares = self._look(seen)
            flags = {"finite": _finite(shares)} if self._flags else {}
            valid = seen["there"] if "there" in seen else seen["valid"]
            strips = restore(shares, seen["valid"], self._wish.zoom)
            decided = [
                decide(self._values, self._wish.measures, strip, valid[:, rows])
                for rows, strip in strips
            ]
            return join_strips(decided) | flags


class Scoring:
    """Packed chips to `scores (batch, class, y, x) float32`, what each adds to the sums that
    `settle` reads.

    Logarithms of probabilities, shifted so that their mean over the classes is 1, times a chip's
    weights, which fall towards its edges, over the margin on both sides of each core's edge.
    """

    def __init__(self, engine: Engine, wish: InferenceOptions, margin: int) -> None:
        self._look, self._wish, self._margin = Probabilities(engine, wish), wish, margin
        self._place, self._flags = PLACES[engine.device], engine.device == "cuda"
        self._weights: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, seen: Tensors) -> dict[str, torch.Tensor]:
        import torch

        with torch.inference_mode():
            found = self._look(seen)
            strips = restore(found, seen["valid"], self._wish.zoom)
            shares = torch.cat([strip for _, strip in strips], 2)
            # of nothing, where no pixel is valid, anything
            logs = shares.nan_to_num().clamp(torch.finfo(torch.float32).tiny).log()
            weighted = (logs - logs.mean(1, keepdim=True) + 1) * self._weight(logs.shape[2:])
            flags = {"finite": _finite(found)} if self._flags else {}
            return {"scores": weighted.contiguous(), **flags}

    def _weight(self, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        if shape not in self._weights:
            outer = np.multiply.outer(*(taper(length, self._margin) for length in shape))
            self._weights[shape] = torch.from_numpy(outer).to(self._place)
        return self._weights[shape]


def settle(total: Any) -> Any:
    """Probabilities `(class, y, x)` from sums of scores, an array of NumPy or a tensor of a device:
    the weighted geometric mean of what all chips say.

    With an arithmetic mean, two chips that are sure of different things change places where their
    weights do: along a line. With this one it is nearer to the less sure of them, at another place
    for every pixel, and it follows from logits alone: no temperature moves it.
    """
    if not isinstance(total, np.ndarray):
        return _settle_there(total)
    # To the last bit the same wherever in an array a pixel lies, and so for every shard: classes
    # are added up one after the other, while `sum` takes another order for a single pixel; torch's
    # softmax has another last bit at its ends. Scores have a mean of 1 times their weight, so that
    # of their sum is the sum of the weights.
    weights: npt.NDArray[np.float32] = reduce(np.add, total) / np.float32(len(total))
    logs = total / np.maximum(weights, np.finfo(np.float32).tiny)
    powers = np.exp(logs - logs.max(0))
    return powers / reduce(np.add, powers)


def _settle_there(total: torch.Tensor) -> torch.Tensor:
    """`settle`, operation by operation, where the sums are: each is the same for a pixel wherever
    it lies."""
    import torch

    weights = reduce(torch.add, total.unbind(0)) / len(total)
    logs = total / weights.clamp(torch.finfo(torch.float32).tiny)
    powers = (logs - logs.amax(0)).exp()
    return powers / reduce(torch.add, powers.unbind(0))


def _finite(shares: torch.Tensor) -> torch.Tensor:
    return shares.isfinite().flatten(1).all(1)


def on_cores(
    compute: Callable[[Tensors], Tensors],
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What torch computes of tensors, for arrays of NumPy; nothing is copied."""
    import torch

    def computed(seen: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        found = compute({name: torch.from_numpy(array) for name, array in seen.items()})
        return {name: tensor.numpy() for name, tensor in found.items()}

    return computed
