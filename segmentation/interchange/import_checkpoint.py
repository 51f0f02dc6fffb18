"""Weights that another program trained → a bundle: nothing in them is run, and they must be the
card's."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from segmentation.errors import InputError
from segmentation.interchange.onnx_weights import read_weights
from segmentation.interchange.segformer_weights import (
    MODEL_TYPE,
    rename_segformer,
    segformer_settings,
)
from segmentation.models.bundle import Bundle, check_folder, save
from segmentation.models.card import Card
from segmentation.models.weights import (
    CHECKPOINTS,
    CORRUPT,
    GRAPH,
    LARGEST,
    SMP_CONFIG,
    SMP_WEIGHTS,
    tensor_facts,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_WRAPPINGS = ("state_dict", "model_state_dict", "ema_state_dict", "model", "network", "net")
"""Under which of these keys training programs keep the parameters, the likeliest first."""


def convert(source: Path, card: Card, out: Path) -> Bundle:
    """The bundle, in `out`, of the network whose parameters `source` holds and whose nature `card`
    tells.

    `source` is a checkpoint of torch.save or Lightning, a safetensors file, an ONNX file, or a
    folder with `config.json` and `model.safetensors`. Stride, support, margin and disagreement are
    measured; what the card says of them is replaced. Raises `InputError` in one line where the
    parameters are not those of the network.
    """
    from segmentation.networks.architectures import build, stride_of
    from segmentation.networks.outputs import as_class_logits
    from segmentation.networks.receptive_field import choose_margin, support

    check_folder(out)
    if len(card.legend) < 2:
        (only,) = card.legend.each()
        raise InputError(
            f"{source} has one channel, {only.name}, and in a bundle's network the likeliest of "
            "several wins; train it "
            f"with two and name both: --classes Other,{only.name}"
        )
    model = build(card)
    given = parameters(source)
    idle = idle_parameters(model, given, card) if source.suffix.lower() == GRAPH else {}
    state = fitting(given, model.state_dict(), source, card, idle)
    model.load_state_dict(state)
    model = as_class_logits(model.float().eval(), card.activation, len(card.legend))
    stride = stride_of(model)
    # What is normalised by its chip looks at all of it, however far its network does.
    whole = card.preprocessing.normalisation == "per-chip"
    reach = None if whole else support(model, len(card.bands), stride=stride)
    chips = stand_ins(len(card.bands), 2, -(-512 // stride) * stride)
    margin = choose_margin(model, chips, tile=card.network.tile, stride=stride, support=reach)
    known = {
        "stride": stride,
        "support": reach,
        "margin": margin.margin,
        "disagreement": round(margin.disagreement, 6),
    }
    training = {
        **card.training,
        "converted from": source.name,
        **({"never used, and 0 here": ", ".join(idle)} if idle else {}),
        "margin measured on": "random chips with 1/f spectrum",
    }
    network = card.network.model_copy(update=known)
    return save(out, card.model_copy(update={"model": network, "training": training}), state)


def published_settings(folder: Path) -> dict[str, Any]:
    """What a folder of `save_pretrained` says of its network, in a card's words: architecture,
    encoder, options; of a SegFormer of transformers also what `segformer_settings` finds.

    `bands` and `classes` are counts. Raises `InputError` where it says nothing.
    """
    file = folder / SMP_CONFIG
    try:
        told = from_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} cannot be read as JSON: {' '.join(str(error).split())[:100]}"
        ) from error
    if isinstance(told, dict) and told.get("model_type") == MODEL_TYPE:
        return segformer_settings(folder, told)
    expected = ("_model_class", "encoder_name", "in_channels", "classes")
    if not isinstance(told, dict) or any(name not in told for name in expected):
        raise InputError(
            f"{file} is neither of segmentation-models-pytorch, for it does not say "
            f"{', '.join(expected)}, nor of a SegFormer of transformers"
        )
    # Weights to start from, other heads, what comes after the logits: no part of the network as a
    # card tells it.
    others = {*expected, "encoder_weights", "aux_params", "activation"}
    return {
        "architecture": str(told["_model_class"]).lower(),
        "encoder": told["encoder_name"],
        "options": {name: value for name, value in told.items() if name not in others},
        "bands": told["in_channels"],
        "classes": told["classes"],
    }


def parameters(source: Path) -> dict[str, Tensor]:
    """Tensors by name, as `source` has them, and those of a SegFormer of transformers by the names
    that they have here; `InputError` where it holds none or something that could run."""
    return rename_segformer(_read_tensors(source))


def _read_tensors(source: Path) -> dict[str, Tensor]:
    file = source / SMP_WEIGHTS if source.is_dir() else source
    if not file.is_file():
        raise InputError(
            f"{file} is not there; name a checkpoint ({', '.join(CHECKPOINTS)}) or a folder with "
            f"{SMP_WEIGHTS}"
        )
    size = file.stat().st_size
    if size > LARGEST:
        raise InputError(
            f"{file} has {size:,} bytes, more than any network here; {LARGEST:,} is the most that "
            "is read"
        )
    if file.suffix.lower() == GRAPH:
        return read_weights(file)
    if file.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        with file.open("rb") as stream:
            tensor_facts(stream, size, file)
        return load_file(file)
    return _tensors(_unpickle(file), file)


def _unpickle(file: Path) -> Any:
    """What a checkpoint holds, by torch's unpickler of tensors and plain values, which refuses
    everything else."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats; what cannot be read is said below
            return torch.load(file, map_location="cpu", weights_only=True)
    except CORRUPT as error:
        first = next(
            (
                line.strip()
                for line in str(error).splitlines()
                if "GLOBAL" in line or "global" in line
            ),
            "",
        )
        if first:
            raise InputError(
                f"{file} holds more than tensors, which could run when opened ({first[:160]}); "
                "save the parameters alone, torch.save(model.state_dict(), FILE), where you trust "
                "it"
            ) from error
        raise InputError(
            f"{file} is not a checkpoint that torch.save wrote, or damaged "
            f"({type(error).__name__}); copy it again"
        ) from error


