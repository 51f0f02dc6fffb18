"""What is asked of many scenes, and of a place that is watched."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.request import Request
from segmentation.legend import HIDING

FitEach = Annotated[
    bool,
    Field(
        title="Fit each scene by itself",
        description="Of otsu: a threshold for each scene. Areas of different dates then compare "
        "different rules.",
    ),
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
    ]
    pattern: Annotated[
        str,
        Field(
            title="File names",
            description="Which files of a folder are scenes, such as *_SR.tif. Empty: all.",
        ),
    ] = ""
    title: Annotated[str, Field(title="Title", description="What the report is called.")] = ""
    fit_each: FitEach = False


class MonitorRequest(BaseModel):
    """What is watched, how it is mapped, and what counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: Annotated[
        Request,
        Field(
            title="What to make of each scene",
            description="A request whose files are the folders that new scenes arrive in; its "
            "output folder holds all.",
        ),
    ]
    title: Annotated[
        str,
        Field(title="Title", description="What is watched, such as Forest of the upper valley."),
    ] = ""
    pattern: Annotated[
        str,
        Field(
            title="File names",
            description="Which files of a folder are scenes, such as *_SR.tif. Empty: all.",
        ),
    ] = ""
    zones: Annotated[
        str,
        Field(
            title="Zones",
            description="Path of a polygon layer; the area of each class is measured in each.",
        ),
    ] = ""
    max_invalid: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Most cloud",
            description="Part of the area, 0 to 1, that may be cloud or without data; a worse "
            "scene is not used.",
        ),
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
            description="In m²; a smaller patch is no change.",
        ),
    ] = 0.0
    min_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Lowest confidence",
            description="In percent: less sure pixels are not compared.",
        ),
    ] = 0.0
    expect_days: Annotated[
        int,
        Field(
            ge=0,
            title="Expected every",
            description="Days after which a warning says that imagery is late. 0: never.",
        ),
    ] = 0
    settle_seconds: Annotated[
        float,
        Field(
            ge=0,
            title="Let files settle",
            description="Seconds a file must lie untouched: it may still be copied.",
        ),
    ] = 30.0
    fit_each: FitEach = False
