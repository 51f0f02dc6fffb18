"""A trained model on disk: a folder with its weights and the card that says what they are for.

One file holds numbers, `model.json` the card. Opening a bundle runs no code from it.
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

CARD = "model.json"
WEIGHTS = {"network": "model.safetensors", "forest": "model.skops"}
"""The file of weights, by kind of model."""

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Where a card says how a band's values lay in the training data."""

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


class BandCard(BaseModel):
    """One band as a model wants it, and how its values lay in the training data, in its own units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, description="Common name, with its source where a scene has several.")]
    units: Literal["reflectance", "dn"] = "reflectance"
    dtype: Annotated[str, Field(description="Of the files it was trained on; empty where nobody knows.")] = ""
    mean: float
    std: Annotated[float, Field(gt=0)]
    quantiles: Annotated[
        tuple[float, ...], Field(description="At QUANTILES, of the training pixels; empty where nobody knows.")
    ] = ()

    @model_validator(mode="after")
    def _one_for_each(self) -> BandCard:
        if self.quantiles and len(self.quantiles) != len(QUANTILES):
            raise ValueError(f"band {self.name} has {len(self.quantiles)} quantiles instead of {len(QUANTILES)}")
        return self


class NetworkModel(BaseModel):
    """A convolutional network or transformer: labels from what is around a pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["network"] = "network"
    architecture: Annotated[str, Field(description="Its name in `segmentation.architectures`, such as unet.")]
    encoder: Annotated[str, Field(pattern=r"^[\w.-]+$", description="Its encoder, by the library's name.")]
    options: Annotated[dict[OptionName, OptionValue], Field(description="Further settings of the architecture.")] = {}
    tile: Annotated[int, Field(ge=1, description="Target length of a core, in pixels.")] = 1024
    margin: Annotated[int, Field(ge=0, description="Default margin, in pixels; a multiple of the stride.")]
    stride: Annotated[int, Field(ge=1, description="It is shift-invariant modulo this many pixels.")] = 32
    support: Annotated[Support | None, Field(description="Null where it looks at the whole chip.")]
    disagreement: Annotated[
        float,
        Field(ge=0, le=1, description="Share of labels unlike the untiled result, at the default tile and margin."),
    ]
    temperature: Annotated[
        float, Field(gt=0, description="Logits are divided by it before the softmax, which makes it a probability.")
    ] = 1.0

    @model_validator(mode="after")
    def _on_the_stride(self) -> NetworkModel:
        if self.margin % self.stride:
            raise ValueError(f"margin {self.margin} is no multiple of stride {self.stride}")
        return self


class ForestModel(BaseModel):
    """A forest of decision trees: labels from a pixel's bands, their indices and what lies within a few pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["forest"] = "forest"
    estimator: Annotated[str, Field(description="Its name in `segmentation.forest`, such as random-forest.")]
    indices: Annotated[tuple[str, ...], Field(description="Spectral indices among its features.")] = ()
    context: Annotated[
        tuple[int, ...], Field(description="Lengths, in pixels, of the square windows whose mean and spread it sees.")
    ] = ()
    sklearn: Annotated[str, Field(description="Version of scikit-learn it was trained with; another is refused.")]


Model = Annotated[NetworkModel | ForestModel, Field(discriminator="kind")]


class Card(BaseModel):
    """What a model is, what it wants to see and what is known about its answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    bands: Annotated[tuple[BandCard, ...], Field(min_length=1, description="In the order of its channels.")]
    gsd: Annotated[float, Field(gt=0, description="Ground sampling distance it was trained at, in metres.")]
    legend: Annotated[Legend, Field(description="Its classes, in the order of its output channels.")]
    model: Model
    training: Annotated[dict[str, JsonValue], Field(description="Which data, which seeds, which program.")]
    metrics: Annotated[dict[str, float], Field(description="Measured on data it was not trained on.")]
    licence: str
    sha256: Annotated[
        str, Field(pattern=r"^([0-9a-f]{64})?$", description="Of the file of weights; filled in by `save`.")
    ] = ""

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    @property
    def network(self) -> NetworkModel:
        """What it says of its network; `Mistake` where the model is none."""
        if self.model.kind != "network":
            raise Mistake(f"bundle {self.name} holds a {self.model.kind}, not a network")
        return self.model

    @property
    def forest(self) -> ForestModel:
        """What it says of its forest; `Mistake` where the model is none."""
        if self.model.kind != "forest":
            raise Mistake(f"bundle {self.name} holds a {self.model.kind}, not a forest")
        return self.model


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

    @property
    def weights_file(self) -> Path:
        return self.folder / WEIGHTS[self.card.model.kind]

    def check(self) -> None:
        """Read the weights and compare them with the card; raises `Mistake` where they are not the card's."""
        self.content()

    def content(self) -> bytes:
        """The file of weights, checked; `Mistake` where it is not the card's."""
        content = self.weights_file.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.card.sha256:
            raise Mistake(
                f"{self.weights_file} is not the file that {CARD} was written for (its SHA-256 differs); "
                "copy the whole bundle again or train it anew"
            )
        return content

    def weights(self) -> dict[str, Tensor]:
        """A network's parameters by name, as stored; `Mistake` where they are not the card's."""
        from safetensors import SafetensorError
        from safetensors.torch import load as tensors

        try:
            return tensors(self.content())
        except SafetensorError as error:
            raise Mistake(f"{self.weights_file} is not a safetensors file ({error}); save it as one") from error


def names() -> tuple[str, ...]:
    """The bundles that come with the package."""
    return tuple(sorted(card.parent.name for card in PACKAGED.glob(f"*/{CARD}")))


def load(where: str | Path) -> Bundle:
    """The bundle of that name, if it comes with the package, else the one in that folder.

    Reads the card alone. Raises `Mistake` where a file is missing or the card is not one.
    """
    folder = PACKAGED / where if str(where) in names() else Path(where)
    if not (folder / CARD).is_file():
        raise _no_bundle(folder, CARD)
    stat = (folder / CARD).stat()
    bundle = _opened(folder, stat.st_mtime_ns, stat.st_size)
    if not bundle.weights_file.is_file():
        raise _no_bundle(folder, bundle.weights_file.name)
    return bundle


def _no_bundle(folder: Path, missing: str) -> Mistake:
    return Mistake(
        f"{folder} is no bundle, it has no {missing}; "
        f"give a folder that `landweave train` wrote, or {' or '.join(names())}"
    )


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
    """Write the bundle of a network, as `write` does, from its parameters by name.

    `half` stores matrices and kernels as float16; vectors, such as the statistics of batch norms, stay as they are.
    """
    import torch
    from safetensors.torch import save as serialised

    stored = {
        name: (tensor.half() if half and tensor.ndim > 1 else tensor).detach().to(torch.device("cpu")).contiguous()
        for name, tensor in state.items()
    }
    return write(folder, card, serialised(stored))


def write(folder: Path, card: Card, content: bytes) -> Bundle:
    """Write a bundle whole or not at all, in place of one that is there; returns it as written.

    `content` is the file of weights. Raises `Mistake` rather than replace a folder that holds anything else.
    """
    if folder.exists() and not (folder / CARD).is_file() and any(folder.iterdir()):
        raise Mistake(f"{folder} holds other files, not a bundle; choose a new folder")
    card = card.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    new.mkdir(parents=True)
    try:
        (new / WEIGHTS[card.model.kind]).write_bytes(content)
        (new / CARD).write_text(card.model_dump_json(indent=2) + "\n")
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return load(folder)