def _tensors(loaded: Any, file: Path) -> dict[str, Tensor]:
    import torch

    for key in (None, *_WRAPPINGS):
        inner = loaded if key is None else loaded.get(key) if isinstance(loaded, Mapping) else None
        if isinstance(inner, Mapping):
            tensors = {
                name: value for name, value in inner.items() if isinstance(value, torch.Tensor)
            }
            if tensors and len(tensors) == len(inner):
                return {str(name): tensor for name, tensor in tensors.items()}
    keys = (
        ", ".join(map(str, list(loaded)[:5]))
        if isinstance(loaded, Mapping)
        else type(loaded).__name__
    )
    raise InputError(
        f"{file} has no parameters under {', '.join(_WRAPPINGS)}; it holds {keys[:160]}: save its "
        "state_dict"
    )


def idle_parameters(
    model: torch.nn.Module, given: Mapping[str, Tensor], card: Card
) -> dict[str, Tensor]:
    """Zeros for what `given` has not of a network because no answer depends on it; {} where one
    does.

    An exported graph holds what a traced pass touched, and some encoders have layers that no
    segmentation network asks, such as the last ones before a classifier. They are found as the
    support is: NaN in all of them together comes out nowhere.
    """
    import torch

    from segmentation.networks.architectures import SMALLEST, stride_of

    state, names = model.state_dict(), _without_prefix(given, model.state_dict())
    missing = [n for n, t in state.items() if n not in names and t.is_floating_point()]
    if not missing or not names:
        return {}
    probe = copy.deepcopy(model).eval()
    length = 2 * max(SMALLEST, stride_of(model))
    with torch.inference_mode():
        for name, tensor in probe.state_dict().items():
            if tensor.is_floating_point():
                # Any finite numbers do for the others.
                tensor.fill_(torch.nan if name in missing else 0.01)
        answer = probe(torch.ones(1, len(card.bands), length, length))
    return {} if answer.isnan().any() else {name: torch.zeros_like(state[name]) for name in missing}


