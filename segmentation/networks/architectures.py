"""Networks by name: how each is built, on which encoders, for any bands and classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segmentation.errors import InputError
from segmentation.models.card import Card, NetworkModel, OptionValue

if TYPE_CHECKING:
    import torch

Weights = Literal["none", "imagenet"]

RED_GREEN_BLUE = ("red", "green", "blue")
"""In the order of ImageNet's channels."""

PATIENCE = 5.0
"""Seconds that the place of pretrained weights has to answer."""

SMALLEST = 64
"""Pixels across the smallest chip that every network here takes, or two strides: mit_* attends to
squares of 32."""

REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What libraries raise where an encoder or a setting does not suit an architecture: their doors
check nothing."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Architecture:
    """One way to get from an encoder's features to classes."""

    summary: str
    path: str
    """Module and class. It takes `encoder_name`, `encoder_weights`, `in_channels`, `classes` and
    further settings."""
    encoder: str = "resnet18"
    """One that always works."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings without which it does not work here."""
    coarser: int = 1
    """How many times its encoder's stride its own is."""
    patches: bool = False
    """Whether it changes class along the edges of the squares that it sees an image as, one or two
    to a stride."""
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    """Settings that suit `encoder`, given to what is trained anew on it."""

    def make(self, encoder: str, weights: str | bool | None, **settings: Any) -> torch.nn.Module:
        """A network; with `weights` None nothing is downloaded."""
        module, _, name = self.path.partition(":")
        made = getattr(import_module(module), name)
        return made(encoder_name=encoder, encoder_weights=weights, **{**settings, **self.fixed})


_SMP = "segmentation_models_pytorch"

ARCHITECTURES: dict[str, Architecture] = {
    "fullunet": Architecture(
        "a small U-Net that starts at full resolution, beside each pixel alone: thin things, few "
        "labels",
        "segmentation.networks.full_resolution_unet:FullUNet",
        encoder="plain",
    ),
    "unet": Architecture(
        "features of every scale, joined step by step: sharp outlines", f"{_SMP}:Unet"
    ),
    "unetplusplus": Architecture(
        "a U-Net with nested, dense joints: slower, a little finer", f"{_SMP}:UnetPlusPlus"
    ),
    "manet": Architecture("a U-Net with attention within and between scales", f"{_SMP}:MAnet"),
    "linknet": Architecture(
        "a U-Net that adds features up instead of stacking them: light", f"{_SMP}:Linknet"
    ),
    "fpn": Architecture(
        "feature pyramid, where every scale has a say: objects of all sizes", f"{_SMP}:FPN"
    ),
    "pspnet": Architecture(
        "means over ever larger regions: knows the surroundings, coarse outlines", f"{_SMP}:PSPNet"
    ),
    "pan": Architecture(
        "attention over a pyramid of scales, on a light decoder", f"{_SMP}:PAN", coarser=8
    ),
    "deeplabv3": Architecture(
        "dilated convolutions: sees far, coarse outlines", f"{_SMP}:DeepLabV3"
    ),
    "deeplabv3plus": Architecture(
        "DeepLabV3 that brings fine features back for outlines", f"{_SMP}:DeepLabV3Plus"
    ),
    "upernet": Architecture("feature pyramid that also pools the whole chip", f"{_SMP}:UPerNet"),
    "segformer": Architecture(
        "light head on features of four scales; made for mit_* encoders",
        "segmentation.networks.segformer:Segformer",
    ),
    "dpt": Architecture(
        "dense prediction from the tokens of a plain vision transformer, such as tu-vit_*",
        f"{_SMP}:DPT",
        encoder="tu-vit_tiny_patch16_224",
        fixed={
            "dynamic_img_size": True
        },  # else it takes chips of the size it was pretrained with, and no other
        coarser=2,
        patches=True,
        # The library's decoder is made for an encoder four times as wide; these are Depth
        # Anything's for its small one (Yang et al. 2024, arXiv:2406.09414).
        options={
            "decoder_fusion_channels": 64,
            "decoder_intermediate_channels": (48, 96, 192, 384),
        },
    ),
    "fcn": Architecture(
        "torchvision's plain head on dilated features: the simplest there is",
        "segmentation.networks.fcn:FCN",
    ),
}


def architectures() -> dict[str, str]:
    """What there is, by name, in one line each."""
    return {name: one.summary for name, one in ARCHITECTURES.items()}


