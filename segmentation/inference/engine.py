"""Chips through a network: how many at once, what becomes of their pixels on the way there, and of
its answers.

The way is one on every device: pixels go there as they are filed, are standardised, run through the
network, and come back as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, reduce
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.graphs.session import Provider, runtime_version
from segmentation.inference.batching import in_order
from segmentation.inference.device import Device, Engine, Runtime, set_precision
from segmentation.inference.graph_engine import graph_engine
from segmentation.inference.joint import join_trees
from segmentation.inference.measures import join_strips, labels_and_confidence
from segmentation.inference.runtimes import PACKAGES, engine
from segmentation.inference.transfer import BATCH, Ranges, on_device
from segmentation.inference.zoom import restore, zoom_chip
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card
from segmentation.networks.receptive_field import taper
from segmentation.segmenter import Measure, Prediction

if TYPE_CHECKING:
    import torch


BYTES_PER_PIXEL = 800
"""What one chip takes on its way through a U-Net on resnet18, and torch itself, measured."""


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


def runtime_facts(bundle: Bundle, device: Device, wish: InferenceOptions) -> dict[str, str]:
    """What decides the numbers: device, runtime with its version, precision, layout, batch.
    `InputError` as
    `engine`.
    """
    import torch

    ready = _engine(bundle, device, wish)
    return {
        "device": _device_name(device, wish),
        "torch": str(
            torch.__version__
        ),  # its own type would have whoever unpickles it import torch
        "runtime": _runtime_of(bundle, wish),
        "precision": ready.precision
        if device == "cpu"
        else f"{ready.precision}, {ready.agreement:.3%} of a CPU's labels",
        "layout": "channels_last",
        "batch": str(BATCH[device]),
    }


def _device_name(device: Device, wish: InferenceOptions) -> str:
    """The graphics card that torch or ONNX Runtime computes on, else the processor's kind."""
    import torch

    if "cuda" not in (device, wish.provider):
        return torch.backends.cpu.get_cpu_capability()
    # ONNX Runtime may find a card where this torch is one for processors
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a graphics card"


def _engine(bundle: Bundle, device: Device, wish: InferenceOptions) -> Engine:
    """What computes the bundle's network or graph."""
    if bundle.card.model.kind == "onnx":
        return graph_engine(bundle, wish.provider)
    return engine(bundle, device, wish.runtime)


def _runtime_of(bundle: Bundle, wish: InferenceOptions) -> str:
    """What computes, with its version."""
    if bundle.card.model.kind == "onnx":
        return f"ONNX Runtime {runtime_version()} on {wish.provider}"
    return f"{wish.runtime} {version(PACKAGES[wish.runtime][0])}"


# --------------------------------------------------------------------------------- chips to answers


def predict_chips(
    bundle: Bundle,
    device: Device,
    wish: InferenceOptions,
    chips: Iterable[xr.Dataset],
    at_once: int,
) -> Iterator[Prediction]:
    """Labels, confidence and measures of each chip, in order; `at_once` chips are under way."""
    import torch

    card, ready = bundle.card, _engine(bundle, device, wish)

    def compute(batch: Sequence[xr.Dataset]) -> list[Prediction]:
        seen = [zoom_chip(chip, wish.zoom) for chip in batch]
        with torch.inference_mode():
            strips = [
                labels_and_confidence(
                    card, wish.measures, shares, [c["valid"].values[rows] for c in batch]
                )
                for rows, shares in restore(_joined(ready, bundle, wish, seen), seen, wish.zoom)
            ]
        return [join_strips(of_chip) for of_chip in zip(*strips, strict=True)]

    def nothing(chip: xr.Dataset) -> Prediction:
        shape = chip["valid"].shape
        counts = {
            name: len(card.legend) if name == "probabilities" else 1 for name in wish.measures
        }
        return Prediction(
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
            {name: np.zeros((count, *shape), np.uint8) for name, count in counts.items()},
        )

    return in_order(chips, compute, nothing, device, at_once)


