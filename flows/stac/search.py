"""What is looked for in a STAC API or a catalogue of files, and the items that are found there.

An API is searched with pystac-client. A catalogue of files is walked here: so it may lie wherever a source may, behind
the same door, and its items are read as they were written.
"""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tiling.errors import Mistake, one_line, redacted
from tiling.grid.geobox import Bounds
from tiling.io.access import check_reach
from tiling.scene.stac_item import Item, item_of, read_json, resolved

if TYPE_CHECKING:
    from pystac_client import Client

PAGE = 100
"""Items asked for at once."""

MOST_DOCUMENTS = 20_000
"""Files of a catalogue that are read before the search is given up."""

TIMEOUT = (10.0, 60.0)
"""Seconds for a connection, and for an answer to begin."""


AGAIN = 4
"""How often an API is asked again that does not answer as it should."""


class Search(BaseModel):
    """What is looked for, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    catalogue: Annotated[str, Field(min_length=1, description="URL of a STAC API, or URL or path of a catalogue.")]
    collections: Annotated[tuple[str, ...], Field(description="Ids of collections; none means all.")] = ()
    when: Annotated[
        str, Field(description="Day, month, year, or two of them with / between: 2024-05/2024-06. Empty: any.")
    ] = ""
    aoi: Annotated[str, Field(description="Vector file whose bounds are searched, where no bbox is given.")] = ""
    max_cloud: Annotated[
        float | None, Field(ge=0, le=100, description="Most cloud, in percent; an item that does not tell is left out.")
    ] = None
    most: Annotated[int, Field(ge=1, description="More items than this are refused.")] = 100


class _Period(NamedTuple):
    """A span of time with both ends in it."""

    start: datetime.datetime
    end: datetime.datetime


_ALWAYS = _Period(
    datetime.datetime.min.replace(tzinfo=datetime.UTC), datetime.datetime.max.replace(tzinfo=datetime.UTC)
)


class NothingFound(Mistake):
    """A search that matches nothing: to whoever waits for images no mistake."""


def find(search: Search, bbox: Bounds | None = None) -> list[Item]:
    """The items that match: the least cloudy first, then the newest.

    Raises `NothingFound` where there are none, and `Mistake` where there are too many.
    """
    check_reach(search.catalogue)
    place = search.catalogue.removeprefix("file://")
    bounds = bbox or (_bounds_of(search.aoi) if search.aoi else None)
    if bounds is not None:
        check_bounds(bounds)
    when = _when(search.when)
    root = read_json(place)
    found: dict[str, Item] = {}
    cloudier = 0
    look = _from_api if _is_api(root) else _walked
    for content, where in look(root, place, search, bounds, when):
        item = item_of(content, where)
        if search.max_cloud is not None and (item.cloud_cover is None or item.cloud_cover > search.max_cloud):
            cloudier += 1
            continue
        found[where] = item
        if len(found) > search.most:
            raise Mistake(
                f"more than {search.most} items match ({_told(search, bounds)}); narrow --datetime or --bbox, or raise "
                "--max-items"
            )
    if not found:
        clouds = f"; {cloudier} are cloudier or do not tell" if cloudier else ""
        raise NothingFound(f"nothing was found in {_told(search, bounds)}{clouds}; widen the search")
    return sorted(found.values(), key=_order)


def by_day(search: Search, bbox: Bounds | None = None) -> dict[datetime.date, tuple[str, ...]]:
    """Where the items that match are found again, for each day, in the order of days."""
    days: dict[datetime.date, tuple[str, ...]] = {}
    for item in find(search, bbox):
        if item.date is None:
            raise Mistake(f"{item.place} has no date; a series is made of dated items")
        if "#" in item.place:
            raise Mistake(f"{item.place} has no address of its own; give each item of a series one")
        days[item.date] = (*days.get(item.date, ()), item.place)
    return dict(sorted(days.items()))


def check_bounds(bounds: Bounds) -> None:
    """Raise `Mistake` where bounds in degrees are none."""
    west, south, east, north = bounds
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise Mistake(
            f"--bbox {','.join(f'{value:g}' for value in bounds)} is not west,south,east,north in degrees, the smaller "
            "first; across the antimeridian make two runs"
        )


def _order(item: Item) -> tuple[float, float, str]:
    cover = 101.0 if item.cloud_cover is None else item.cloud_cover
    return cover, -_instant(item.instant).timestamp() if item.instant else 0.0, item.id


def _told(search: Search, bounds: Bounds | None) -> str:
    """What was searched, for a person."""
    parts = [search.catalogue]
    parts += [f"collection {', '.join(search.collections)}"] if search.collections else []
    parts += [f"dates {search.when}"] if search.when else []
    parts += [f"bbox {','.join(f'{value:g}' for value in bounds)}"] if bounds else []
    parts += [f"at most {search.max_cloud:g} % cloud"] if search.max_cloud is not None else []
    return ", ".join(parts)


def _bounds_of(aoi: str) -> Bounds:
    """Bounds of a vector file in degrees."""
    from tiling.io.vector_files import read_frame

    west, south, east, north = map(float, read_frame(aoi).to_crs("EPSG:4326").total_bounds)
    return west, south, east, north


def _when(text: str) -> str:
    """A span as APIs read it, `2024-05-01T00:00:00Z/2024-06-30T23:59:59Z`; nothing where none is given."""
    if not text:
        return ""
    from pystac_client import ItemSearch

    try:
        span = str(ItemSearch("https://unused", method="GET", datetime=text).get_parameters()["datetime"])
        _period(span)
    except Exception as error:  # it raises Exception itself
        raise Mistake(f"--datetime {text} is no date ({one_line(str(error))}); write it like 2024-05/2024-06") from None
    return span


def _period(span: str) -> _Period:
    start, _, end = span.partition("/")
    return _Period(
        _ALWAYS.start if start == ".." else _instant(start), _ALWAYS.end if end == ".." else _instant(end or start)
    )


def _instant(text: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


# ----------------------------------------------------------------------------------------------------------------- APIs


def _is_api(root: Any) -> bool:
    return any(link.get("rel") == "search" for link in _links(root))


def _from_api(
    root: Mapping[str, Any], place: str, search: Search, bounds: Bounds | None, when: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The items that an API finds, and where each is found again."""
    from pystac_client.exceptions import APIError

    methods = {str(link.get("method", "GET")).upper() for link in _links(root) if link.get("rel") == "search"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the API says it can do; what it cannot, it refuses
            client = _client(place)
            client.add_conforms_to("ITEM_SEARCH")
            query = None
            if search.max_cloud is not None and client.conforms_to("QUERY"):
                query = {"eo:cloud_cover": {"lte": search.max_cloud}}
            pages = client.search(
                method="POST" if "POST" in methods else "GET",
                limit=min(PAGE, search.most + 1),
                collections=list(search.collections) or None,
                bbox=bounds,
                datetime=when or None,
                query=query,
            ).items_as_dicts()
            for count, item in enumerate(pages):
                if count > MOST_DOCUMENTS:
                    raise Mistake(f"{_told(search, bounds)}: more than {MOST_DOCUMENTS:,} items; narrow the search")
                link = next((link["href"] for link in _links(item) if link.get("rel") == "self"), None)
                yield item, resolved(str(link), place) if link else f"{place}#{item.get('id')}"
    except APIError as error:
        if isinstance(error.__context__, Mistake):
            raise error.__context__ from None
        raise Mistake(
            f"{place} does not answer the search ({_reason(error)}); check the address, or try later"
        ) from None


def _client(place: str) -> Client:
    """A client of an API that asks again while the other side fails, and goes nowhere it may not."""
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    class Door(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            check_reach(str(request.url))  # of redirections and next pages too
            return super().send(request, *args, **options)

    again = Retry(AGAIN, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None)
    io = StacApiIO(timeout=TIMEOUT)
    for scheme in ("http://", "https://"):
        io.session.mount(scheme, Door(max_retries=again))
    return Client.open(place, stac_io=io, timeout=TIMEOUT)


def _reason(error: Exception) -> str:
    """What an API said, on one short line."""
    status = getattr(error, "status_code", None)
    return redacted(one_line(f"{status}: {error}" if status else str(error)))[:200]


# ------------------------------------------------------------------------------------------------- catalogues of files


def _walked(
    root: Any, place: str, search: Search, bounds: Bounds | None, when: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The items below a catalogue or a collection, or in one file, that match; and where each is."""
    period = _period(when) if when else _ALWAYS
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
                if isinstance(feature, dict) and _matches(feature, above, search, bounds, period, here):
                    yield feature, here if number == 0 and len(content["features"]) == 1 else f"{here}#{number}"
            continue
        if kind not in ("Catalog", "Collection"):
            raise Mistake(f"{here} is no STAC API, catalogue, collection or item; check the address")
        inside = above | {str(content.get("id"))} if kind == "Collection" else above
        for link in reversed(_links(content)):
            if link.get("rel") in ("child", "item") and (there := resolved(str(link["href"]), here)) not in seen:
                if len(seen) > MOST_DOCUMENTS:
                    raise Mistake(
                        f"{place} has more than {MOST_DOCUMENTS:,} files; name a collection of it with --stac"
                    )
                seen.add(there)
                waiting.append((read_json(there), there, inside))


def _matches(
    item: Mapping[str, Any],
    above: frozenset[str],
    search: Search,
    bounds: Bounds | None,
    period: _Period,
    place: str,
) -> bool:
    """Whether an item is of a collection, a time and a place that are looked for."""
    if search.collections and not ({*above, str(item.get("collection"))} & set(search.collections)):
        return False
    about = found if isinstance(found := item.get("properties"), dict) else {}
    start, end = (about.get(k) or about.get("datetime") for k in ("start_datetime", "end_datetime"))
    if period != _ALWAYS:
        try:
            if not start or not end or _instant(end) < period.start or _instant(start) > period.end:
                return False
        except (ValueError, AttributeError):
            raise Mistake(f"{place}: its dates {start} and {end} are none; correct the item") from None
    return bounds is None or _meets(item, bounds)


def _meets(item: Mapping[str, Any], bounds: Bounds) -> bool:
    """Whether an item's footprint, or else its bbox, meets the bounds."""
    import shapely

    if isinstance(item.get("geometry"), dict):
        try:
            return bool(shapely.from_geojson(json.dumps(item["geometry"])).intersects(shapely.box(*bounds)))
        except shapely.GEOSException:
            pass  # its bbox may be better
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) not in (4, 6):
        return False
    west, south, east, north = box if len(box) == 4 else (*box[:2], *box[3:5])
    return bool(west <= bounds[2] and east >= bounds[0] and south <= bounds[3] and north >= bounds[1])


def _links(content: Any) -> list[Mapping[str, Any]]:
    links = content.get("links") if isinstance(content, dict) else None
    return [link for link in links or () if isinstance(link, dict) and isinstance(link.get("href"), str)]
