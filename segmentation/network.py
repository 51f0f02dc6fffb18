"""A trained network on a chip: labels from what is around a pixel, not its colour alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from segmentation.bundle import Bundle, Card, Support, load
from segmentation.bundled import Bundled
from segmentation.chip import values
from segmentation.errors import Mistake
from segmentation.segmenter import Footprint, Prediction

if TYPE_CHECKING:
    import torch

Device = Literal["cpu", "cuda"]

_BATCH: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Chips in one call of the model. A constant: what is computed never follows how much memory happens to be free."""

_MOST_LANES = 2
"""Calls at once: more would want more memory than a shard's few chips repay."""


class Network(Bundled):
    """A trained network: learns shapes and textures as well as colours."""

    bytes_per_pixel = 1600  # two chips at once in a U-Net on resnet18, and torch itself, measured

    uses_gpu = True

    kind: Literal["network"] = "network"
    tile: Annotated[int | None, Field(ge=32, description="Length of a core in pixels; empty: the bundle's.")] = None
    margin: Annotated[int | None, Field(ge=0, description="Pixels seen around a core; empty: the bundle's.")] = None
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="auto: the GPU if there is one.")] = "auto"

    @property
    def footprint(self) -> Footprint:
        network = self.opened.card.network
        return Footprint(
            tile=network.tile if self.tile is None else self.tile,
            margin=network.margin if self.margin is None else self.margin,
            stride=network.stride,
        )

    def runtime(self) -> dict[str, str]:
        import torch

        device = self._device()
        return {
            "device": torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability(),
            "torch": str(torch.__version__),  # its own type would have whoever unpickles it import torch
            "precision": "bfloat16" if device == "cuda" else "float32",
            "layout": "channels_last",
            "batch": str(_BATCH[device]),
        }

    def __call__(self, chip: xr.Dataset) -> Prediction:
        return next(self.stream([chip]))

    def stream(self, chips: Iterable[xr.Dataset]) -> Iterator[Prediction]:
        bundle, device = self.opened, self._device()
        model, remaining = _inference_model(bundle.digest, bundle.folder, device), iter(chips)
        pool, lanes = _pool()
        waiting: deque[Future[list[Prediction]]] = deque()
        while batch := list(islice(remaining, _BATCH[device])):
            waiting.append(pool.submit(_predict, model, bundle.card, device, batch))
            if len(waiting) > lanes:
                yield from waiting.popleft().result()
        for done in waiting:
            yield from done.result()

    def _device(self) -> Device:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise Mistake("device cuda was asked for, and torch finds no GPU here; use --set device=cpu")
        return "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"


