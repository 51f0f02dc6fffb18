"""Models that others published: what each is good for, and where its weights lie; none of them is
in this package.

Each is a file in the folder `known` beside this one, and adding a file adds a model. What it says
of a network's stride, support and margin was measured, so that a bundle made of it is the same, and
has the same digest, on every machine.
"""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segmentation.errors import InputError
from segmentation.models.bundle import load
from segmentation.models.card import BandCard, Card
from segmentation.models.hub import cache_folder
from segmentation.models.processing import is_plain

KNOWN = Path(__file__).with_name("known")
ENCODERS = KNOWN / "encoders"
"""Of encoders, which know no classes: nothing to map with, but to start a training from."""

_VALUE = ConfigDict(frozen=True, extra="forbid")


class PackageFile(BaseModel):
    """A file in a Python package, as it is installed or as pip downloads it."""

    model_config = _VALUE

    kind: Literal["package"] = "package"
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.]*$")]
    member: Annotated[str, Field(pattern=r"^\w[\w./-]*$", description="Path within its wheel.")]

    def __str__(self) -> str:
        return f"{self.package} {self.version}, {self.member}"


class HubFile(BaseModel):
    """A file on a model hub, at one commit."""

    model_config = _VALUE

    kind: Literal["hub"] = "hub"
    id: Annotated[
        str, Field(pattern=r"^hf://[\w.-]+/[\w.-]+@[0-9a-f]{40}/\w[\w./-]*$", description="Of it.")
    ]

    def __str__(self) -> str:
        return self.id


class WebFile(BaseModel):
    """A file at an address."""

    model_config = _VALUE

    kind: Literal["web"] = "web"
    address: Annotated[str, Field(pattern=r"^https://[^\s]+$")]

    def __str__(self) -> str:
        return self.address


Origin = Annotated[PackageFile | HubFile | WebFile, Field(discriminator="kind")]


class KnownFile(BaseModel):
    """A published file of weights."""

    model_config = _VALUE

    origin: Origin
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Of the file there.")]
    size: Annotated[int, Field(gt=0, description="Bytes of that file, or a few more.")]

    @property
    def host(self) -> str:
        """The host that is asked for it; "" where pip, or the hub that is set, decides."""
        return urlsplit(self.origin.address).hostname or "" if self.origin.kind == "web" else ""


class KnownEncoder(KnownFile):
    """A published encoder: the bands that it learnt from and how its authors show it those, where
    its weights are, and what a person should know first."""

    sha256: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{8,64}$",
            description="Of the file there; where no more is published, its first digits.",
        ),
    ]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    encoder: Annotated[str, Field(description="As segmentation-models-pytorch calls it.")]
    sees: Annotated[str, Field(description="What it learnt from, in a line.")]
    about: Annotated[str, Field(description="Where its authors tell of it.")]
    citation: str
    licence: str
    bands: Annotated[tuple[BandCard, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_channel_each(self) -> Self:
        if len({band.name for band in self.bands}) < len(self.bands):
            raise ValueError("a band stands twice")
        return self

    @property
    def file(self) -> Path:
        """Where its weights are kept once they were fetched."""
        place = cache_folder() / "encoders" / self.name / self.sha256[:16]
        return place / str(self.origin).rpartition("/")[2]


class KnownModel(KnownFile):
    """A published model: its card, where its weights are, and what a person should know first."""

    model_config = _VALUE

    sees: Annotated[str, Field(description="What it tells apart, in a line.")]
    about: Annotated[str, Field(description="Where its authors tell of it.")]
    citation: str
    further: Annotated[
        tuple[KnownFile, ...],
        Field(
            exclude_if=is_plain,
            description="Files of the card's further networks, in their order; the first one's is "
            "that of the model. All come from one host.",
        ),
    ] = ()
    card: Card

    @model_validator(mode="after")
    def _a_file_for_each_network(self) -> Self:
        if self.further and len(self.files) != len(self.card.network.networks):
            raise ValueError(
                f"{len(self.files)} files for {len(self.card.network.networks)} networks"
            )
        if len({(one.origin.kind, one.host) for one in self.files}) > 1:
            raise ValueError("files from more than one host")
        return self

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def files(self) -> tuple[KnownFile, ...]:
        """All that is fetched, a file of weights for each network or one for all."""
        return (self, *self.further)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that is said here."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@cache
def known_names() -> tuple[str, ...]:
    """The models there are, by name."""
    return tuple(sorted(file.stem for file in KNOWN.glob("*.json")))


@cache
def known_model(name: str) -> KnownModel:
    """What is known of a model; `InputError` where there is none of that name or its file is
    wrong."""
    if name not in known_names():
        raise InputError(
            f"there is no known model {name!r}; there are {', '.join(known_names())}, see "
            "landweave models --known"
        )
    file = KNOWN / f"{name}.json"
    try:
        known = KnownModel.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if known.name != name:
        raise InputError(f"{file}: its card is called {known.name!r}; call both the same")
    return known


@cache
def encoder_names() -> tuple[str, ...]:
    """The encoders there are, by name."""
    return tuple(sorted(file.stem for file in ENCODERS.glob("*.json")))


@cache
def known_encoder(name: str) -> KnownEncoder:
    """What is known of an encoder; `InputError` where its file is wrong."""
    file = ENCODERS / f"{name}.json"
    try:
        known = KnownEncoder.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if known.name != name:
        raise InputError(f"{file}: it is called {known.name!r}; call both the same")
    return known


def bundle_folder(known: KnownModel) -> Path:
    """Where a known model's bundle is kept once it was fetched; what is said of it changed, another
    folder."""
    return cache_folder() / "known" / known.name / known.digest[:16]


def cached_known(name: str) -> Path:
    """The folder of a known model's bundle; `InputError` where it was not fetched yet, or is
    damaged."""
    folder = bundle_folder(known_model(name))
    try:
        load(folder).check()
    except (InputError, OSError) as error:
        raise InputError(
            f"{name} is not on this machine yet; fetch it: landweave models get {name}"
        ) from error
    return folder
