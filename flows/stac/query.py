"""What is looked for in a catalogue: collections, dates, bounds and cloud."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from flows.setting import SEARCH, Setting
from tiling.errors import InputError, one_line

if TYPE_CHECKING:
    from tiling.grid.geobox import Bounds

MOST_DOCUMENTS = 20_000
"""Files of a catalogue that are read before the search is given up."""


class Search(BaseModel):
    """A search in a catalogue: its address, collections, time, bounds and cloud."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Annotated[
        str,
        Field(
            min_length=1,
            title="Search",
            description="STAC API or catalogue to search instead of a SCENE.",
        ),
        Setting(SEARCH, option="--stac", metavar="URL|FILE", form=None),
    ]
    collections: Annotated[
        tuple[str, ...],
        Field(title="Collections", description="Ids of the collections to search in."),
        Setting(SEARCH, option="--collection", metavar="ID,…", unset="all"),
    ] = ()
    when: Annotated[
        str,
        Field(
            title="Dates",
            description="What days to search, such as 2024-05/2024-06, 2024-05-03, or 2024.",
        ),
        Setting(SEARCH, option="--datetime", metavar="FROM/TO", form="dates", unset="all"),
    ] = ""
    aoi: Annotated[
        str, Field(description="Vector file whose bounds are searched, where no bbox is given.")
    ] = ""
    max_cloud: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            title="Cloudiest",
            description="In percent: items of more cloud are left out, and below 100 those that "
            "do not tell.",
        ),
        Setting(SEARCH, metavar="PERCENT", form="cloudiest", none=100),
    ] = None
    most: Annotated[
        int,
        Field(ge=1, title="Most items", description="If a search finds more, nothing is done."),
        Setting(SEARCH, option="--max-items", metavar="N", form="most_items"),
    ] = 100


class Period(NamedTuple):
    """A span of time with both ends in it."""

    start: datetime.datetime
    end: datetime.datetime


ALWAYS = Period(
    datetime.datetime.min.replace(tzinfo=datetime.UTC),
    datetime.datetime.max.replace(tzinfo=datetime.UTC),
)


class NothingFound(InputError):
    """A search that matches nothing: to whoever waits for images no mistake."""


def check_bounds(bounds: Bounds) -> None:
    """Raise `InputError` where bounds in degrees are none."""
    west, south, east, north = bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise InputError(
            f"--bbox {','.join(f'{value:g}' for value in bounds)} is not west,south,east,north in "
            "degrees, the smaller "
            "first; across the antimeridian make two runs"
        )


def search_in_words(search: Search, bounds: Bounds | None) -> str:
    """A search in words, for a person."""
    parts = [search.catalogue]
    parts += [f"collection {', '.join(search.collections)}"] if search.collections else []
    parts += [f"dates {search.when}"] if search.when else []
    parts += [f"bbox {','.join(f'{value:g}' for value in bounds)}"] if bounds else []
    parts += [f"at most {search.max_cloud:g} % cloud"] if search.max_cloud is not None else []
    return ", ".join(parts)


def bounds_of(aoi: str) -> Bounds:
    """Bounds of a vector file in degrees."""
    from tiling.io.vector_files import read_frame

    west, south, east, north = map(float, read_frame(aoi).to_crs("EPSG:4326").total_bounds)
    return west, south, east, north


def span_of(text: str, option: str = "--datetime") -> str:
    """A span as APIs read it, `2024-05-01T00:00:00Z/2024-06-30T23:59:59Z`; nothing where none is
    given."""
    if not text:
        return ""
    from pystac_client import ItemSearch

    try:
        span = str(
            ItemSearch("https://unused", method="GET", datetime=text).get_parameters()["datetime"]
        )
        period_of(span)
    except Exception as error:  # it raises Exception itself
        raise InputError(
            f"{option} {text} is no date ({one_line(str(error))}); write it like 2024-05/2024-06"
        ) from None
    return span


def period_of(span: str) -> Period:
    start, _, end = span.partition("/")
    return Period(
        ALWAYS.start if start == ".." else instant_of(start),
        ALWAYS.end if end == ".." else instant_of(end or start),
    )


def instant_of(text: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def links_of(content: Any) -> list[Mapping[str, Any]]:
    links = content.get("links") if isinstance(content, dict) else None
    return [
        link for link in links or () if isinstance(link, dict) and isinstance(link.get("href"), str)
    ]