def scores(
    bundle: Bundle,
    device: Device,
    wish: InferenceOptions,
    chips: Iterable[xr.Dataset],
    at_once: int,
    margin: int,
) -> Iterator[npt.NDArray[np.float32] | None]:
    """What each chip adds to the sums that `predict_from_scores` reads, `(class, y, x) float32`;
    None where no pixel is valid.

    Logarithms of its probabilities, shifted so that their mean over the classes is 1, times its
    weights, which fall towards the edges of a chip, over the margin on both sides of each core's
    edge.
    """
    import torch

    ready = _engine(bundle, device, wish)

    @cache
    def weights(height: int, width: int) -> torch.Tensor:
        return torch.from_numpy(np.multiply.outer(taper(height, margin), taper(width, margin))).to(
            device
        )

    def compute(batch: Sequence[xr.Dataset]) -> list[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            seen = [zoom_chip(chip, wish.zoom) for chip in batch]
            strips = restore(_joined(ready, bundle, wish, seen), seen, wish.zoom)
            shares = torch.cat([strip for _, strip in strips], 2)
            # of nothing, where no pixel is valid, anything
            logs = shares.nan_to_num().clamp(torch.finfo(torch.float32).tiny).log()
            weighted = (logs - logs.mean(1, keepdim=True) + 1) * weights(*batch[0]["valid"].shape)
            return list(weighted.contiguous().cpu().numpy()[: len(batch)])

    return in_order(chips, compute, lambda chip: None, device, at_once)


def predict_from_scores(
    card: Card,
    measures: Sequence[Measure],
    total: npt.NDArray[np.float32] | None,
    valid: npt.NDArray[np.bool_],
) -> Prediction:
    """Labels, confidence and measures where `total` is the sum of the scores of all chips that see
    these pixels."""
    import torch

    if total is None:
        total = np.ones((len(card.legend), *valid.shape), np.float32)
    with torch.inference_mode():
        return labels_and_confidence(
            card, measures, torch.from_numpy(normalise_scores(total))[None], [valid]
        )[0]


def normalise_scores(total: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities `(class, y, x)` from sums of scores: the weighted geometric mean of what all
    chips say.

    With an arithmetic mean, two chips that are sure of different things change places where their
    weights do: along a line. With this one it is nearer to the less sure of them, at another place
    for every pixel, and it follows from logits alone: no temperature moves it.
    """
    # To the last bit the same wherever in an array a pixel lies, and so for every shard: classes
    # are added up one after the other, while `sum` takes another order for a single pixel; torch's
    # softmax has another last bit at its ends. Scores have a mean of 1 times their weight, so that
    # of their sum is the sum of the weights.
    weights = reduce(np.add, total) / np.float32(len(total))
    logs = total / np.maximum(weights, np.finfo(np.float32).tiny)
    powers = np.exp(logs - logs.max(0))
    return powers / reduce(np.add, powers)


def _joined(
    engine: Engine, bundle: Bundle, wish: InferenceOptions, chips: Sequence[xr.Dataset]
) -> torch.Tensor:
    """`_probabilities`, with those of the trees beside the network."""
    return join_trees(_probabilities(engine, wish, chips), bundle, chips)


def _probabilities(
    engine: Engine, wish: InferenceOptions, chips: Sequence[xr.Dataset]
) -> torch.Tensor:
    """`(batch, class, y, x) float32` of chips that are zoomed already, on the engine's device; a
    last batch is filled up with nothing."""
    import torch

    temperature = engine.card.chips.temperature
    if engine.device == "cuda":
        set_precision(engine.precision)
    with torch.inference_mode():
        pixels = on_device(chips, engine.card, engine.device, wish.ranges)
        if not wish.symmetries:
            return (engine.logits(pixels).float() / temperature).softmax(1)
        total: torch.Tensor | None = None
        for turns in range(4):
            for mirrored in (False, True):
                seen = pixels.rot90(turns, (2, 3))
                seen = (seen.flip(3) if mirrored else seen).contiguous(
                    memory_format=torch.channels_last
                )
                found = (engine.logits(seen).float() / temperature).softmax(1)
                found = (found.flip(3) if mirrored else found).rot90(-turns, (2, 3))
                total = found if total is None else total + found
        assert total is not None
        return total / 8
