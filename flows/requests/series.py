"""What is asked of many scenes: maps of each; and of a place that is watched."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.change import LowestConfidence, SmallestChange
from flows.requests.request import Request
from flows.setting import WATCHED, Part, Setting
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

Settling = Annotated[
    float,
    Field(
        ge=0,
        title="Let files settle",
        description="Seconds a file must lie untouched: it may still be copied.",
    ),
]


def _template(out: str, metavar: str, paths: str) -> Part:
    """A request for each of many scenes: what its folder and its files mean there."""
    return Part(
        without=("reference", "windows", "window_method"),
        other={
            "out": {"metavar": "DIR", "disk": True, "description": out},
            "paths": {"metavar": metavar, "description": paths},
        },
    )


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
        _template(
            "Folder for all; each scene gets one of its own in it. Scenes that are done are not "
            "done again.",
            "SCENE|FOLDER…",
            "Rasters or STAC items, or folders in which each raster is a scene; none with "
            "--stac, where each day is a scene.",
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
        _template(
            "Folder for the maps, the changes and the catalogue; the same in every run.",
            "FOLDER…",
            "Where new scenes arrive; none with --stac, where each day is one.",
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
        SmallestChange,
        Setting(WATCHED, metavar="M2", form="smallest_change"),
    ] = 0.0
    min_confidence: Annotated[
        LowestConfidence,
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
        Settling,
        Setting(WATCHED, option="--settle", metavar="S", form=None),
    ] = 30.0
    fit_each: FitEach = False
