"""Chips through a network, on whatever device: how many at once, and what becomes of its answers.

The way is one on every device: pixels go there as they are filed, are standardised, run through the
network, and come back as bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.devices.check import Fitness, batch_size, examine
from segmentation.devices.cores import CoreSlot
from segmentation.devices.cuda import Cuda
from segmentation.devices.pipeline import Answers, Packed, Pipeline
from segmentation.devices.staged import StagedDevice
from segmentation.graphs.session import runtime_version
from segmentation.inference.arrays import ArrayWork, decide_classes
from segmentation.inference.compiled import cpu_capability
from segmentation.inference.device import (
    PLACES,
    ArrayLogits,
    Device,
    Engine,
    array_pool,
    pool_of,
)
from segmentation.inference.graph_engine import graph_engine
from segmentation.inference.joint import pack_trees
from segmentation.inference.labelling import (
    InferenceOptions,
    Labelling,
    Scoring,
    on_cores,
    settle,
)
from segmentation.inference.measures import bands_of, decide, legend_values, predictions
from segmentation.inference.runtimes import PACKAGES, engine
from segmentation.inference.transfer import check_ranges, pack_chips
from segmentation.inference.zoom import zoom_chip
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card
from segmentation.segmenter import Measure, Prediction

if TYPE_CHECKING:
    import torch


BYTES_PER_PIXEL = 800
"""What one chip takes on its way through a U-Net on resnet18, measured."""

TORCH_BYTES = 832 * 2**20
"""What a process takes that computes with torch more than one without, small networks included,
measured; most of it is files of its libraries."""

_AT_ONCE = 4 * 1152**2
"""Pixels that are on their way at once on a CPU, at most: the four chips of a common shard."""

_SPARSE = 4
"""Chips in a batch, as a multiple of those that are computed: the others have no valid pixel."""


def parallel_chips(chip_pixels: int, threads: int) -> int:
    """How many chips of that size run at once on the CPU, each on a thread of its own."""
    return min(threads, max(2, _AT_ONCE // chip_pixels))


# --------------------------------------------------------------------------- what decides numbers


def runtime_facts(
    bundle: Bundle, device: Device, wish: InferenceOptions, length: int
) -> dict[str, str]:
    """What decides the numbers: device, runtime with its version, precision, layout, batch.

    `length` is that of the sides of chips as the network sees them. On a graphics card this is
    where it is asked whether it can do the work. `InputError` as `engine`, and where its memory is
    too small.
    """
    ready = _engine(bundle, device, wish)
    facts = {
        "device": _device_name(device, wish, ready),
        # what computes all around the network
        **({"torch": _torch_version()} if ready.arrays is None else {"numpy": version("numpy")}),
        "runtime": _runtime_of(bundle, wish),
        "precision": ready.precision,
        "layout": "channels_last",
        "batch": "1",
    }
    if device == "cpu":
        return facts
    import torch

    with _making:
        fitness = _fitness(ready, wish, (length, length))
    return facts | {
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "precision": f"{ready.precision}, {ready.agreement:.3%} of a CPU's labels",
        "batch": f"{fitness.size} of {length} x {length}",
        "kernels": "captured" if fitness.captures else "one by one",
    }


def _torch_version() -> str:
    import torch

    return str(torch.__version__)  # its own type would have whoever unpickles it import torch


def _device_name(device: Device, wish: InferenceOptions, ready: Engine) -> str:
    """The graphics card that torch or ONNX Runtime computes on, else the processor's kind."""
    on_cpu = "cuda" not in (device, wish.provider)
    if on_cpu and ready.arrays is not None:
        return cpu_capability()
    import torch

    if on_cpu:
        return torch.backends.cpu.get_cpu_capability()
    # ONNX Runtime may find a card where this torch is one for processors
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a graphics card"


def _engine(bundle: Bundle, device: Device, wish: InferenceOptions) -> Engine:
    """What computes the bundle's network or graph."""
    if bundle.card.model.kind == "onnx":
        return graph_engine(bundle, wish.provider)
    return engine(bundle, device, wish.runtime, wish.precision)


def _runtime_of(bundle: Bundle, wish: InferenceOptions) -> str:
    """What computes, with its version."""
    if bundle.card.model.kind == "onnx":
        return f"ONNX Runtime {runtime_version()} on {wish.provider}"
    return f"{wish.runtime} {version(PACKAGES[wish.runtime][0])}"


# -------------------------------------------------------------------------------- chips to answers


