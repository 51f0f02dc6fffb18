"""Items that a search finds in a STAC API or a catalogue of files, by day.

An API is searched with pystac-client. A catalogue of files is walked here: so it may lie wherever a
source may, behind the same door, and its items are read as they were written.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from flows.stac.api import is_api, items_of_api
from flows.stac.query import (
    NothingFound,
    Search,
    bounds_of,
    check_bounds,
    instant_of,
    search_in_words,
    span_of,
)
from flows.stac.static import walk_catalogue
from tiling.errors import InputError
from tiling.grid.geobox import Bounds
from tiling.io.access import check_access
from tiling.scene.stac_item import Item, item_of, read_json

if TYPE_CHECKING:
    pass


def find(search: Search, bbox: Bounds | None = None) -> list[Item]:
    """The items that match: the least cloudy first, then the newest.

    Raises `NothingFound` where there are none, and `InputError` where there are too many.
    """
    check_access(search.catalogue)
    place = search.catalogue.removeprefix("file://")
    bounds = bbox or (bounds_of(search.aoi) if search.aoi else None)
    if bounds is not None:
        check_bounds(bounds)
    when = span_of(search.when)
    root = read_json(place)
    found: dict[str, Item] = {}
    cloudier = 0
    look = items_of_api if is_api(root) else walk_catalogue
    for content, where in look(root, place, search, bounds, when):
        item = item_of(content, where)
        if search.max_cloud is not None and (
            item.cloud_cover is None or item.cloud_cover > search.max_cloud
        ):
            cloudier += 1
            continue
        found[where] = item
        if len(found) > search.most:
            raise InputError(
                f"more than {search.most} items match ({search_in_words(search, bounds)}); narrow "
                "--datetime or "
                "--bbox, or raise --max-items"
            )
    if not found:
        clouds = f"; {cloudier} are cloudier or do not tell" if cloudier else ""
        raise NothingFound(
            f"nothing was found in {search_in_words(search, bounds)}{clouds}; widen the search"
        )
    return sorted(found.values(), key=_order)


def by_day(search: Search, bbox: Bounds | None = None) -> dict[datetime.date, tuple[str, ...]]:
    """Where the items that match are found again, for each day, in the order of days."""
    days: dict[datetime.date, tuple[str, ...]] = {}
    for item in find(search, bbox):
        if item.date is None:
            raise InputError(f"{item.place} has no date; a series is made of dated items")
        if "#" in item.place:
            raise InputError(
                f"{item.place} has no address of its own; give each item of a series one"
            )
        days[item.date] = (*days.get(item.date, ()), item.place)
    return dict(sorted(days.items()))


def _order(item: Item) -> tuple[float, float, str]:
    cover = 101.0 if item.cloud_cover is None else item.cloud_cover
    return cover, -instant_of(item.instant).timestamp() if item.instant else 0.0, item.id