def build(card: Card, weights: Weights = "none") -> torch.nn.Module:
    """The card's network in float32 `(batch, band, y, x) -> (batch, channel, y, x)`: what it says
    before the card's activation; `y` and `x` × its stride. Several are an `Ensemble`.

    With random weights nothing is read and nothing fetched; with "imagenet" the encoder starts from
    pretrained ones, where `initial_weights` finds some, and a logged line says where not. Raises
    `InputError` where there is no such network.
    """
    model = together(card, [_build_one(card, network) for network in card.network.networks])
    if weights == "imagenet" and (missing := initial_weights(model, card)):
        _log.warning("%s", missing)
    return model


def together(card: Card, networks: Sequence[torch.nn.Module]) -> torch.nn.Module:
    """The networks of a card as one: itself, or what averages several."""
    if len(networks) == 1:
        return networks[0]
    from segmentation.networks.outputs import Ensemble

    return Ensemble(networks, card.activation)


def make_one(network: NetworkModel, bands: int, classes: int) -> torch.nn.Module:
    """The network as its library makes it, not tried on any chip; else one of `REFUSALS`."""
    return ARCHITECTURES[network.architecture].make(
        network.encoder, None, in_channels=bands, classes=classes, **network.options
    )


def _build_one(card: Card, network: NetworkModel) -> torch.nn.Module:
    if network.architecture not in ARCHITECTURES:
        close = get_close_matches(network.architecture.lower(), ARCHITECTURES, 1, 0) or ["unet"]
        raise InputError(
            f"bundle {card.name}: there is no architecture {network.architecture!r}; the nearest "
            f"is {close[0]}, "
            f"and there are {', '.join(ARCHITECTURES)}"
        )
    try:
        return _try_network(network, len(card.bands), card.channels)
    except REFUSALS as error:
        raise _suggest_mend(card, network, error) from error


def stride_of(model: torch.nn.Module) -> int:
    """A network built here is shift-invariant modulo this many pixels, and takes chips of multiples
    of it."""
    if parts := getattr(model, "networks", ()):
        return lcm(*map(stride_of, parts))
    encoder: Any = model.encoder
    return int(encoder.output_stride) * ARCHITECTURES[type(model).__name__.lower()].coarser