def predict_chips(
    bundle: Bundle,
    device: Device,
    wish: InferenceOptions,
    chips: Iterable[xr.Dataset],
    at_once: int,
) -> Iterator[Prediction]:
    """Labels, confidence and measures of each chip, in order; on a CPU `at_once` are under way."""
    card, ready = bundle.card, _engine(bundle, device, wish)

    def read(answers: Answers, count: int) -> Sequence[Prediction]:
        return predictions(answers, wish.measures, count)

    def nothing(chip: xr.Dataset) -> Prediction:
        shape = chip["valid"].shape
        counts = {name: bands_of(name, card) for name in wish.measures}
        return Prediction(
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
            {name: np.zeros((count, *shape), np.uint8) for name, count in counts.items()},
        )

    return _in_order(bundle, ready, wish, chips, _Work(at_once), read, nothing)


def scores(
    bundle: Bundle,
    device: Device,
    wish: InferenceOptions,
    chips: Iterable[xr.Dataset],
    at_once: int,
    margin: int,
) -> Iterator[Any]:
    """What each chip adds to the sums that `predict_from_scores` reads, `(class, y, x) float32`;
    None where no pixel is valid. On a graphics card these are tensors there, good until the next is
    asked for.
    """
    ready = _engine(bundle, device, wish)

    def read(answers: Answers, count: int) -> Sequence[Any]:
        return answers["scores"][:count]

    return _in_order(bundle, ready, wish, chips, _Work(at_once, margin), read, lambda chip: None)


def no_scores(device: Device, shape: tuple[int, ...]) -> Any:
    """Sums `(class, y, x) float32` to which nothing was added yet, where `scores` are."""
    if device == "cpu":
        return np.zeros(shape, np.float32)
    import torch

    return torch.zeros(shape, device=PLACES[device])


def predict_from_scores(
    card: Card,
    measures: Sequence[Measure],
    total: npt.NDArray[np.float32] | torch.Tensor | None,
    valid: npt.NDArray[np.bool_],
    *,
    of_arrays: bool = False,
) -> Prediction:
    """Labels, confidence and measures where `total` is the sum of the scores of all chips that see
    these pixels; only bytes leave the device where it is. `of_arrays` without torch."""
    if total is None:
        total = np.ones((len(card.legend), *valid.shape), np.float32)
    if of_arrays:
        answers = decide_classes(card.legend.values, measures, settle(total)[None], valid[None])
        return predictions(answers, measures, 1)[0]
    import torch

    with torch.inference_mode():
        shares = torch.as_tensor(settle(total))[None]
        there = torch.as_tensor(np.ascontiguousarray(valid), device=shares.device)[None]
        decided = decide(legend_values(card, str(shares.device)), measures, shares, there)
        found = {name: tensor.cpu().numpy() for name, tensor in decided.items()}
    return predictions(found, measures, 1)[0]


# ------------------------------------------------------------------------------- through a device


class _Work(NamedTuple):
    """What is asked of a device."""

    at_once: int
    """Chips under way at once on a CPU."""
    margin: int | None = None
    """Of chips that are scored; None where they are labelled."""


class _Look(NamedTuple):
    """Chips of one make, as they reach the network."""

    shape: tuple[int, ...]
    dtype: str


class _Loaded(NamedTuple):
    """A network on a device."""

    pipeline: Callable[[], Pipeline]
    """A graphics card has one, for its slots take memory."""
    size: int
    """Chips in a batch."""


Group = list[tuple[xr.Dataset, bool]]
"""Chips, and whether any pixel of each is valid: those make a batch."""


def _in_order(
    bundle: Bundle,
    ready: Engine,
    wish: InferenceOptions,
    chips: Iterable[xr.Dataset],
    work: _Work,
    read: Callable[[Answers, int], Sequence[Any]],
    nothing: Callable[[xr.Dataset], Any],
) -> Iterator[Any]:
    """What `read` makes of the answers to chips, or `nothing` of one without a valid pixel."""
    coming = iter(chips)
    first = next(coming, None)
    if first is None:
        return
    loaded = _pipeline(ready, wish, _look_of(first, wish.zoom), work)

    def pack(group: Group) -> Packed:
        return pack_batch(bundle, wish.zoom, [chip for chip, valid in group if valid])

    def found(group: Group, answers: Answers | None) -> Iterator[Any]:
        if answers is not None and not np.all(answers.get("finite", True)):
            raise RuntimeError(
                f"{bundle.card.name} says of a chip what is no number, computed in "
                f"{ready.precision}; take another with --set precision=float32"
            )
        count = sum(valid for _, valid in group)
        said = iter(read(answers, count) if answers is not None else ())
        for chip, valid in group:
            yield next(said) if valid else nothing(chip)

    yield from loaded.pipeline().run(
        _groups(chain([first], coming), loaded.size),
        pack,
        found,
        skip=lambda group: not any(valid for _, valid in group),
    )


