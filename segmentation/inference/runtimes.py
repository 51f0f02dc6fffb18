"""What computes a bundle's network: torch, or on a CPU a runtime that gives the same labels sooner.

Weights are loaded once per process.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from segmentation.errors import InputError
from segmentation.graphs.graph_cache import keep_parts, load_parts, lone_maker
from segmentation.inference.compiled import GRAPH_RUNTIMES, PerShape, graph_facts, on_tensors
from segmentation.inference.device import (
    PLACES,
    Device,
    Engine,
    Precision,
    Runtime,
    WantedPrecision,
    device_of,
    set_precision,
)
from segmentation.models.bundle import Bundle, load
from segmentation.models.card import Card
from segmentation.networks.architectures import stride_of
from segmentation.networks.restore import load_for_inference

if TYPE_CHECKING:
    import torch

    from segmentation.inference.device import Logits


REPAYS = 30_000_000
"""Pixels of a scene from which another runtime than torch is worth its start.

The first run of a bundle on a machine translates it for OpenVINO, once for all processes: 4.9 s of
a core beyond torch's start with the demo network, which then takes 0.17 s less for a megapixel;
4.7 s and 0.3 s with a U-Net on resnet18. So the first run repays it in 29 and 16 megapixels, and
each later one, which starts in a quarter of torch's time, from the first pixel on. Neither what is
kept on a machine nor how many processes there are is asked, for what computes must not follow from
it.
"""

_AGREEING = 0.9999
"""Share of labels in which another runtime must equal torch."""

_ON_A_CARD = 0.999
"""Share of labels in which a graphics card must equal a CPU: that of a margin."""

_PRECISIONS: tuple[Precision, ...] = ("tf32", "float32")
"""What a card computes in where nobody says otherwise, the fastest first."""

_HAS_TF32 = (8, 0)
"""Compute capability from which on a card has TF32."""

_LARGEST_SEEN = 4096.0
"""Standard deviations that a network sees at most in float16, whose numbers end at 65504."""


PACKAGES: dict[Runtime, tuple[str, ...]] = {
    "torch": ("torch",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnxscript"),
}
"""What each runtime needs, itself first."""

_STAND_INS: tuple[Runtime, ...] = ("openvino", "onnx")
"""What computes sooner than torch on a CPU, the fastest first."""


class _RuntimeMismatchError(Exception):
    """A runtime cannot stand in for torch. Its words go on where the runtime's name ends."""


def engine(
    bundle: Bundle, device: Device, runtime: Runtime, precision: WantedPrecision = "auto"
) -> Engine:
    """The bundle's network, ready to run: made once per process and content.

    `precision` is that of a graphics card. Raises `InputError` where the runtime is not installed,
    or cannot stand in for torch, and where a card does not have that precision or gives other
    labels in it than a CPU.
    """
    try:
        return _engine(
            bundle.digest, bundle.folder, device, runtime, precision if device == "cuda" else "auto"
        )
    except _RuntimeMismatchError as fact:
        mend = "use --set device=cpu" if runtime == "torch" else "leave runtime out"
        if precision not in ("auto", "float32") and device == "cuda":
            mend = "leave precision out"
        raise InputError(f"runtime {runtime} {fact}; {mend}") from fact


def choose_runtime(
    bundle: Bundle, device: Literal["auto", "cpu", "cuda"], pixels: int
) -> tuple[Runtime, tuple[str, ...]]:
    """What computes a scene of so many pixels soonest, and what speaks against those that are
    installed and do not."""
    if pixels < REPAYS or device_of(device) == "cuda":
        return "torch", ()
    against: list[str] = []
    for runtime in _STAND_INS:
        if _missing_package(runtime):
            continue
        try:
            _engine(bundle.digest, bundle.folder, "cpu", runtime)
        except _RuntimeMismatchError as fact:
            against.append(f"runtime {runtime} {fact}, and is not used")
        else:
            return runtime, tuple(against)
    return "torch", tuple(against)


def _missing_package(runtime: Runtime) -> str | None:
    """A package which that runtime needs and that is not installed."""
    for package in PACKAGES[runtime]:
        try:
            version(package)
        except PackageNotFoundError:
            return package
    return None


_making = threading.RLock()


def _engine(
    digest: str,
    folder: Path,
    device: Device,
    runtime: Runtime,
    precision: WantedPrecision = "auto",
) -> Engine:
    with _making:  # or two threads would load it twice
        return _load_engine(digest, folder, device, runtime, precision)


