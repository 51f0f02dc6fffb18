"""Indices through images of several dates: what is asked for, of zones and of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.source import DatedImages
from flows.setting import DATES, PIXELS, Setting


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
        Setting(PIXELS),
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
        Setting(PIXELS, metavar="LAMBDA", unset="no curve"),
    ] = None
    step: Annotated[
        int,
        Field(
            ge=1, le=366, title="Step", description="Days from one step of the curve to the next."
        ),
        Setting(PIXELS, metavar="DAYS"),
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
        Setting(PIXELS, metavar="PART"),
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
        Setting(PIXELS, metavar="V"),
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
        Setting(PIXELS, metavar="N"),
    ] = 1

    @property
    def wanted(self) -> bool:
        """Whether anything is computed of pixels."""
        return self.pixels or self.smooth is not None


class SeriesRequest(DatedImages):
    """Images of one place and different dates, the indices to follow through them, and where."""

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
        Setting(DATES, metavar="FILE", path=True, unset="none"),
    ] = ""
    column: Annotated[
        str,
        Field(title="Column", description="Column of the zones that names each."),
        Setting(DATES, metavar="NAME", unset="they are counted from 1"),
    ] = ""
    each: PixelSettings = PixelSettings()
