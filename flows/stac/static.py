"""Items of a catalogue of files, walked link by link."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flows.stac.query import ALWAYS, MOST_DOCUMENTS, Period, Search, instant_of, links_of, period_of
from tiling.errors import InputError
from tiling.grid.geobox import Bounds
from tiling.scene.stac_item import read_json, resolve_href


def walk_catalogue(
    root: Any, place: str, search: Search, bounds: Bounds | None, when: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The items below a catalogue or a collection, or in one file, that match; and where each
    is."""
    period = period_of(when) if when else ALWAYS
    seen, waiting = {place}, [(root, place, frozenset[str]())]
    while waiting:
        content, here, above = waiting.pop()
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "Feature":
            if _matches(content, above, search, bounds, period, here):
                yield content, here
            continue
        if kind == "FeatureCollection":
            for number, feature in enumerate(content.get("features") or ()):
                if isinstance(feature, dict) and _matches(
                    feature, above, search, bounds, period, here
                ):
                    yield (
                        feature,
                        here
                        if number == 0 and len(content["features"]) == 1
                        else f"{here}#{number}",
                    )
            continue
        if kind not in ("Catalog", "Collection"):
            raise InputError(
                f"{here} is no STAC API, catalogue, collection or item; check the address"
            )
        inside = above | {str(content.get("id"))} if kind == "Collection" else above
        for link in reversed(links_of(content)):
            if (
                link.get("rel") in ("child", "item")
                and (there := resolve_href(str(link["href"]), here)) not in seen
            ):
                if len(seen) > MOST_DOCUMENTS:
                    raise InputError(
                        f"{place} has more than {MOST_DOCUMENTS:,} files; name a collection of it "
                        "with --stac"
                    )
                seen.add(there)
                waiting.append((read_json(there), there, inside))


def _matches(
    item: Mapping[str, Any],
    above: frozenset[str],
    search: Search,
    bounds: Bounds | None,
    period: Period,
    place: str,
) -> bool:
    """Whether an item is of a collection, a time and a place that are looked for."""
    if search.collections and not ({*above, str(item.get("collection"))} & set(search.collections)):
        return False
    about = found if isinstance(found := item.get("properties"), dict) else {}
    start, end = (about.get(k) or about.get("datetime") for k in ("start_datetime", "end_datetime"))
    if period != ALWAYS:
        try:
            if (
                not start
                or not end
                or instant_of(end) < period.start
                or instant_of(start) > period.end
            ):
                return False
        except (ValueError, AttributeError):
            raise InputError(
                f"{place}: its dates {start} and {end} are none; correct the item"
            ) from None
    return bounds is None or _meets(item, bounds)


def _meets(item: Mapping[str, Any], bounds: Bounds) -> bool:
    """Whether an item's footprint, or else its bbox, meets the bounds."""
    import shapely

    if isinstance(item.get("geometry"), dict):
        try:
            return bool(
                shapely.from_geojson(json.dumps(item["geometry"])).intersects(shapely.box(*bounds))
            )
        except shapely.GEOSException:
            pass  # its bbox may be better
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) not in (4, 6):
        return False
    west, south, east, north = box if len(box) == 4 else (*box[:2], *box[3:5])
    return bool(
        west <= bounds[2] and east >= bounds[0] and south <= bounds[3] and north >= bounds[1]
    )
