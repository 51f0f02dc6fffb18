"""What a model is, what it wants to see and what is known about its answers: the card of a
bundle."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.models.forest_model import ForestModel, Name
from segmentation.models.processing import (
    Activation,
    ActivationField,
    Preprocessing,
    PreprocessingField,
    ZoomField,
    is_plain,
)

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Where a card says how a band's values lay in the training data."""

# What a card may say to the network's constructor: its shape, and nothing that names a file or a
# download.
OptionName = Annotated[
    str,
    Field(
        pattern=r"^(encoder_depth|encoder_output_stride|upsampling|members|differences|decoder_[a-z0-9_]+)$"
    ),
]
# Bounded, so that no card asks for more memory than any network here needs.
_OptionNumber = Annotated[int, Field(ge=-1, le=4096)]
OptionValue = bool | _OptionNumber | float | str | tuple[_OptionNumber, ...] | None

DType = Literal[
    "", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip

# No NaN and no infinity: JSON has no word for them.
_VALUE = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def brief(number: float) -> float:
    """A measured number as a card holds it: six digits say all there is to say."""
    return float(f"{number:.6g}")


class Support(NamedTuple):
    """How far a network looks from the pixel it labels, in pixels: exact, found by NaN
    propagation."""

    up: int
    down: int
    left: int
    right: int


class BandCard(BaseModel):
    """One band as a model wants it, and how its values lay in the training data, in its own
    units."""

    model_config = _VALUE

    name: Annotated[
        Name, Field(description="Common name, with its source where a scene has several.")
    ]
    units: Literal["reflectance", "dn"] = "reflectance"
    dtype: Annotated[
        DType, Field(description="Of the files it was trained on; empty where nobody knows.")
    ] = ""
    mean: float
    std: Annotated[float, Field(gt=0)]
    quantiles: Annotated[
        tuple[float, ...],
        Field(description="At QUANTILES, of the training pixels; empty where nobody knows."),
    ] = ()

    @model_validator(mode="after")
    def _one_for_each(self) -> BandCard:
        if self.quantiles and len(self.quantiles) != len(QUANTILES):
            raise ValueError(
                f"band {self.name} has {len(self.quantiles)} quantiles instead of {len(QUANTILES)}"
            )
        return self


def _is_none(value: object) -> bool:
    return value is None


class Member(BaseModel):
    """A further network on the same pixels."""

    model_config = _VALUE

    architecture: Name
    encoder: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    options: dict[OptionName, OptionValue] = {}


class ChipModel(BaseModel):
    """What looks at a chip as a whole: labels from what is around a pixel."""

    model_config = _VALUE

    tile: Annotated[
        int, Field(ge=1, le=65536, description="Target length of a core, in pixels.")
    ] = 1024
    margin: Annotated[
        int,
        Field(
            ge=0,
            le=65536,
            description="Default margin, in pixels; a multiple of the stride where chips are cut.",
        ),
    ]
    stride: Annotated[
        int, Field(ge=1, le=4096, description="It is shift-invariant modulo this many pixels.")
    ] = 32
    support: Annotated[Support | None, Field(description="Null where it looks at the whole chip.")]
    temperature: Annotated[
        float,
        Field(
            gt=0,
            description="Logits are divided by it before the softmax, which makes "
            "it a probability.",
        ),
    ] = 1.0
    preprocessing: PreprocessingField = Preprocessing()
    activation: ActivationField = Activation()
    zoom: ZoomField = 1

    @model_validator(mode="after")
    def _on_the_stride(self) -> Self:
        if self.support is not None and self.margin % self.stride:
            raise ValueError(f"margin {self.margin} is no multiple of stride {self.stride}")
        return self


class NetworkModel(ChipModel):
    """A convolutional network or transformer that is built here, from its architecture's name."""

    kind: Literal["network"] = "network"
    architecture: Annotated[
        Name, Field(description="Its name in `segmentation.networks.architectures`, such as unet.")
    ]
    encoder: Annotated[
        str, Field(pattern=r"^[\w.-]+$", description="Its encoder, by the library's name.")
    ]
    options: Annotated[
        dict[OptionName, OptionValue], Field(description="Further settings of the architecture.")
    ] = {}
    disagreement: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of labels unlike the untiled result, at the "
            "default tile and margin.",
        ),
    ]
    further: Annotated[
        tuple[Member, ...],
        Field(
            max_length=15,
            exclude_if=is_plain,
            description="Networks whose probabilities are averaged with this one's. Its weights "
            "are then `members.0.…`, theirs `members.1.…` and so on.",
        ),
    ] = ()
    forest: Annotated[
        ForestModel | None,
        Field(
            exclude_if=_is_none,
            description="Trees that look at the same pixels: the mean of the logarithms of both's "
            "probabilities decides. They lie in the file of weights.",
        ),
    ] = None

    @property
    def networks(self) -> tuple[NetworkModel, ...]:
        """Each network by itself: this one, then the further ones."""
        alone = self.model_copy(update={"further": (), "forest": None})
        return (alone, *(alone.model_copy(update=dict(member)) for member in self.further))


