"""How a network's numbers come about: on which device, by which runtime, how many chips at once.

The way is one on every device: pixels go there as they are filed, are standardised, run through the network, and come
back as bytes. Weights are loaded once per process.
"""

from __future__ import annotations

import copy
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.architectures import SMALLEST, build, stride_of
from segmentation.bundle import Bundle, load
from segmentation.card import Card
from segmentation.chip import check_units
from segmentation.errors import Mistake
from segmentation.field import taper
from segmentation.segmenter import Measure, Prediction

if TYPE_CHECKING:
    import torch

    Logits = Callable[[torch.Tensor], torch.Tensor]
    """Normalised `(batch, band, y, x)` on the engine's device to logits `(batch, class, y, x)` there."""

Device = Literal["cpu", "cuda"]
Runtime = Literal["torch", "openvino", "onnx"]

_BATCH: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Chips in one call of the network. A constant: what is computed never follows how much memory happens to be free."""

BYTES_PER_PIXEL = 800
"""What one chip takes on its way through a U-Net on resnet18, and torch itself, measured."""

_AT_ONCE = 4 * 1152**2
"""Pixels that are on their way at once, at most: the four chips of a common shard."""

_GPU_LANES = 2
"""One chip is prepared while another is computed."""

REPAYS = 400_000_000
"""Pixels of a scene from which another runtime than torch is worth its start.

OpenVINO takes some 6 s of a core to start in each process, and saves 0.12 s a megapixel with the demo network and more
with larger ones: a process repays it in 50 megapixels. Here eight do, the planning one among them. How many there are
is not asked, for what computes must not follow from it.
"""

_AGREEING = 0.9999
"""Share of labels in which another runtime must equal torch."""

_SAME = 1e-4
"""How far logits may move when norms are folded, as a share of the largest."""

_PACKAGES: dict[Runtime, tuple[str, ...]] = {
    "torch": ("torch",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnxscript"),
}
"""What each runtime needs, itself first."""

_STAND_INS: tuple[Runtime, ...] = ("openvino", "onnx")
"""What computes sooner than torch on a CPU, the fastest first."""

R = TypeVar("R")


class _UnfitError(Exception):
    """A runtime cannot stand in for torch. Its words go on where the runtime's name ends."""


class Wish(NamedTuple):
    """What is asked of a network."""

    runtime: Runtime = "torch"
    symmetries: bool = False
    """Whether it looks at each chip in its 8 turns and mirror images, and its probabilities are averaged."""
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run on a device."""

    card: Card
    device: Device
    logits: Logits


def device_of(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """The device there is; `Mistake` where a GPU is wanted and there is none."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise Mistake("device cuda was asked for, and torch finds no GPU here; use --set device=cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


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
        "runtime": f"{wish.runtime} {version(_PACKAGES[wish.runtime][0])}",
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
    (pool, _), waiting = _pool(device), deque[Future[R]]()
    most = _BATCH[device] * (at_once if device == "cpu" else _GPU_LANES)
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


@cache
def _pool(device: Device) -> tuple[ThreadPoolExecutor, int]:
    """Threads that call the network, and how many: on the CPU as many as torch was given, each on one core only.

    A 1×1 convolution over many channels adds up in another order when oneDNN shares it out among more cores, and a few
    labels in a million follow. So it is chips that share out the cores: labels then do not depend on how many cores
    there are, and two chips at once on a core each cost no more than two in turn on both.
    """
    import torch

    if device == "cuda":
        return ThreadPoolExecutor(_GPU_LANES, "network"), _GPU_LANES
    count = threads()
    # The setting holds for the thread that makes it, as OpenMP's does.
    return ThreadPoolExecutor(count, "network", initializer=torch.set_num_threads, initargs=(1,)), count


def threads() -> int:
    """Cores this process may compute on, as its environment said."""
    import torch

    return torch.get_num_threads()


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


# ------------------------------------------------------------------------------------------------------------- runtimes


def engine(bundle: Bundle, device: Device, runtime: Runtime) -> Engine:
    """The bundle's network, ready to run: made once per process and content.

    Raises `Mistake` where the runtime is not installed, or cannot stand in for torch.
    """
    try:
        return _engine(bundle.digest, bundle.folder, device, runtime)
    except _UnfitError as fact:
        raise Mistake(f"engine {runtime} {fact}; leave engine out") from fact


def chosen(bundle: Bundle, device: Literal["auto", "cpu", "cuda"], pixels: int) -> tuple[Runtime, tuple[str, ...]]:
    """What computes a scene of so many pixels soonest, and what speaks against those that are installed and do not."""
    if pixels < REPAYS or device_of(device) == "cuda":
        return "torch", ()
    against: list[str] = []
    for runtime in _STAND_INS:
        if _lacking(runtime):
            continue
        try:
            _engine(bundle.digest, bundle.folder, "cpu", runtime)
        except _UnfitError as fact:
            against.append(f"engine {runtime} {fact}, and is not used")
        else:
            return runtime, tuple(against)
    return "torch", tuple(against)


def _lacking(runtime: Runtime) -> str | None:
    """A package which that runtime needs and that is not installed."""
    for package in _PACKAGES[runtime]:
        try:
            version(package)
        except PackageNotFoundError:
            return package
    return None


_making = threading.RLock()


def _engine(digest: str, folder: Path, device: Device, runtime: Runtime) -> Engine:
    with _making:  # or two threads would load it twice
        return _made(digest, folder, device, runtime)


