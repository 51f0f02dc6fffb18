"""What is asked of a comparison of two maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from segmentation.legend import HIDING


class ChangeRequest(BaseModel):
    """What to compare, and what counts as a change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    earlier: Annotated[
        str,
        Field(
            min_length=1,
            title="Earlier map",
            description="Folder of a run, or a raster of classes.",
        ),
    ]
    later: Annotated[
        str,
        Field(
            min_length=1,
            title="Later map",
            description="The same of a later day. Its pixels are those compared.",
        ),
    ]
    out: Annotated[
        Path, Field(title="Output folder", description="Folder for the products; made if need be.")
    ]
    classes: Annotated[
        dict[str, str],
        Field(
            title="Classes",
            description="What classes of either map count as, by name: Built-up = Town. Nothing "
            "leaves a class out.",
        ),
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
    ] = None
    min_area: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Smallest change",
            description="In m²: a smaller patch of change is taken not to have happened. 0 shows "
            "every pixel.",
        ),
    ] = 0.0
    min_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Lowest confidence",
            description="In percent: pixels of which either map is less sure are left out.",
        ),
    ] = 0.0
    simplify: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How far boundaries may move, in m; 0 keeps the pixels' outline.",
        ),
    ] = None
    fresh: Annotated[
        bool,
        Field(
            title="Start afresh",
            description="Replace the comparison of other maps that the folder holds.",
        ),
    ] = False
