"""What is asked of a comparison of two maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.request import Simplify
from flows.setting import CHANGES, Setting
from segmentation.legend import HIDING
from tiling.errors import InputError

OF_MAPS = {"classes": "classes", "min_confidence": "min-confidence"}
OF_OBJECTS = ("overlap", "difference", "column")

SmallestChange = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        title="Smallest change",
        description="In m²: a smaller change, of a patch or an object, has not happened. 0 counts "
        "all.",
    ),
]
LowestConfidence = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        title="Lowest confidence",
        description="In percent: less sure pixels are not compared.",
    ),
]


class ChangeRequest(BaseModel):
    """What to compare, and what counts as a change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    earlier: Annotated[
        str,
        Field(
            min_length=1,
            title="Earlier map",
            description="Class raster of a map, such as classes.tif of a run, or the folder of "
            "the run; objects where they are compared.",
        ),
        Setting(argument=True, metavar="EARLIER", path=True),
    ]
    later: Annotated[
        str,
        Field(
            min_length=1,
            title="Later map",
            description="The same of a later day; its pixels are those compared.",
        ),
        Setting(argument=True, metavar="LATER", path=True),
    ]
    out: Annotated[
        Path,
        Field(
            title="Output folder",
            description="Folder for polygons, raster, tables and pictures; made if need be.",
        ),
        Setting(option="--out -o", metavar="DIR", form="output_folder", disk=True),
    ]
    classes: Annotated[
        dict[str, str],
        Field(
            title="Classes",
            description="What classes of either map count as, such as Crops=Open,Soil=Open; "
            "Cloud= leaves one out.",
        ),
        Setting(CHANGES, metavar="A=B,…", unset="as they are"),
    ] = {}
    hidden: Annotated[
        tuple[str, ...],
        Field(
            title="Classes that hide the ground",
            description="They are not compared, unless Classes speaks of them: Cloud = Cloud.",
        ),
    ] = HIDING
    nodata: Annotated[
        int | None,
        Field(
            title="No data",
            description="Value that means no data in both maps, beside what each file says.",
        ),
        Setting(CHANGES, metavar="V", form="no_data", unset="none"),
    ] = None
    min_area: Annotated[
        SmallestChange,
        Setting(CHANGES, option="--min-change-area", metavar="M2", form="smallest_change"),
    ] = 0.0
    min_confidence: Annotated[
        LowestConfidence,
        Setting(CHANGES, metavar="PERCENT", form="lowest_confidence"),
    ] = 0.0
    objects: Annotated[
        bool,
        Field(
            title="Objects",
            description="Compare objects one by one: which stayed, grew, shrank, were split or "
            "merged, appeared or vanished.",
        ),
        Setting(
            CHANGES,
            typed="Both are runs of landweave objects, rasters of numbers or polygons.",
        ),
    ] = False
    overlap: Annotated[
        float,
        Field(
            ge=1,
            le=100,
            title="Least overlap",
            description="Of objects, in percent: intersection over union from which two are one.",
        ),
        Setting(CHANGES, metavar="PERCENT", form="least_overlap"),
    ] = 50.0
    difference: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Least difference",
            description="Of objects, in percent of the earlier area: less is no growth, and what "
            "is smaller splits nothing.",
        ),
        Setting(CHANGES, metavar="PERCENT", form="least_difference"),
    ] = 10.0
    column: Annotated[
        str,
        Field(
            title="Column of classes",
            description="Of objects: column that says what they are.",
        ),
        Setting(CHANGES, metavar="NAME", form="class_column", unset="class, where there is one"),
    ] = ""
    simplify: Simplify = None
    fresh: Annotated[
        bool,
        Field(
            title="Start afresh",
            description="Replace the comparison of other maps that the folder holds.",
        ),
        Setting(form=None),
    ] = False

    def check(self) -> None:
        """Raise `InputError` where it says of objects what is for classes, or the other way
        round."""
        for name, option in OF_MAPS.items():
            if self.objects and getattr(self, name):
                raise InputError(
                    f"--{option} is for maps of classes, and --objects compares objects; leave one "
                    "of them out"
                )
        for name in OF_OBJECTS:
            if not self.objects and getattr(self, name) != type(self).model_fields[name].default:
                raise InputError(f"--{name} is for objects; add --objects, or leave it out")
