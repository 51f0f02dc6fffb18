"""What was asked for: one frozen value that the command line, the Prefect form and Python all
make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows import setting
from flows.requests.method import Method
from flows.requests.source import Source
from flows.setting import WORK, By, Setting
from flows.storage.remote import Place
from segmentation.registry import AnySegmenter
from segmentation.segmenter import Measure
from tiling.regions.sieving.rule import Rule

Product = Literal["classes", "confidence", "vectors", "probabilities", "entropy", "margin"]
PRODUCTS: tuple[Product, ...] = ("classes", "confidence", "vectors")
"""What is made unless someone says otherwise."""

Preflight = Literal["refuse", "warn"]

Grid = Literal["scene", "model"]
"""Whose pixels the products have."""

SMALLEST = 4
"""Pixels of the smallest region that the products show unless someone says otherwise."""

Neighbour = Annotated[
    Rule,
    Field(
        title="Neighbour",
        description="To which neighbour they go: over the longest border, or to the largest.",
    ),
    Setting(setting.PRODUCTS, form="neighbour"),
]

UnknownBelow = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        title="Unknown below",
        description="In percent: pixels of less confidence become a class Unknown; 0 leaves "
        "every pixel its class.",
    ),
    Setting(setting.PRODUCTS, metavar="PERCENT"),
]

FillHoles = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        title="Fill holes",
        description="In m²: smaller holes of a polygon go to it, with all that lies in them; a "
        "hole that holds no data stays. 0 fills none.",
    ),
    Setting(setting.PRODUCTS, metavar="M2", form=None),
]

MaxArea = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        title="Largest area",
        description="In m²: larger polygons are cut along a fixed lattice of squares of this "
        "area; 0 cuts none.",
    ),
    Setting(setting.PRODUCTS, metavar="M2", form=None),
]

Fresh = Annotated[
    bool,
    Field(
        title="Start afresh",
        description="Compute everything again, and replace whatever run the folder holds.",
    ),
    Setting(form="start_afresh"),
]

Simplify = Annotated[
    float | None,
    Field(
        ge=0,
        allow_inf_nan=False,
        title="Straight boundaries",
        description="Boundaries without the pixels' stairs; every polygon keeps its area.",
    ),
    Setting(
        setting.PRODUCTS,
        metavar="M",
        typed="About how far they may move, in metres; 0 keeps the stairs.",
        switch=(0.0, None),
        unset="0.75 pixel",
    ),
]

Smooth = Annotated[
    int,
    Field(
        ge=0,
        le=5,
        title="Round corners",
        description="How often the corners of boundaries are cut.",
    ),
    Setting(setting.PRODUCTS, metavar="N"),
]

IndexMeans = Annotated[
    tuple[str, ...],
    Field(
        title="Index means",
        description="Spectral indices whose mean each polygon gets, such as NDVI.",
    ),
    Setting(setting.PRODUCTS, option="--index", metavar="NAME,…", form="index_means"),
]

AreaOfInterest = Annotated[
    str,
    Field(
        title="Area of interest",
        description="Path of a vector file whose polygons bound the products.",
    ),
    Setting(setting.PRODUCTS, metavar="FILE", form="area_of_interest", path=True),
]

Licence = Annotated[
    str,
    Field(
        title="Licence",
        description="Under which others may use the products; stands in their metadata.",
    ),
    Setting(setting.PRODUCTS, metavar="TEXT"),
]


class Request(BaseModel):
    """One run: a source, a segmenter, an output folder, and what to make of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    out: Annotated[
        Place,
        Field(
            title="Output folder",
            description="Folder of the run, on a disk or as s3://…, gs://… or az://…; made if "
            "need be, resumed if "
            "it is there.",
        ),
        Setting(option="--out -o", metavar="DIR|URL", form="output_folder"),
    ]
    segmenter: Annotated[AnySegmenter, Field(description="How land is told apart."), By(Method)]
    products: Annotated[
        tuple[Product, ...],
        Field(
            title="Products",
            description="The classes always come; polygons fill the GeoPackage; the last three "
            "say how sure it is.",
        ),
        Setting(setting.PRODUCTS, metavar="NAME,…"),
    ] = PRODUCTS
    grid: Annotated[
        Grid,
        Field(
            exclude_if=lambda grid: grid == "scene",
            title="Pixels of the map",
            description="scene: the scene's own; model: of the size that the network sees, "
            "larger or smaller than those.",
        ),
        Setting(setting.PRODUCTS, form="pixels_of_the_map"),
    ] = "scene"
    objects: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            title="Objects",
            description="Scale of objects, such as 8: each takes the one class that its pixels "
            "name together; 0 makes none.",
        ),
        Setting(setting.PRODUCTS, metavar="SCALE"),
    ] = 0.0
    unknown_below: UnknownBelow = 0.0
    min_area: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Smallest area",
            description="In m²: smaller regions go to a neighbour; 0 keeps them all.",
        ),
        Setting(setting.PRODUCTS, metavar="M2", form="smallest_area", unset="four pixels"),
    ] = None
    """None is four pixels (`SMALLEST`): nobody's map shows less."""
    min_area_rule: Neighbour = "longest-border"
    fill_holes: FillHoles = 0.0
    max_area: MaxArea = 0.0
    simplify: Simplify = None
    """None is 0.75 pixel: the staircase goes, the shapes stay."""
    smooth: Smooth = 0
    indices: IndexMeans = ()
    aoi: AreaOfInterest = ""
    reference: Annotated[
        str,
        Field(title="Reference", description="Path of a class raster to compare the map with."),
        Setting(setting.PRODUCTS, metavar="FILE", path=True),
    ] = ""
    licence: Licence = ""
    preflight: Annotated[
        Preflight,
        Field(
            title="Despite doubts",
            description="Map a scene, with a warning, even where its pixels are not what the "
            "network was trained on.",
        ),
        Setting(
            setting.PRODUCTS,
            form="despite_doubts",
            typed="warn does so, refuse does not.",
            switch=("refuse", "warn"),
        ),
    ] = "refuse"
    shard: Annotated[
        int,
        Field(
            ge=1,
            title="Shard",
            description="Pixels along the side of a piece sent to a worker; changes no result.",
        ),
        Setting(WORK, metavar="PX"),
    ] = 2048
    fresh: Fresh = False

    @model_validator(mode="before")
    @classmethod
    def _search_in_area(cls, given: Any) -> Any:
        return search_in_area(given)


