"""Images of one place and different dates, as a person names them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.source import Source
from flows.setting import DATES, Part, Setting


class DatedImages(BaseModel):
    """Images of one place and different dates, and the grid that they are put on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenes: Annotated[
        tuple[str, ...],
        Field(
            title="Images",
            description="Rasters, folders of single-band files, or STAC items; one for each date.",
        ),
        Setting(argument=True, metavar="SCENE…", form=None),
    ]
    like: Annotated[
        str,
        Field(title="Grid", description="Raster on whose grid the images are put."),
        Setting(DATES, metavar="FILE", path=True, unset="that of the first image"),
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