def fitting(
    given: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: Path,
    card: Card,
    idle: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The parameters under the network's own names; `InputError` says in one line which do not fit.

    A prefix that a training program put before each name is taken away, and what lies beside it,
    such as the weights of a loss, is left out. `idle` stands in for what may be missing.
    """
    import torch

    state = {**idle, **_without_prefix(given, expected)}
    # Counters of batch norms decide nothing in a trained network, and old checkpoints have none.
    state |= {
        n: t for n, t in expected.items() if n.endswith("num_batches_tracked") and n not in state
    }
    _check_names(state, expected, source, card)
    if odd := [name for name, tensor in expected.items() if not _is_plain(state[name], tensor)]:
        what = f"{state[odd[0]].dtype}, {state[odd[0]].layout}, on {state[odd[0]].device}".replace(
            "torch.", ""
        )
        raise InputError(
            f"{source} holds no plain numbers of 16 to 64 bits in {odd[0]} ({what}); save the "
            "network as it was "
            "trained, neither quantised nor sparse"
        )
    broken = [n for n, t in state.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if broken:
        raise InputError(
            f"{source} holds NaN or infinity in {broken[0]}: its training went wrong; take an "
            "earlier one"
        )
    return {name: state[name] for name in expected}


def _check_names(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: Path, card: Card
) -> None:
    """`InputError` where parameters are missing, unknown or of another shape."""
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    shaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    facts = [
        f"{len(names)} {what} ({names[0]}{', …' if len(names) > 1 else ''})"
        for names, what in (
            (shaped, "have another shape"),
            (missing, "are missing"),
            (unknown, "are unknown"),
        )
        if names
    ]
    if facts:
        network = card.network
        raise InputError(
            f"{source} does not fit {network.architecture} on {network.encoder} with "
            f"{len(card.bands)} bands and {card.channels} channels: of its "
            f"parameters {', '.join(facts)}; {_mend(source)}"
        )


def _mend(source: Path) -> str:
    if source.suffix.lower() != GRAPH:
        return "name what it was trained as"
    return (
        "name what it was trained as, or, where its batch norms were folded or its weights renamed "
        "when it was exported, give the checkpoint that it was exported from"
    )


def _is_plain(given: Tensor, expected: Tensor) -> bool:
    """Whether a network can take over these numbers, and a bundle hold them, as they are."""
    import torch

    if given.layout != torch.strided or given.is_quantized or given.is_meta or given.is_complex():
        return False
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return given.dtype in floats or not expected.is_floating_point()


def _without_prefix(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What of `given` stands under the prefix of the network, by the names after it."""
    prefix = _prefix(given, expected)
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in given.items()
        if name.startswith(prefix)
    }


def _prefix(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What stands before the names of `expected` in `given`, by majority."""
    last = list(expected)[-1]
    found = {name.removesuffix(last) for name in given if name.endswith(last)}
    candidates = sorted(p for p in found | {""} if not p or p.endswith("."))
    return max(candidates, key=lambda p: sum(f"{p}{name}" in given for name in expected))


def stand_ins(bands: int, count: int, length: int) -> list[npt.NDArray[np.float32]]:
    """Chips `(band, y, x)` for measuring a network whose scenes nobody has here: as normalised ones
    are on average.

    Every band has mean 0 and deviation 1, and the 1/f spectrum of natural images (Field 1987);
    bands agree in most of what they show, as they do on the ground.
    """
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(length)[:, None], np.fft.rfftfreq(length)[None])
    frequency[0, 0] = np.inf
    chips = []
    for _ in range(count):
        noise = rng.standard_normal((bands, length, length)) + 2 * rng.standard_normal(
            (1, length, length)
        )
        seen = np.fft.irfft2(np.fft.rfft2(noise) / frequency, (length, length))
        seen /= seen.std((1, 2), keepdims=True)
        chips.append(seen.astype(np.float32))
    return chips
