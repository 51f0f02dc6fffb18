"""A trained network on disk: a folder with its weights and the card that says what they are for.

`model.safetensors` holds numbers, `model.json` the card. Opening a bundle runs no code from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from segmentation.errors import Mistake
from segmentation.legend import Legend

if TYPE_CHECKING:
    from torch import Tensor

CARD, WEIGHTS = "model.json", "model.safetensors"

PACKAGED = Path(__file__).parent / "bundles"
"""Bundles that come with the package; a folder's name here is the bundle's."""

# What a card may say to the network's constructor: its shape, and nothing that names a file or a download.
OptionName = Annotated[str, Field(pattern=r"^(encoder_depth|encoder_output_stride|upsampling|decoder_\w+)$")]
OptionValue = bool | int | float | str | tuple[int, ...] | None


class Support(NamedTuple):
    """How far a network looks from the pixel it labels, in pixels: exact, found by NaN propagation."""

    up: int
    down: int
    left: int
    right: int


class Card(BaseModel):
    """What a network is, what it wants to see and what is known about its answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: Annotated[str, Field(min_length=1)]
    architecture: Annotated[str, Field(description="An architecture of segmentation-models-pytorch, such as Unet.")]
    encoder: Annotated[str, Field(pattern=r"^[\w.-]+$", description="Its encoder, by the library's name.")]
    options: Annotated[dict[OptionName, OptionValue], Field(description="Further settings of the architecture.")] = {}
    bands: Annotated[tuple[str, ...], Field(min_length=1, description="Common names, in the order of its channels.")]
    units: Literal["reflectance"] = "reflectance"
    mean: Annotated[tuple[float, ...], Field(description="Per band; the network sees (reflectance - mean) / std.")]
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(description="Per band.")]
    gsd: Annotated[float, Field(gt=0, description="Ground sampling distance it was trained at, in metres.")]
    legend: Annotated[Legend, Field(description="Its classes, in the order of its output channels.")]
    tile: Annotated[int, Field(ge=1, description="Target length of a core, in pixels.")] = 1024
    margin: Annotated[int, Field(ge=0, description="Default margin, in pixels; a multiple of the stride.")]
    stride: Annotated[int, Field(ge=1, description="It is shift-invariant modulo this many pixels.")] = 32
    support: Annotated[Support | None, Field(description="Null where it looks at the whole chip.")]
    disagreement: Annotated[
        float,
        Field(ge=0, le=1, description="Share of labels unlike the untiled result, at the default tile and margin."),
    ]
    training: Annotated[dict[str, JsonValue], Field(description="Which data, which seeds, which program.")]
    metrics: Annotated[dict[str, float], Field(description="Measured on data it was not trained on.")]
    licence: str
    weights_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", description="Filled in by `save`.")] = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError(f"{len(self.bands)} bands need as many means and deviations")
        if self.margin % self.stride:
            raise ValueError(f"margin {self.margin} is no multiple of stride {self.stride}")
        return self


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its card in memory, its weights still on disk."""

    folder: Path
    card: Card

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the card, and so, through the hash that the card holds, of the weights."""
        canonical = json.dumps(self.card.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def check(self) -> None:
        """Read the weights and compare them with the card; raises `Mistake` where they are not the card's."""
        self._checked()

    def weights(self) -> dict[str, Tensor]:
        """The network's parameters by name, as stored; `Mistake` where they are not the card's."""
        from safetensors import SafetensorError
        from safetensors.torch import load as tensors

        try:
            return tensors(self._checked())
        except SafetensorError as error:
            raise Mistake(f"{self.folder / WEIGHTS} is not a safetensors file ({error}); save it as one") from error

    def _checked(self) -> bytes:
        content = (self.folder / WEIGHTS).read_bytes()
        if hashlib.sha256(content).hexdigest() != self.card.weights_sha256:
            raise Mistake(
                f"{self.folder / WEIGHTS} is not the file that {CARD} was written for (its SHA-256 differs); "
                "copy the whole bundle again or train it anew"
            )
        return content


def names() -> tuple[str, ...]:
    """The bundles that come with the package."""
    return tuple(sorted(card.parent.name for card in PACKAGED.glob(f"*/{CARD}")))


def load(where: str | Path) -> Bundle:
    """The bundle of that name, if it comes with the package, else the one in that folder.

    Reads the card alone. Raises `Mistake` where a file is missing or the card is not one.
    """
    folder = PACKAGED / where if str(where) in names() else Path(where)
    for file in (folder / CARD, folder / WEIGHTS):
        if not file.is_file():
            raise Mistake(
                f"{folder} is no bundle, it has no {file.name}; "
                f"give a folder that `landweave train` wrote, or {' or '.join(names())}"
            )
    stat = (folder / CARD).stat()
    return _opened(folder, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _opened(folder: Path, mtime_ns: int, size: int) -> Bundle:
    file = folder / CARD
    try:
        return Bundle(folder, Card.model_validate_json(file.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join((".".join(map(str, first["loc"])), first["msg"])) if first["loc"] else first["msg"]
        raise Mistake(f"{file} is not the card of a bundle ({what}); mend that or train the bundle anew") from error


def save(folder: Path, card: Card, state: Mapping[str, Tensor], *, half: bool = False) -> Bundle:
    """Write a bundle whole or not at all, in place of one that is there; returns it as written.

    `half` stores matrices and kernels as float16; vectors, such as the statistics of batch norms, stay as they are.
    Raises `Mistake` rather than replace a folder that holds anything else.
    """
    import torch
    from safetensors.torch import save as serialised

    if folder.exists() and not (folder / CARD).is_file() and any(folder.iterdir()):
        raise Mistake(f"{folder} holds other files, not a bundle; choose a new folder")
    stored = {
        name: (tensor.half() if half and tensor.ndim > 1 else tensor).detach().to(torch.device("cpu")).contiguous()
        for name, tensor in state.items()
    }
    content = serialised(stored)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})

    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    new.mkdir(parents=True)
    try:
        (new / WEIGHTS).write_bytes(content)
        (new / CARD).write_text(card.model_dump_json(indent=2) + "\n")
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return load(folder)