@lru_cache(4)  # a worker that lives for months meets many bundles
def _load_engine(
    digest: str,
    folder: Path,
    device: Device,
    runtime: Runtime,
    precision: WantedPrecision = "auto",
) -> Engine:
    card = load(folder).card
    if runtime == "torch":
        import torch

        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
        model, network = load_for_inference(load(folder)), card.network
        if network.stride % (stride := stride_of(model)):
            raise InputError(
                f"{network.architecture} on {network.encoder} takes chips of multiples of "
                f"{stride} px, and the card in "
                f"{folder} says stride {network.stride}; mend that or train it anew"
            )
        if device == "cpu":
            return Engine(card, device, model)
        plain = _load_engine(digest, folder, "cpu", "torch")
        return engine_on_card(card, plain.logits, model.to(PLACES[device]), precision)
    if package := _missing_package(runtime):
        raise InputError(
            f"runtime {runtime} needs {package}, which is not installed; "
            f"pip install 'landweave[{runtime}]' or leave runtime out"
        )
    return _stand_in_engine(digest, folder, card, runtime)


def _stand_in_engine(digest: str, folder: Path, card: Card, runtime: Runtime) -> Engine:
    """A network that another runtime than torch computes, from a graph that is kept; torch is
    imported where there is none yet."""
    graphs = GRAPH_RUNTIMES[runtime]
    facts = graph_facts(digest, graphs)

    def plain() -> torch.nn.Module:
        return cast("torch.nn.Module", _load_engine(digest, folder, "cpu", "torch").logits)

    def model() -> torch.nn.Module:
        # tracing puts stand-ins in place of the weights, which a lane of the torch engine would
        # meet
        return copy.deepcopy(plain())

    def compare() -> float:
        other = PerShape(facts, model, graphs, kept=False)
        try:
            return agreement(plain(), on_tensors(other), card)
        except Exception as error:  # what translates a network fails with whatever happens inside
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise _RuntimeMismatchError(f"cannot run bundle {card.name} ({first})") from error

    if (share := _known_agreement(facts, compare)) < _AGREEING:
        raise _RuntimeMismatchError(
            f"gives {1 - share:.2%} other labels than torch with bundle {card.name}"
        )
    arrays = PerShape(facts, model, graphs)
    return Engine(card, "cpu", on_tensors(arrays), arrays=arrays)


def _known_agreement(facts: dict[str, Any], compare: Callable[[], float]) -> float:
    """The share of labels in which a runtime equals torch: what an earlier process found for the
    same facts, else what `compare` finds."""
    facts = {**facts, "of": "agreement"}
    if (known := load_parts(facts)) is None:
        with lone_maker():
            if (known := load_parts(facts)) is None:
                known = {"share": repr(compare()).encode()}
                keep_parts(facts, known)
    return float(known["share"])


def engine_on_card(
    card: Card, plain: Logits, network: Logits, wanted: WantedPrecision = "auto"
) -> Engine:
    """The network of a card in the precision that is wanted, or in the fastest that gives the
    labels of a CPU.

    `plain` computes on the CPU in float32, `network` on the graphics card. Raises
    `_RuntimeMismatchError` where that is none, or not the one that is wanted.
    """
    share = 0.0
    for precision in _precisions(wanted):
        set_precision(precision)
        logits = _in_half(network) if precision == "float16" else network
        if (share := agreement(plain, _there(logits), card)) >= _ON_A_CARD:
            return Engine(card, "cuda", logits, precision, share)
    said = "" if wanted == "auto" else f"in {wanted} "
    raise _RuntimeMismatchError(
        f"gives {1 - share:.2%} other labels {said}on this graphics card than on a CPU with bundle "
        f"{card.name}"
    )


def _precisions(wanted: WantedPrecision) -> tuple[Precision, ...]:
    """What to try, in order; `InputError` where this card has not what is wanted."""
    import torch

    has_tf32 = torch.cuda.get_device_capability() >= _HAS_TF32
    if wanted == "auto":
        return _PRECISIONS if has_tf32 else ("float32",)
    if wanted == "tf32" and not has_tf32:
        raise InputError(
            f"precision tf32 was asked for, and {torch.cuda.get_device_name()} has none; leave "
            "precision out"
        )
    return (wanted,)


def _there(network: Logits) -> Logits:
    """What a network on the graphics card says, for chips of this side."""
    return lambda chip: network(chip.to(PLACES["cuda"])).float().cpu()


def _in_half(network: Any) -> Logits:
    """A copy of a network whose weights and products are of float16."""
    half = copy.deepcopy(network).half()
    return lambda pixels: half(pixels.clamp(-_LARGEST_SEEN, _LARGEST_SEEN).half())


def agreement(one: Logits, other: Logits, card: Card) -> float:
    """Share of labels in which two runtimes agree, on a chip of noise at two scales."""
    import torch

    length = -(-256 // card.network.stride) * card.network.stride
    dice = torch.Generator().manual_seed(0)
    fine, coarse = (
        torch.randn(1, len(card.bands), n, n, generator=dice) for n in (length, length // 16)
    )
    with torch.inference_mode():
        chip = fine / 2 + torch.nn.functional.interpolate(
            coarse, size=(length, length), mode="bilinear"
        )
        labels = [
            logits(chip.to(memory_format=torch.channels_last)).argmax(1) for logits in (one, other)
        ]
        return float((labels[0] == labels[1]).float().mean())