def stride_without_dilation(model: torch.nn.Module) -> int:
    """The stride that a network built here would have if its encoder halved where it dilates
    instead.

    A dilated layer looks as far as the halved one, and wants chips as long to learn from.
    """
    channels = getattr(model.encoder, "out_channels", ())  # of the pixels and of each halving
    return max(stride_of(model), 2 ** len(channels) // 2)


def _try_network(network: NetworkModel, bands: int, classes: int) -> torch.nn.Module:
    """The network, once it has turned a small chip into classes for each pixel; else one of
    `REFUSALS`."""
    import torch

    model = make_one(network, bands, classes)
    stride = stride_of(model)
    height = max(2, -(-SMALLEST // stride)) * stride
    width = height + stride
    was_training = model.training
    with torch.inference_mode():
        shape = tuple(model.eval()(torch.zeros(1, bands, height, width)).shape)
    if shape != (1, classes, height, width):
        raise ValueError(f"a chip of {height} × {width} px came out as {shape[2]} × {shape[3]}")
    return model.train(was_training)


def _suggest_mend(card: Card, network: NetworkModel, error: Exception) -> InputError:
    """The refusal in one line, with what would work instead."""
    reason = " ".join(str(error.args[0] if error.args else type(error).__name__).split())
    reason = reason.partition(", supported encoders")[0]  # there are hundreds, and one line
    plain = network.model_copy(update={"options": {}})
    what = f"cannot build the {network.architecture} on {network.encoder} of bundle {card.name}"
    if network.options and _works(plain):
        settings = ", ".join(f"{name}={value}" for name, value in network.options.items())
        return InputError(f"{what} with {settings} ({reason}); without these settings it works")
    nearest = next(
        name for name in _near(network) if _works(plain.model_copy(update={"encoder": name}))
    )
    return InputError(f"{what} ({reason}); the nearest encoder that works is {nearest}")


def _works(network: NetworkModel) -> bool:
    import torch

    # A guess may be a giant: on the meta device it takes neither memory nor time. These read
    # numbers back, which that device has not.
    device = torch.device("cpu" if network.encoder.startswith("mit_") else "meta")
    try:
        with device:
            _try_network(network, 3, 2)
    except REFUSALS:
        return False
    return True


def _near(network: NetworkModel) -> Iterator[str]:
    """Encoders that are called about the same, the likest first; the last one always works."""
    from segmentation_models_pytorch.encoders import get_encoder_names

    # deprecated there
    names = [name for name in get_encoder_names() if not name.startswith("timm-")]
    if network.encoder.startswith("tu-"):
        from timm import list_models

        names += [f"tu-{name}" for name in list_models()]
    yield from (
        name
        for name in get_close_matches(network.encoder, names, 8, 0.6)
        if name != network.encoder
    )
    yield ARCHITECTURES[network.architecture].encoder


def initial_weights(model: torch.nn.Module, card: Card) -> str:
    """Give the encoder of a network that `build` made the weights it has from ImageNet.

    They come from the cache, else from the model hub if it answers within `PATIENCE` seconds. Empty
    where that went well, else one line that says why the weights are as random as before. The
    filters of the first convolution go to bands by their names, see `filters_for`.
    """
    import torch

    network = card.network
    random = f"{network.encoder} starts from random weights"
    origin = _origin(network.encoder)
    if origin is None:
        return f"{random}: nobody has published any from ImageNet for it"
    try:
        file = _fetch_weights(*origin)
    except OSError as error:
        return (
            f"{random}: those from ImageNet are not in the cache, and "
            f"{' '.join(str(error).split())}"
        )
    # whether there are any changes no other number
    with (
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
    ):
        given = _donor(network, file)
        # What looks at the bands has another shape where there is one more of them.
        with_four = _encoder(network, None, 4).state_dict()
        encoder: Any = model.encoder
        for name, target in encoder.state_dict().items():
            filters = given[name]
            target.copy_(
                filters
                if with_four[name].shape == filters.shape
                else filters_for(card.band_names, filters)
            )
    return ""


def filters_for(bands: Sequence[str], filters: torch.Tensor) -> torch.Tensor:
    """Filters of a first convolution for red, green and blue, `(out, 3, y, x)`, as filters for
    `bands`.

    Red, green and blue get their own, every other band the mean of the three; all are scaled so
    that what comes out is as large as before.
    """
    import torch

    by_name = dict(zip(RED_GREEN_BLUE, filters.unbind(1), strict=True))
    mean = filters.mean(1)
    chosen = [by_name.get(band.rpartition(".")[2], mean) for band in bands]
    return torch.stack(chosen, 1) * (len(RED_GREEN_BLUE) / len(bands))


def _encoder(
    network: NetworkModel, weights: Any, channels: int, **settings: Any
) -> torch.nn.Module:
    made: Any = ARCHITECTURES[network.architecture].make(
        network.encoder, weights, in_channels=channels, classes=1, **network.options, **settings
    )
    return made.encoder


def _donor(network: NetworkModel, file: Path) -> dict[str, torch.Tensor]:
    """Parameters of the encoder for red, green and blue."""
    from safetensors.torch import load_file

    if network.encoder.startswith("tu-"):
        # timm knows how the names in its file differ from those of the network.
        own = {"file": str(file), "custom_load": False}
        return _encoder(network, True, 3, pretrained_cfg_overlay=own).state_dict()
    encoder = _encoder(network, None, 3)
    encoder.load_state_dict(load_file(file))
    return encoder.state_dict()


def _origin(encoder: str) -> tuple[str, str | None] | None:
    """Repository and revision on the model hub, if there are weights."""
    if encoder.startswith("tu-"):
        from timm import get_pretrained_cfg

        known = get_pretrained_cfg(encoder.removeprefix("tu-"))
        return (known.hf_hub_id, None) if known and known.hf_hub_id else None
    from segmentation_models_pytorch.encoders import encoders

    if encoder not in encoders:
        return None  # our own
    weights = encoders.get(encoder, {}).get("pretrained_settings", {}).get("imagenet")
    return (weights["repo_id"], weights["revision"]) if weights else None


def _fetch_weights(repository: str, revision: str | None) -> Path:
    """The file of weights on this machine; an `OSError` where it is not and nobody answers."""
    import httpx
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    # read now, not when the library was imported
    name, hub = (
        "model.safetensors",
        os.environ.get("HF_ENDPOINT"),
    )
    cached = try_to_load_from_cache(repository, name, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    address = hf_hub_url(repository, name, revision=revision, endpoint=hub)
    try:
        # The library itself would ask again and again.
        answer = httpx.head(address, timeout=PATIENCE)
        if answer.is_error:  # large files are elsewhere, and to be sent on is no error
            answer.raise_for_status()
        return Path(
            hf_hub_download(
                repository, name, revision=revision, endpoint=hub, etag_timeout=PATIENCE
            )
        )
    except httpx.HTTPError as error:
        raise OSError(f"{httpx.URL(address).host} does not hand them out ({error})") from error
