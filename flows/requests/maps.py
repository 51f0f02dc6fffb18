"""What is asked of a raster that is there: indices of a scene; of a map to be judged by what is
right, to be measured in zones, or to become polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.request import (
    FillHoles,
    MaxArea,
    Neighbour,
    Simplify,
    Smooth,
    UnknownBelow,
)
from flows.requests.source import Source
from flows.setting import COMPARED, PRODUCTS, Part, Setting
from tiling.errors import InputError

On = Literal["auto", "map", "reference"]
"""Whose pixels are compared."""


class IndexRequest(BaseModel):
    """A scene, the spectral indices to compute of it, and the folder of their rasters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: Annotated[
        str,
        Field(title="Scene", description="A raster; with --window a folder of images."),
        Setting(argument=True, metavar="SCENE", form=None),
    ]
    names: Annotated[
        tuple[str, ...],
        Field(
            title="Indices",
            description="Which indices: NDVI tells green plants, NDWI open water, NBR burnt land, "
            "NDBI built-up land.",
        ),
        Setting(
            argument=True,
            metavar="NAME…",
            form="indices",
            typed="`landweave indices` lists them all.",
        ),
    ]
    out: Annotated[
        Path,
        Field(title="Output folder", description="Folder for the rasters; made if need be."),
        Setting(option="--out -o", metavar="DIR", form="output_folder", disk=True),
    ]
    source: Annotated[
        Source,
        Part(without=("paths", "search", "bbox", "assets", "date")),
    ] = Source()

    @property
    def whole_source(self) -> Source:
        """The scene with what its file does not say."""
        return self.source.model_copy(update={"paths": (self.scene,)})


LayerFile = Annotated[
    Path,
    Field(title="Output file", description="A .gpkg, .parquet, .fgb, .shp or .geojson file."),
    Setting(option="--out -o", metavar="FILE", form=None),
]

LeftOut = Annotated[
    int | None,
    Field(title="No data", description="Value to leave out."),
    Setting(metavar="V", form=None, unset="what the file says"),
]


class ZonesRequest(BaseModel):
    """A class raster, the zones in which its classes are measured, and the layer of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Annotated[
        str,
        Field(
            min_length=1,
            title="Map",
            description="Path of a class raster, such as classes.tif of a run.",
        ),
        Setting(argument=True, metavar="MAP", path=True),
    ]
    zones: Annotated[
        str,
        Field(
            min_length=1,
            title="Zones",
            description="Path of a polygon layer in any CRS; its columns are kept.",
        ),
        Setting(argument=True, metavar="ZONES", path=True),
    ]
    out: LayerFile
    nodata: LeftOut = None


_OF_CLASSES = (
    *("map_classes", "reference_classes", "mask", "mask_value", "on"),
    *("confidence", "bins"),
)
"""Settings of an evaluation that only classes of pixels have."""


class Evaluation(BaseModel):
    """Two maps, how their classes are matched, and where they are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Annotated[
        str,
        Field(
            min_length=1,
            title="Map",
            description="Path of the class raster to judge, such as classes.tif of a run.",
        ),
        Setting(argument=True, metavar="MAP"),
    ]
    reference: Annotated[
        str,
        Field(
            min_length=1,
            title="Reference",
            description="Path of what is right: a class raster, or polygons or points with a "
            "column of classes.",
        ),
        Setting(argument=True, metavar="REFERENCE"),
    ]
    out: Annotated[
        Path | None,
        Field(
            title="Output folder",
            description="Folder for the tables and pictures; made if need be.",
        ),
        Setting(option="--out -o", metavar="DIR", form="output_folder"),
    ] = None
    column: Annotated[
        str,
        Field(
            title="Column",
            description="Column of the classes, where the reference is a vector file.",
        ),
        Setting(COMPARED, metavar="NAME"),
    ] = ""
    objects: Annotated[
        bool,
        Field(
            title="Objects",
            description="Judge objects one by one: both are rasters of ids or polygons, and what "
            "comes out is average precision and panoptic quality.",
        ),
        Setting(COMPARED, form=None),
    ] = False
    map_classes: Annotated[
        dict[str, str],
        Field(
            title="Map classes",
            description="Classes of the map that count as others, or under a new name, such as "
            "5=4; 9= leaves "
            "class 9 out.",
        ),
        Setting(COMPARED, metavar="A=B,…", unset="none"),
    ] = {}
    reference_classes: Annotated[
        dict[str, str],
        Field(
            title="Reference classes",
            description="Classes of the reference, by value or name, that count as others of the "
            "map.",
        ),
        Setting(COMPARED, metavar="A=B,…", unset="none"),
    ] = {}
    mask: Annotated[
        str,
        Field(title="Mask", description="Path of a raster that says where to compare."),
        Setting(COMPARED, metavar="FILE", path=True, unset="everywhere"),
    ] = ""
    mask_value: Annotated[
        int,
        Field(title="Mask value", description="Its value where pixels are compared."),
        Setting(COMPARED, metavar="V"),
    ] = 1
    on: Annotated[
        On,
        Field(
            title="Grid",
            description="Whose pixels are compared; auto: the map's, unless the reference is more "
            "than twice as fine.",
        ),
        Setting(COMPARED, form="grid"),
    ] = "auto"
    tolerance: Annotated[
        float | None,
        Field(
            title="Tolerance",
            description="How many metres boundaries may lie apart and be the "
            "same; 0 compares none.",
        ),
        Setting(COMPARED, metavar="M", unset="two pixels"),
    ] = None
    confidence: Annotated[
        str,
        Field(title="Confidence", description="Raster of the map's confidence."),
        Setting(COMPARED, metavar="FILE", form=None, path=True, unset="the one beside classes.tif"),
    ] = ""
    bins: Annotated[
        int,
        Field(title="Bins", description="Bins of confidence for the calibration error."),
        Setting(COMPARED, metavar="N", form=None),
    ] = 15

    @property
    def settings(self) -> dict[str, Any]:
        """What `evaluate` is told beside the two maps."""
        places = ("map", "reference", "out", "objects")
        given = {name: value for name, value in self if name not in places}
        return given | {name: given[name] or None for name in ("mask", "confidence")}

    @property
    def object_settings(self) -> dict[str, Any]:
        """What `evaluate_objects` is told beside the two maps; `InputError` for what says something
        of classes of pixels alone."""
        for name in _OF_CLASSES:
            if getattr(self, name) != type(self).model_fields[name].get_default():
                option = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"{option} is for classes of pixels, and --objects compares object by object; "
                    "leave one of the two out"
                )
        return {"column": self.column, "tolerance": self.tolerance}