def pack_batch(bundle: Bundle, zoom: int, chips: Sequence[xr.Dataset]) -> Packed:
    """Chips as a device gets them: an array of each name and chip."""
    seen = [zoom_chip(chip, zoom) for chip in chips]
    packed = pack_chips(seen, bundle.card) | pack_trees(bundle, seen)
    return packed if zoom == 1 else packed | {"there": [chip["valid"].values for chip in chips]}


def _groups(chips: Iterable[xr.Dataset], size: int) -> Iterator[Group]:
    """Chips in order, with as many to compute in each group as a batch holds."""
    group: Group = []
    for chip in chips:
        group.append((chip, bool(chip["valid"].values.any())))
        if sum(valid for _, valid in group) == size or len(group) == _SPARSE * size:
            yield group
            group = []
    if group:
        yield group


def _look_of(chip: xr.Dataset, zoom: int) -> _Look:
    shape = tuple(n * zoom if zoom > 0 else n // -zoom for n in chip["valid"].shape)
    return _Look(shape, str(chip["pixels"].dtype) if zoom == 1 else "float32")


_making = threading.RLock()


def _pipeline(ready: Engine, wish: InferenceOptions, look: _Look, work: _Work) -> _Loaded:
    """Made once per process, network and make of chips."""
    with _making:  # or two threads would make it twice
        return _make_pipeline(ready, wish, look, work)


@lru_cache(4)  # as of networks
def _make_pipeline(ready: Engine, wish: InferenceOptions, look: _Look, work: _Work) -> _Loaded:
    if ready.device == "cpu":
        slot = _core_slot(ready, wish, work.margin)

        def slots() -> Pipeline:
            return Pipeline(slot() for _ in range(work.at_once + 1))

        return _Loaded(slots, 1)
    compute = _compute(ready, wish, work.margin)
    fitness = _fitness(ready, wish, look.shape)
    stay = () if work.margin is None else ("scores",)
    device = StagedDevice(Cuda(captures=fitness.captures), compute, fitness.size, stay)
    shared = Pipeline(device.slots())
    return _Loaded(lambda: shared, fitness.size)


def _core_slot(ready: Engine, wish: InferenceOptions, margin: int | None) -> Callable[[], CoreSlot]:
    """What makes slots of this machine's cores: of arrays where the engine takes them, else of
    torch."""
    if ready.arrays is not None:
        return partial(CoreSlot, array_pool, _compute_arrays(ready, ready.arrays, wish, margin))
    plain = on_cores(_compute(ready, wish, margin))
    return partial(CoreSlot, lambda: pool_of("cpu")[0], plain)


def _compute_arrays(
    ready: Engine, logits: ArrayLogits, wish: InferenceOptions, margin: int | None
) -> Callable[[Mapping[str, npt.NDArray[Any]]], Answers]:
    """What an engine of arrays computes of packed chips, without torch."""
    card = ready.card
    ranges = check_ranges(wish.ranges, card) if card.preprocessing.of_scene else ()
    work = ArrayWork(card, logits, wish.symmetries, wish.measures, ranges, wish.zoom)
    return work.label if margin is None else partial(work.score, margin=margin)


def _compute(ready: Engine, wish: InferenceOptions, margin: int | None) -> Labelling | Scoring:
    return Labelling(ready, wish) if margin is None else Scoring(ready, wish, margin)


@lru_cache(16)
def _fitness(ready: Engine, wish: InferenceOptions, shape: tuple[int, ...]) -> Fitness:
    """How the graphics card of this process computes chips `shape`, as the network sees them."""
    import torch

    size, card = batch_size(shape[0] * shape[1]), ready.card
    dice, place = torch.Generator().manual_seed(0), PLACES[ready.device]
    like: list[Any] = [[[[getattr(band, name)]] for band in card.bands] for name in ("mean", "std")]
    mean, std = (torch.tensor(one) for one in like)
    noise = torch.randn((size, len(card.bands), *shape), generator=dice)
    seen = {
        "pixels": noise * std + mean,
        "valid": torch.ones((size, *shape), dtype=torch.bool),
        "scale": torch.ones(size, len(card.bands)),
        "offset": torch.zeros(size, len(card.bands)),
        "statistics": torch.stack([mean, std]).flatten(1).expand(size, 2, -1).contiguous(),
    }
    look = Labelling(ready, wish._replace(zoom=1, measures=("probabilities",)))
    return examine(
        Cuda(captures=True), look, {name: tensor.to(place) for name, tensor in seen.items()}
    )
