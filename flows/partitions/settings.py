"""Settings that several partitions have, described once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flows.setting import REGIONS, Setting

BandsUsed = Annotated[
    tuple[str, ...],
    Field(
        title="Bands used",
        description="Bands that are compared, such as red,nir.",
    ),
    Setting(REGIONS, metavar="NAME,…", unset="all"),
]

Rounds = Annotated[
    int,
    Field(
        ge=0,
        le=16,
        title="Rounds of smoothing",
        description="How often a 3 × 3 binomial filter goes over the image before its gradient is "
        "taken; more suit noisy images.",
    ),
    Setting(REGIONS, metavar="N"),
]

Step = Annotated[
    int,
    Field(
        ge=2,
        le=256,
        title="Step",
        description="Distance of superpixels from each other, and about their width.",
        json_schema_extra={"unit": "px"},
    ),
    Setting(REGIONS, metavar="PX"),
]

Compactness = Annotated[
    float,
    Field(
        ge=0,
        le=1000,
        title="Compactness",
        description="How much superpixels keep to their cells rather than follow the image: how "
        "steeply the ground rises between them, in usual gradients of the scene.",
    ),
    Setting(REGIONS, metavar="X"),
]

Tolerance = Annotated[
    float | None,
    Field(
        ge=0,
        allow_inf_nan=False,
        title="Tolerance",
        description="By how much pixels of a region may differ in each band: reflectance from 0 to "
        "1, or digital numbers.",
    ),
    Setting(REGIONS, metavar="V", unset="a share of each band's standard deviation"),
]

Connectivity = Annotated[
    Literal[4, 8],
    Field(
        title="Connectivity",
        description="Whether pixels hang together by their sides, or also by their corners.",
    ),
    Setting(REGIONS),
]

Scale = Annotated[
    float,
    Field(
        gt=0,
        le=1000,
        allow_inf_nan=False,
        title="Scale",
        description="How large regions are. Twice the scale makes objects about four times as "
        "large, and 8 makes some 400 pixels of each; felzenszwalb lets differences up to scale / "
        "pixels pass, in standard deviations of the bands.",
    ),
    Setting(REGIONS, metavar="S"),
]

LeastArea = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        title="Smallest object",
        description="A smaller one goes to the neighbour that is most like it; an instance that "
        "touches none is left out.",
        json_schema_extra={"unit": "m²"},
    ),
    Setting(REGIONS, metavar="M2", unset="none is too small"),
]

Plateaus = Annotated[
    int,
    Field(
        ge=0,
        le=64,
        title="Plateaus",
        description="Up to how far from its lower rim level ground is made to fall; 0 lets it "
        "drain to its upper left.",
        json_schema_extra={"unit": "px"},
    ),
    Setting(REGIONS, metavar="PX"),
]
