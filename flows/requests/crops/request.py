"""Fields on images of several dates, and how they are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.crops.zoning import Zoning
from flows.requests.source import DatedImages
from flows.setting import FIELDS, Setting

INDICES = ("NDVI", "NDMI")
"""What is followed where nothing is named: the second where the images have its bands."""


class Judging(BaseModel):
    """What a field is compared with, and which fields and dates count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_fields: Annotated[
        int,
        Field(
            ge=3,
            title="Fewest fields of a crop",
            description="Fields of one crop that must be seen on a date for one to be compared "
            "with the others.",
        ),
        Setting(FIELDS, metavar="N"),
    ] = 5
    same_days: Annotated[
        int,
        Field(
            ge=0,
            le=90,
            title="Same time of year",
            description="Days before and after the same day of an earlier year that count as "
            "the same time.",
        ),
        Setting(FIELDS, metavar="DAYS"),
    ] = 15
    least_years: Annotated[
        int,
        Field(
            ge=2,
            title="Fewest earlier years",
            description="Earlier years in which a field must be known at the same time for an "
            "anomaly.",
        ),
        Setting(FIELDS, metavar="N"),
    ] = 3
    least_pixels: Annotated[
        float,
        Field(
            ge=1,
            allow_inf_nan=False,
            title="Smallest field",
            description="In pixels of the images: a smaller field is measured and not judged.",
        ),
        Setting(FIELDS, metavar="PIXELS"),
    ] = 10.0
    least_valid: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Least valid part",
            description="Part of a field, 0 to 1, that must be seen on a date for it to be judged.",
        ),
        Setting(FIELDS, metavar="PART"),
    ] = 0.5


class CropsRequest(DatedImages):
    """Images of several dates, fields on them, and where what is told of them goes."""

    fields: Annotated[
        str,
        Field(title="Fields", description="Polygon layer of the fields."),
        Setting(metavar="FILE", path=True, form=None),
    ]
    out: Annotated[
        Path,
        Field(title="Output folder", description="Folder of the tables, layers and pictures."),
        Setting(option="--out -o", metavar="DIR", form=None, disk=True),
    ]
    names: Annotated[
        tuple[str, ...],
        Field(
            title="Indices",
            description="Spectral indices to follow, such as NDVI,NDMI; the first colours the map. "
            "NDMI or MSI tell water stress.",
        ),
        Setting(
            FIELDS, option="--index", metavar="NAME,…", form="indices",
            unset="NDVI, and NDMI where there is a short-wave infrared band",
        ),
    ] = ()  # fmt: skip
    crop: Annotated[
        str,
        Field(
            title="Column of the crop",
            description="Column that says what grows in each field: it is compared with the "
            "others of its crop.",
        ),
        Setting(FIELDS, metavar="COLUMN", unset="all fields are compared with each other"),
    ] = ""
    column: Annotated[
        str,
        Field(title="Column of the name", description="Column that names each field."),
        Setting(FIELDS, metavar="NAME", unset="they are counted from 1"),
    ] = ""
    judging: Judging = Judging()
    zoning: Zoning = Zoning()