class OnnxModel(ChipModel):
    """A network as an ONNX graph, whatever its architecture."""

    kind: Literal["onnx"] = "onnx"
    input: Annotated[Name, Field(description="Of the graph, which takes pixels there.")]
    output: Annotated[Name, Field(description="Of the graph, which has a channel for each class.")]
    size: Annotated[
        int | None,
        Field(
            ge=8,
            le=8192,
            description="Length of the only chips that the graph takes, in pixels; null where "
            "height and width are free.",
        ),
    ] = None
    disagreement: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Share of labels unlike the untiled result, at the default tile and "
            "margin; null where chips have one size alone, and nothing can be untiled.",
        ),
    ] = None

    @model_validator(mode="after")
    def _of_one_size(self) -> Self:
        if self.size is not None and self.tile + 2 * self.margin != self.size:
            raise ValueError(
                f"tile {self.tile} and two margins of {self.margin} are not {self.size}, the size "
                "of the graph's chips"
            )
        if self.size is not None and (self.support is not None or self.stride != 1):
            raise ValueError("chips of one size are blended: their support is null, their stride 1")
        return self


class DetectorModel(ChipModel):
    """A network that finds objects one by one in chips of one size, each with a mask."""

    kind: Literal["detector"] = "detector"
    architecture: Literal["mask-rcnn"] = "mask-rcnn"
    encoder: Literal["resnet18", "resnet34", "resnet50"]
    width: Annotated[int, Field(ge=8, le=1024, description="Channels of its pyramid.")] = 64
    norm: Literal["group", "frozen"] = "group"
    stem: Annotated[
        Literal[1, 2], Field(description="Pixels between two that its finest features see.")
    ] = 2
    anchors: Annotated[
        tuple[Annotated[float, Field(ge=1, le=4096)], ...],
        Field(min_length=2, max_length=5, description="Sides in pixels, one for each level."),
    ]


Model = Annotated[
    NetworkModel | OnnxModel | ForestModel | DetectorModel, Field(discriminator="kind")
]

_KINDS = {
    "network": "a network",
    "onnx": "an ONNX graph",
    "forest": "a forest",
    "detector": "a detector of objects",
}


