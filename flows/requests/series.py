"""What is asked of many scenes: maps of each, one image of all; and of a place that is watched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.request import Request
from flows.requests.source import Source
from flows.setting import PIXELS, WATCHED, Part, Setting
from segmentation.legend import HIDING

FitEach = Annotated[
    bool,
    Field(
        title="Fit each scene by itself",
        description="What a segmenter finds in a scene, such as a threshold or clusters, is found "
        "in each by itself rather than once for all; figures of different dates then compare "
        "different rules.",
    ),
    Setting(),
]
Pattern = Annotated[
    str,
    Field(title="File names", description="Which files of a folder are scenes, such as *_SR.tif."),
    Setting(metavar="GLOB", form="file_names", unset="all"),
]


class CollectionRequest(BaseModel):
    """Scenes to segment alike, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: Annotated[
        Request,
        Field(
            title="What to make of each scene",
            description="A request whose files are the scenes, or folders of scenes; its output "
            "folder holds them all.",
        ),
        Part(
            without=("reference", "windows", "window_method"),
            other={
                "out": {
                    "metavar": "DIR",
                    "disk": True,
                    "description": "Folder for all; each scene gets one of its own in it. "
                    "Scenes that are done are not done again.",
                },
                "paths": {
                    "metavar": "SCENE|FOLDER…",
                    "description": "Rasters or STAC items, or folders in which each raster is a "
                    "scene; none with "
                    "--stac, where each day is a scene.",
                },
            },
        ),
    ]
    pattern: Pattern = ""
    title: Annotated[
        str,
        Field(title="Title", description="What the report is called."),
        Setting(metavar="TEXT", unset="as the folder"),
    ] = ""
    fit_each: FitEach = False


class MonitorRequest(BaseModel):
    """A place to watch: its scenes, how they are mapped, and which changes count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: Annotated[
        Request,
        Field(
            title="What to make of each scene",
            description="A request whose files are the folders that new scenes arrive in; its "
            "output folder holds all.",
        ),
        Part(
            without=("reference", "windows", "window_method"),
            other={
                "out": {
                    "metavar": "DIR",
                    "disk": True,
                    "description": "Folder for the maps, the changes and the catalogue; "
                    "the same in every run.",
                },
                "paths": {
                    "metavar": "FOLDER…",
                    "description": "Where new scenes arrive; none with --stac, where each day is "
                    "one.",
                },
            },
        ),
    ]
    title: Annotated[
        str,
        Field(title="Title", description="What is watched, such as Forest of the upper valley."),
        Setting(metavar="TEXT", unset="as the folder"),
    ] = ""
    pattern: Pattern = ""
    max_invalid: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Most cloud",
            description="Part of the area, 0 to 1, that may be cloud or without data; a worse "
            "scene is not used.",
        ),
        Setting(WATCHED, metavar="PART", form="most_cloud"),
    ] = 0.3
    cloud_classes: Annotated[
        tuple[str, ...],
        Field(
            title="Classes that hide the ground",
            description="They count as cloud and are no change.",
        ),
    ] = HIDING
    min_change_area: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Smallest change",
            description="In m²: a smaller patch of change has not happened. 0 counts all.",
        ),
        Setting(WATCHED, metavar="M2", form="smallest_change"),
    ] = 0.0
    min_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Lowest confidence",
            description="In percent: less sure pixels are not compared.",
        ),
        Setting(WATCHED, metavar="PERCENT", form="lowest_confidence"),
    ] = 0.0
    zones: Annotated[
        str,
        Field(
            title="Zones",
            description="Path of a polygon layer, such as parcels or districts: each class is "
            "measured in each.",
        ),
        Setting(WATCHED, metavar="FILE", path=True, unset="none"),
    ] = ""
    expect_days: Annotated[
        int,
        Field(
            ge=0,
            title="Expected every",
            description="Days after which a warning says that imagery is late. 0: never.",
        ),
        Setting(WATCHED, metavar="N", form="expected_every"),
    ] = 0
    settle_seconds: Annotated[
        float,
        Field(
            ge=0,
            title="Let files settle",
            description="Seconds a file must lie untouched: it may still be copied.",
        ),
        Setting(WATCHED, option="--settle", metavar="S", form=None),
    ] = 30.0
    fit_each: FitEach = False


class CompositeRequest(BaseModel):
    """Images of one place and different dates, how they become one, and its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenes: Annotated[
        tuple[str, ...],
        Field(
            title="Images",
            description="Rasters, folders of single-band files, or STAC items; one for each date.",
        ),
        Setting(argument=True, metavar="SCENE…", form=None),
    ]
    out: Annotated[
        Path,
        Field(title="Output file", description="The GeoTIFF; its folder is made if need be."),
        Setting(option="--out -o", metavar="FILE", form=None, disk=True),
    ]
    method: Annotated[
        str,
        Field(
            title="Method",
            description="What a pixel becomes of its valid dates: median or mean of each band, or "
            "all bands of the latest, of that with the greatest value of an index, max=NDVI, or of "
            "that on which clouds and gaps are farthest, best-clear.",
        ),
        Setting(metavar="median|mean|latest|max=INDEX|best-clear", form=None),
    ] = "median"
    like: Annotated[
        str,
        Field(title="Grid", description="Raster on whose grid the result lies."),
        Setting(metavar="FILE", form=None, path=True, unset="that of the first image"),
    ] = ""
    source: Annotated[
        Source,
        Part(
            without=("paths", "search", "bbox", "assets", "windows", "window_method"),
            other={
                "date": {"description": "Day of the images whose files say none, as 2024-06-30."}
            },
        ),
    ] = Source()