class Vectorising(BaseModel):
    """A class raster, the file of its polygons, and what they are like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Annotated[
        Path,
        Field(title="Map", description="Class raster: one band of integers."),
        Setting(argument=True, metavar="MAP", form=None),
    ]
    out: LayerFile
    nodata: LeftOut = None
    connectivity: Annotated[
        Literal["4", "8"],
        Field(
            title="Connectivity",
            description="With 8 pixels that touch at a corner belong together.",
        ),
        Setting(form=None),
    ] = "4"
    any_values: Annotated[
        bool,
        Field(
            title="Any values",
            description="Insist, where a raster looks like measurements and each level would be a "
            "class.",
        ),
        Setting(form=None),
    ] = False
    min_area: Annotated[
        float,
        Field(
            ge=0,
            title="Smallest area",
            description="In m²: smaller regions go to a neighbour; 0 keeps them all.",
        ),
        Setting(PRODUCTS, metavar="M2", form=None),
    ] = 0.0
    min_area_rule: Neighbour = "longest-border"
    fill_holes: FillHoles = 0.0
    max_area: MaxArea = 0.0
    unknown_below: UnknownBelow = 0.0
    confidence: Annotated[
        Path | None,
        Field(
            title="Confidence",
            description="Raster of the map's confidence, on its grid, for --unknown-below and the "
            "mean of each polygon.",
        ),
        Setting(
            PRODUCTS,
            metavar="FILE",
            form=None,
            unset="the one beside the map, where --unknown-below needs it",
        ),
    ] = None
    simplify: Simplify = None
    smooth: Smooth = 0
    max_vertices: Annotated[
        int,
        Field(ge=4, title="Most vertices", description="Cut polygons that have more."),
        Setting(PRODUCTS, metavar="N", form=None),
    ] = 1_000_000
    zones: Annotated[
        Path | None,
        Field(title="Zones", description="Cut along these polygons; features carry their columns."),
        Setting(PRODUCTS, metavar="FILE", form=None, unset="none"),
    ] = None
    dissolve: Annotated[
        bool,
        Field(title="Dissolve", description="One feature for each class, in each zone."),
        Setting(PRODUCTS, form=None),
    ] = False
    geopackage: Annotated[
        Literal["1.2", "1.3", "1.4"],
        Field(title="GeoPackage", description="Version of the GeoPackage."),
        Setting(PRODUCTS, form=None),
    ] = "1.2"