class Card(BaseModel):
    """What a model is, what it wants to see and what is known about its answers."""

    model_config = _VALUE

    name: Name
    bands: Annotated[
        tuple[BandCard, ...], Field(min_length=1, description="In the order of its channels.")
    ]
    gsd: Annotated[
        float, Field(gt=0, description="Ground sampling distance it was trained at, in metres.")
    ]
    legend: Annotated[
        Legend,
        Field(
            description="Its classes, in the order of its output channels; with a sigmoid the "
            "first has none."
        ),
    ]
    model: Model
    training: Annotated[
        dict[str, JsonValue],
        Field(
            description="Which data, which seeds, which program. `bbox` (west, south, east, north "
            "in degrees), "
            "`start_datetime` and `end_datetime` (2024-06-01T00:00:00Z) say where and when, if "
            "they are there."
        ),
    ]
    metrics: Annotated[
        dict[str, float], Field(description="Measured on data it was not trained on.")
    ]
    licence: Annotated[str, Field(description="An SPDX identifier, or a sentence.")]
    sha256: Annotated[
        str,
        Field(
            pattern=r"^([0-9a-f]{64})?$", description="Of the file of weights; filled in by `save`."
        ),
    ] = ""
    size: Annotated[
        int, Field(ge=0, description="Bytes in the file of weights; filled in by `save`.")
    ] = 0

    @model_validator(mode="after")
    def _bands_once(self) -> Card:
        if len(set(self.band_names)) != len(self.bands):
            raise ValueError(f"a card names each band once, not {', '.join(self.band_names)}")
        return self

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> Card:
        padding, cuts = self.preprocessing.padding, self.activation.thresholds
        if len(padding) not in (1, len(self.bands)):
            raise ValueError(f"padding has {len(padding)} numbers for {len(self.bands)} bands")
        if self.activation.function == "sigmoid":
            if self.channels < 1:
                raise ValueError(
                    "a sigmoid needs two classes or more: the first is what is none of the others"
                )
            if len(cuts) not in (1, self.channels):
                raise ValueError(f"{len(cuts)} thresholds for {self.channels} channels")
        if self.preprocessing.normalisation == "per-chip" and self.support is not None:
            raise ValueError(
                "a model that is normalised per chip looks at all of it: its support is null"
            )
        return self

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to pixels before the model sees them."""
        return Preprocessing() if self.model.kind == "forest" else self.model.preprocessing

    @property
    def activation(self) -> Activation:
        """How the model's channels become classes."""
        return Activation() if self.model.kind == "forest" else self.model.activation

    @property
    def support(self) -> Support | None:
        """How far the model looks; None where it looks at the whole chip, or counts pixels of its
        own way."""
        return None if self.model.kind == "forest" else self.model.support

    @property
    def channels(self) -> int:
        """How many channels the model has, for the classes of its legend."""
        return self.activation.channels(len(self.legend))

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    @property
    def pixel(self) -> float:
        """Side in metres of the pixels that the model sees, its own zoom included."""
        zoom = 1 if self.model.kind == "forest" else self.model.zoom
        return self.gsd / zoom if zoom > 0 else self.gsd * -zoom

    @property
    def chips(self) -> NetworkModel | OnnxModel:
        """The card's part on what looks at chips, a network or a graph; `InputError` where the
        model is of another kind."""
        if self.model.kind == "forest" or self.model.kind == "detector":
            raise self._other("a network")
        return self.model

    @property
    def graph(self) -> OnnxModel:
        """The card's part on its ONNX graph; `InputError` where the model is of another kind."""
        if self.model.kind != "onnx":
            raise self._other("an ONNX graph")
        return self.model

    @property
    def network(self) -> NetworkModel:
        """The card's part on its network; `InputError` where the model is of another kind."""
        if self.model.kind != "network":
            raise self._other("a network")
        return self.model

    @property
    def detector(self) -> DetectorModel:
        """The card's part on its detector; `InputError` where the model is of another kind."""
        if self.model.kind != "detector":
            raise self._other("a detector of objects")
        return self.model

    @property
    def beside(self) -> ForestModel | None:
        """The forest beside a network; None where there is none."""
        return self.model.forest if self.model.kind == "network" else None

    @property
    def forest(self) -> ForestModel:
        """The card's part on its forest, alone or beside a network; `InputError` where there is
        none."""
        found = self.model if self.model.kind == "forest" else self.beside
        if found is None:
            raise self._other("a forest")
        return found

    def _other(self, wanted: str) -> InputError:
        return InputError(
            f"bundle {self.name} holds {_KINDS[self.model.kind]}, not {wanted}; name one that does"
        )
