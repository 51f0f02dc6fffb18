"""What is done to pixels before a network sees them, and to what it says afterwards."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_VALUE = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Share = Annotated[float, Field(gt=0, lt=1)]
Percentile = Annotated[float, Field(ge=0, le=100)]


class Preprocessing(BaseModel):
    """From a band's values, in its units, to the numbers a network sees.

    In this order: normalisation, × `factor` + `offset`, − the band's mean, / its std; what is not
    valid is `padding` then.
    """

    model_config = _VALUE

    normalisation: Annotated[
        Literal["fixed", "min-max", "percentiles", "per-chip"],
        Field(
            description="fixed: values as they are. min-max, percentiles: each band's range in a "
            "sample of the scene becomes 0–1, and what lies beyond is cut. per-chip: less the mean "
            "of the chip's valid pixels, by their standard deviation, for each band."
        ),
    ] = "fixed"
    percentiles: Annotated[
        tuple[Percentile, Percentile],
        Field(description="Of a band's valid pixels, which become 0 and 1: for `percentiles`."),
    ] = (2.0, 98.0)
    factor: float = 1.0
    offset: float = 0.0
    padding: Annotated[
        tuple[float, ...],
        Field(
            min_length=1,
            description="What a network sees where a pixel is not valid or beyond the scene: one "
            "number, or one for each band.",
        ),
    ] = (0.0,)

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError("percentiles are a lower and a higher one, such as 2 and 98")
        if self.factor == 0:
            raise ValueError("factor 0 leaves nothing to see")
        return self

    @property
    def of_scene(self) -> bool:
        """Whether it needs the range of each band in a sample of the scene."""
        return self.normalisation in ("min-max", "percentiles")

    @property
    def range_percentiles(self) -> tuple[float, float]:
        """Which percentiles of a band become 0 and 1."""
        return (0.0, 100.0) if self.normalisation == "min-max" else self.percentiles

    def pads(self, bands: int) -> tuple[float, ...]:
        """The padding of each of so many bands."""
        return self.padding * bands if len(self.padding) == 1 else self.padding


class Activation(BaseModel):
    """From a network's channels to classes.

    With `softmax` there is a channel for each class, and the likeliest wins. With `sigmoid` there
    is one for each class but the first, which is what no other class reaches its threshold for:
    the class whose odds exceed those of its threshold most wins, which with one threshold for all
    is the likeliest. With `several` a pixel may be of several classes besides: each that reaches
    its threshold.
    """

    model_config = _VALUE

    function: Literal["softmax", "sigmoid"] = "softmax"
    thresholds: Annotated[
        tuple[Share, ...],
        Field(
            min_length=1,
            description="Probability from which a class is there, for `sigmoid`: one, or one for "
            "each channel.",
        ),
    ] = (0.5,)
    in_network: Annotated[
        bool, Field(description="Whether the network says probabilities itself, not logits.")
    ] = False
    several: Annotated[
        Literal["argmax", "layers"],
        Field(
            exclude_if=lambda several: several == "argmax",
            description="What channels of a `sigmoid` are. argmax: classes of which a pixel has "
            "one. layers: labels of which it may have several; beside the map, a raster has a band "
            "for each.",
        ),
    ] = "argmax"

    @model_validator(mode="after")
    def _layers_of_sigmoid(self) -> Self:
        if self.has_layers and self.function != "sigmoid":
            raise ValueError(
                "with a softmax a pixel has one class; layers are the channels of a sigmoid"
            )
        return self

    @property
    def has_layers(self) -> bool:
        """Whether a pixel may have several labels."""
        return self.several == "layers"

    def channels(self, classes: int) -> int:
        """How many channels a network of so many classes has."""
        return classes - (self.function == "sigmoid")

    def cuts(self, classes: int) -> tuple[float, ...]:
        """The threshold of each channel of a `sigmoid` of so many classes."""
        channels = self.channels(classes)
        return self.thresholds * channels if len(self.thresholds) == 1 else self.thresholds


LEAST_SHARE = 1e-7
"""Probabilities said by a network are taken as this far from 0 and 1 at least: their logits are
finite."""


MOST_ODDS = 40.0
"""Logits of layers, beside those of their thresholds, are cut to ± this: so none of their shares is
too small for a float32, and shares tell of each which side of its threshold it is on."""


def is_plain(value: Any) -> bool:
    """Whether a value is its type's default, which a card does not mention: so cards written before
    there was a choice keep their digests."""
    return bool(value == type(value)())


LARGEST_ZOOM = 8
"""Pixels along a side that one is made of, or that are made one, at most."""


def check_zoom(zoom: int | None) -> int | None:
    """The zoom, unless it is a number that says nothing."""
    if zoom in (0, -1):
        raise ValueError("1 is no zoom; 2 and more make pixels smaller, -2 and less larger")
    return zoom


ZoomField = Annotated[
    int,
    Field(
        ge=-LARGEST_ZOOM,
        le=LARGEST_ZOOM,
        exclude_if=lambda zoom: zoom == 1,
        description="How its authors bring scenes of its `gsd` to the pixels it sees: 2 makes "
        "2 × 2 of each, -2 one of 2 × 2.",
    ),
    AfterValidator(check_zoom),
]

PreprocessingField = Annotated[
    Preprocessing,
    Field(exclude_if=is_plain, description="What is done to pixels before the network sees them."),
]
ActivationField = Annotated[
    Activation,
    Field(exclude_if=is_plain, description="How its channels become classes."),
]