class PixelSettings(BaseModel):
    """What is computed of the series of each pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixels: Annotated[
        bool,
        Field(
            title="Each pixel",
            description="Write rasters of each index over time: first and last date, least and "
            "greatest value, trend.",
        ),
        Setting(PIXELS, form=None),
    ] = False
    smooth: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e9,
            allow_inf_nan=False,
            title="Smoothness",
            description="Also write a smooth curve of each pixel through its gaps, and its "
            "seasons: Whittaker's penalty on bends, such as 10; the larger, the smoother.",
        ),
        Setting(PIXELS, metavar="LAMBDA", form=None, unset="no curve"),
    ] = None
    step: Annotated[
        int,
        Field(
            ge=1, le=366, title="Step", description="Days from one step of the curve to the next."
        ),
        Setting(PIXELS, metavar="DAYS", form=None),
    ] = 10
    season_threshold: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Threshold of seasons",
            description="Part of the rise to the peak, 0 to 1, at which a season starts, and of "
            "the fall, at which it ends.",
        ),
        Setting(PIXELS, metavar="PART", form=None),
    ] = 0.2
    season_amplitude: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            title="Least amplitude of seasons",
            description="How far the peak of a season lies above the lowest values on both sides, "
            "at least.",
        ),
        Setting(PIXELS, metavar="V", form=None),
    ] = 0.1
    season_month: Annotated[
        int,
        Field(
            ge=1,
            le=12,
            title="Month in which years of seasons begin",
            description="Month in which the twelve months begin that hold the peak of a season: 7 "
            "in the south.",
        ),
        Setting(PIXELS, metavar="N", form=None),
    ] = 1

    @property
    def wanted(self) -> bool:
        """Whether anything is computed of pixels."""
        return self.pixels or self.smooth is not None


class SeriesRequest(BaseModel):
    """Images of one place and different dates, the indices to follow through them, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenes: Annotated[
        tuple[str, ...],
        Field(
            title="Images",
            description="Rasters, folders of single-band files, or STAC items; one for each date.",
        ),
        Setting(argument=True, metavar="SCENE…", form=None),
    ]
    names: Annotated[
        tuple[str, ...],
        Field(
            title="Indices",
            description="Spectral indices to follow, such as NDVI,NDMI.",
        ),
        Setting(option="--index", metavar="NAME,…", form=None),
    ]
    out: Annotated[
        Path,
        Field(title="Output folder", description="Folder of the tables, layers and charts."),
        Setting(option="--out -o", metavar="DIR", form=None, disk=True),
    ]
    zones: Annotated[
        str,
        Field(
            title="Zones",
            description="Polygon layer, such as fields: each index is measured in each zone.",
        ),
        Setting(metavar="FILE", form=None, path=True, unset="none"),
    ] = ""
    column: Annotated[
        str,
        Field(title="Column", description="Column of the zones that names each."),
        Setting(metavar="NAME", form=None, unset="they are counted from 1"),
    ] = ""
    like: Annotated[
        str,
        Field(title="Grid", description="Raster on whose grid the images are put."),
        Setting(metavar="FILE", form=None, path=True, unset="that of the first image"),
    ] = ""
    each: PixelSettings = PixelSettings()
    source: Annotated[
        Source,
        Part(
            without=("paths", "search", "bbox", "assets", "windows", "window_method"),
            other={
                "date": {"description": "Day of the images whose files say none, as 2024-06-30."}
            },
        ),
    ] = Source()
