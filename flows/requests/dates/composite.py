"""One image of several dates: what is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.requests.source import DatedImages
from flows.setting import DATES, Setting
from flows.storage.remote import Place


class CompositeRequest(DatedImages):
    """Images of one place and different dates, how they become one, and its file."""

    out: Annotated[
        Place,
        Field(title="Output file", description="The GeoTIFF; its folder is made if need be."),
        Setting(option="--out -o", metavar="FILE", form=None),
    ]
    method: Annotated[
        str,
        Field(
            title="Method",
            description="What a pixel becomes of its valid dates: median or mean of each band, or "
            "all bands of the latest, of that with the greatest value of an index, max=NDVI, or of "
            "that on which clouds and gaps are farthest, best-clear.",
        ),
        Setting(DATES, metavar="median|mean|latest|max=INDEX|best-clear"),
    ] = "median"