def search_in_area(given: Any) -> Any:
    """What a request is made of, in which a search that has no bounds of its own is one in the area
    of interest."""
    source, aoi = (
        (given.get(name) for name in ("source", "aoi")) if isinstance(given, dict) else (None, "")
    )
    if not aoi or not isinstance(source, Source) or source.search is None or source.search.aoi:
        return given
    search = source.search.model_copy(update={"aoi": str(aoi)})
    return {**given, "source": source.model_copy(update={"search": search})}


def measures_among(products: Sequence[Product]) -> tuple[Measure, ...]:
    """What a segmenter has to say beside labels and confidence, always in the same order."""
    return tuple(name for name in get_args(Measure) if name in products)


def smallest(min_area: float | None) -> tuple[float, Literal["m2", "pixels"]]:
    """The smallest region of a map, and what that counts: square metres, or pixels where nobody
    asked for any."""
    return (SMALLEST, "pixels") if min_area is None else (min_area, "m2")


def warn_of_large_min_area(min_area: float, whole: float, name: str) -> tuple[str, ...]:
    """A warning where the smallest region, in m², is larger than all there is."""
    if min_area <= whole:
        return ()
    return (
        f"--min-area {min_area:.10g} is more than all of {name}, {whole:,.0f} m²: one class takes "
        "each connected piece",
    )
