"""What computes a bundle's network: torch, or on a CPU a runtime that gives the same labels sooner.

Weights are loaded once per process.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segmentation.errors import Mistake
from segmentation.models.bundle import Bundle, load
from segmentation.models.card import Card
from segmentation.networks.architectures import SMALLEST, build, stride_of

if TYPE_CHECKING:
    import torch

    Logits = Callable[[torch.Tensor], torch.Tensor]
    """Normalised `(batch, band, y, x)` on the engine's device to logits `(batch, class, y, x)` there."""

Device = Literal["cpu", "cuda"]
Runtime = Literal["torch", "openvino", "onnx"]

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

GPU_LANES = 2
"""One chip is prepared while another is computed."""

PACKAGES: dict[Runtime, tuple[str, ...]] = {
    "torch": ("torch",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnxscript"),
}
"""What each runtime needs, itself first."""

_STAND_INS: tuple[Runtime, ...] = ("openvino", "onnx")
"""What computes sooner than torch on a CPU, the fastest first."""


class _UnfitError(Exception):
    """A runtime cannot stand in for torch. Its words go on where the runtime's name ends."""


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


def threads() -> int:
    """Cores this process may compute on, as its environment said."""
    import torch

    return torch.get_num_threads()


@cache
def pool_of(device: Device) -> tuple[ThreadPoolExecutor, int]:
    """Threads that call the network, and how many: on the CPU as many as torch was given, each on one core only.

    A 1×1 convolution over many channels adds up in another order when oneDNN shares it out among more cores, and a few
    labels in a million follow. So it is chips that share out the cores: labels then do not depend on how many cores
    there are, and two chips at once on a core each cost no more than two in turn on both.
    """
    import torch

    if device == "cuda":
        return ThreadPoolExecutor(GPU_LANES, "network"), GPU_LANES
    count = threads()
    # The setting holds for the thread that makes it, as OpenMP's does.
    return ThreadPoolExecutor(count, "network", initializer=torch.set_num_threads, initargs=(1,)), count


def engine(bundle: Bundle, device: Device, runtime: Runtime) -> Engine:
    """The bundle's network, ready to run: made once per process and content.

    Raises `Mistake` where the runtime is not installed, or cannot stand in for torch.
    """
    try:
        return _engine(bundle.digest, bundle.folder, device, runtime)
    except _UnfitError as fact:
        raise Mistake(f"runtime {runtime} {fact}; leave runtime out") from fact


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
            against.append(f"runtime {runtime} {fact}, and is not used")
        else:
            return runtime, tuple(against)
    return "torch", tuple(against)


def _lacking(runtime: Runtime) -> str | None:
    """A package which that runtime needs and that is not installed."""
    for package in PACKAGES[runtime]:
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
        model, network = trained(load(folder)), card.network
        if network.stride % (stride := stride_of(model)):
            raise Mistake(
                f"{network.architecture} on {network.encoder} takes chips of multiples of {stride} px, and the card in "
                f"{folder} says stride {network.stride}; mend that or train it anew"
            )
        return Engine(card, device, model.to(device))
    if package := _lacking(runtime):
        raise Mistake(
            f"runtime {runtime} needs {package}, which is not installed; "
            f"pip install 'landweave[{runtime}]' or leave runtime out"
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
    _, count = pool_of("cpu")
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

    return fused(restored(bundle).eval(), len(bundle.card.bands)).to(memory_format=torch.channels_last)


def restored(bundle: Bundle) -> torch.nn.Module:
    """The bundle's network in float32, part by part as it was trained; `Mistake` where its weights are of another."""
    model = build(bundle.card)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in bundle.weights().items()})
    except RuntimeError as error:
        network = bundle.card.network
        raise Mistake(
            f"the weights in {bundle.folder} do not fit {network.architecture} on {network.encoder}, "
            "which its card says they are of; train it anew"
        ) from error
    return model


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