@cache
def _made(digest: str, folder: Path, device: Device, runtime: Runtime) -> Engine:
    import torch

    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    card = load(folder).card
    if runtime == "torch":
        return Engine(card, device, trained(load(folder)).to(device))
    if package := _lacking(runtime):
        raise Mistake(
            f"engine {runtime} needs {package}, which is not installed; "
            f"pip install 'landweave[{runtime}]' or leave engine out"
        )
    plain = _made(digest, folder, device, "torch")
    # a copy: tracing puts stand-ins in place of the weights, which a lane of the torch engine would meet
    logits: Logits = _PerShape(copy.deepcopy(plain.logits), _openvino if runtime == "openvino" else _onnx)
    try:
        share = agreement(plain.logits, logits, card)
    except Exception as error:  # what translates a network fails with whatever happens inside it
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _UnfitError(f"cannot run bundle {card.name} ({first})") from error
    if share < _AGREEING:
        raise _UnfitError(f"gives {1 - share:.2%} other labels than torch with bundle {card.name}")
    return Engine(card, device, logits)


def agreement(one: Logits, other: Logits, card: Card) -> float:
    """Share of labels in which two runtimes agree, on a chip of noise at two scales."""
    import torch

    length = -(-256 // card.network.stride) * card.network.stride
    dice = torch.Generator().manual_seed(0)
    fine, coarse = (torch.randn(1, len(card.bands), n, n, generator=dice) for n in (length, length // 16))
    with torch.inference_mode():
        chip = fine / 2 + torch.nn.functional.interpolate(coarse, size=(length, length), mode="bilinear")
        labels = [logits(chip.to(memory_format=torch.channels_last)).argmax(1) for logits in (one, other)]
        return float((labels[0] == labels[1]).float().mean())


_tracing = threading.Lock()  # torch traces with state of the whole process


class _PerShape:
    """Logits from a graph that is made for each shape of chips when it first comes."""

    def __init__(self, model: Any, make: Callable[[Any, torch.Tensor], Logits]) -> None:
        self._model, self._make = model, make
        self._made: dict[tuple[int, ...], Logits] = {}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        shape = tuple(pixels.shape)
        with _tracing:
            if shape not in self._made:
                self._made[shape] = self._make(self._model, pixels)
        return self._made[shape](pixels)


def _openvino(model: torch.nn.Module, example: torch.Tensor) -> Logits:
    """The same function, compiled by OpenVINO for chips like the example; one thread computes each call."""
    import openvino
    import torch

    graph = openvino.convert_model(torch.export.export(model, (example.clone(),)))
    _, count = _pool("cpu")
    settings = {"INFERENCE_NUM_THREADS": count, "NUM_STREAMS": count, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    requests = threading.local()

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        if not hasattr(requests, "mine"):
            requests.mine = compiled.create_infer_request()
        found = requests.mine.infer([pixels.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(found[0])

    return logits


def _onnx(model: torch.nn.Module, example: torch.Tensor) -> Logits:
    """The same function, run by ONNX Runtime for chips like the example; one thread computes each call."""
    import onnxruntime
    import torch

    program = torch.onnx.export(model, (example.contiguous(),), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (name,) = (one.name for one in session.get_inputs())

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: pixels.contiguous().numpy()})[0])

    return logits


def trained(bundle: Bundle) -> torch.nn.Module:
    """The bundle's network in float32, ready for inference on the CPU."""
    import torch

    model = build(bundle.card)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in bundle.weights().items()})
    except RuntimeError as error:
        network = bundle.card.network
        raise Mistake(
            f"the weights in {bundle.folder} do not fit {network.architecture} on {network.encoder}, "
            "which its card says they are of; train it anew"
        ) from error
    return fused(model.eval(), len(bundle.card.bands)).to(memory_format=torch.channels_last)


def fused(model: torch.nn.Module, bands: int) -> torch.nn.Module:
    """The same function with every batch norm folded into the convolution before it: a tenth less time on a CPU.

    Which convolution feeds which norm is seen by running the model once, not guessed from the order of its parts. Where
    the outcome is not the same, as with a convolution that is heard elsewhere too, the model is returned as it was.
    """
    import torch

    stride = stride_of(model)
    length = max(2, -(-SMALLEST // stride)) * stride
    chip = torch.randn(1, bands, length, length, generator=torch.Generator().manual_seed(0))
    folded = _folded(copy.deepcopy(model), chip)
    with torch.inference_mode():
        before, after = model(chip), folded(chip)
    same = (before - after).abs().max() <= _SAME * before.abs().max()
    return folded if same else model


def _folded(model: torch.nn.Module, chip: torch.Tensor) -> torch.nn.Module:
    import torch
    from timm.layers.conv2d_same import Conv2dSame
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    made: dict[int, tuple[torch.nn.Conv2d, torch.Tensor]] = {}
    pairs: list[tuple[torch.nn.Conv2d, torch.nn.BatchNorm2d]] = []

    def note(part: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        # Exactly these types: another subclass may treat its weights before it uses them.
        if isinstance(part, torch.nn.Conv2d) and type(part) in (torch.nn.Conv2d, Conv2dSame):
            made[id(output)] = part, output  # the tensor too, lest its id is given to another

    def match(part: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(part, torch.nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], part))

    hooks = [
        hook
        for part in model.modules()
        for hook in (part.register_forward_hook(note), part.register_forward_pre_hook(match))
    ]
    with torch.inference_mode():
        model(chip)
    for hook in hooks:
        hook.remove()
    name_of = {part: name for name, part in model.named_modules()}
    for conv, norm in pairs:
        if norm.running_mean is None or norm.running_var is None:
            continue  # it looks at each chip's own statistics
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        # timm's norms end in an activation.
        rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
        model.set_submodule(name_of[norm], torch.nn.Sequential(*rest))
    return model