def build(card: Card) -> torch.nn.Module:
    """The card's network with random weights: float32 `(batch, band, y, x) -> (batch, class, y, x)` logits.

    `y` and `x` are multiples of the stride. Raises `Mistake` where the library has no such network.
    """
    import segmentation_models_pytorch as smp

    network = card.network
    try:
        # encoder_weights=None: nothing is downloaded.
        return smp.create_model(
            network.architecture,
            network.encoder,
            None,
            in_channels=len(card.bands),
            classes=len(card.legend),
            **network.options,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Mistake(
            f"segmentation-models-pytorch {smp.__version__} cannot build the {network.architecture} on "
            f"{network.encoder} of bundle {card.name} ({error}); install the version it was trained with "
            "or train it anew"
        ) from error


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
    return _fused(model.eval(), len(bundle.card.bands)).to(memory_format=torch.channels_last)


def normalised(chip: xr.Dataset, card: Card) -> npt.NDArray[np.float32]:
    """What the network sees: `(band, y, x)` in the card's order, (value − mean) / std, and 0 where not valid.

    Raises `Mistake` where a band's values are not in the units the network was trained on.
    """
    pixels = values(chip.sel(band=list(card.band_names)), [band.units for band in card.bands]).values
    for band, trained_on in zip(pixels, card.bands, strict=True):
        band -= trained_on.mean
        band /= trained_on.std
    pixels[:, ~chip["valid"].values] = 0
    return pixels


def support(model: torch.nn.Module, bands: int, *, stride: int = 32, reach: int = 512) -> Support | None:
    """How far an inference model looks: a NaN goes in, at each phase of the stride, and shows where it acts.

    Returns None where it acts further than `reach` px away: such a network sees the whole chip.
    """
    import torch

    found = np.zeros(4, int)
    for phase in range(stride):
        poked = reach + phase
        chip = torch.zeros(1, bands, 2 * reach + stride, 2 * reach + stride)
        chip[..., poked, poked] = float("nan")
        with torch.inference_mode():
            spoilt = model(chip.to(memory_format=torch.channels_last)).isnan().any(1)[0].numpy()
        rows, cols = (np.flatnonzero(spoilt.any(axis)) for axis in (1, 0))
        # What comes out below the NaN has looked up.
        found = np.maximum(found, [rows[-1] - poked, poked - rows[0], cols[-1] - poked, poked - cols[0]])
    return None if found.max() >= reach else Support(*map(int, found))


def disagreement(model: torch.nn.Module, whole: npt.NDArray[np.float32], core: int, margin: int) -> float:
    """Share of labels in the `core` px square amid `whole` that change when an inference model sees only `margin` more.

    `whole` `(band, y, x)` is normalised; what it has around the core is at least the network's support, so that its
    labels are those of an endless raster, and a multiple of the stride.
    """
    import torch

    spare = (whole.shape[1] - core) // 2 - margin

    def labels(pixels: torch.Tensor, around: int) -> torch.Tensor:
        logits = model(pixels[None].to(memory_format=torch.channels_last))
        return logits[0, :, around : around + core, around : around + core].argmax(0)

    with torch.inference_mode():
        pixels = torch.from_numpy(whole)
        alone = pixels[:, spare : spare + core + 2 * margin, spare : spare + core + 2 * margin]
        return float((labels(pixels, spare + margin) != labels(alone, margin)).float().mean())


@cache
def _inference_model(digest: str, folder: Path, device: Device) -> torch.nn.Module:
    """Once per process and content."""
    import torch

    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    return trained(load(folder)).to(device)


@cache
def _pool() -> tuple[ThreadPoolExecutor, int]:
    """Threads that call the model, and how many: each computes on one core only.

    A 1×1 convolution over many channels adds up in another order when oneDNN shares it out among more cores, and a few
    labels in a million follow. So it is chips that share out the cores: labels then do not depend on how many cores
    there are, and two chips at once on a core each cost no more than two in turn on both.
    """
    import torch

    lanes = min(_MOST_LANES, torch.get_num_threads())
    # The setting holds for the thread that makes it, as OpenMP's does.
    return ThreadPoolExecutor(lanes, "network", initializer=torch.set_num_threads, initargs=(1,)), lanes


def _predict(model: torch.nn.Module, card: Card, device: Device, chips: list[xr.Dataset]) -> list[Prediction]:
    """One batch of constant shape; a last one is filled up with nothing."""
    import torch

    pixels = np.zeros((_BATCH[device], *chips[0]["valid"].shape, len(card.bands)), np.float32)
    for place, chip in enumerate(chips):
        pixels[place] = np.moveaxis(normalised(chip, card), 0, -1)
    classes = torch.tensor(card.legend.values, dtype=torch.uint8, device=device)
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda"):
        # Bands last in memory and first by name is what torch calls channels_last.
        logits = model(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)).float()
        best, index = logits.max(1)
        # The softmax of the winner alone; of equal logits the first class wins.
        percent = 100 / (logits - best[:, None]).exp().sum(1)
        labels, confidence = classes[index].cpu().numpy(), percent.round().to(torch.uint8).cpu().numpy()
    return [
        Prediction(labels=np.where(chip["valid"].values, label, np.uint8(0)), confidence=sure)
        for chip, label, sure in zip(chips, labels, confidence, strict=False)
    ]


def _fused(model: torch.nn.Module, bands: int) -> torch.nn.Module:
    """The same function with every batch norm folded into the convolution before it: a tenth less time on a CPU.

    Which convolution feeds which norm is seen by running the model once, not guessed from the order of its parts.
    """
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
        model(torch.zeros(1, bands, 64, 64))
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
