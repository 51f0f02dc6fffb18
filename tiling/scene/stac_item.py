"""Scenes out of STAC items: which asset is which band, where its numbers and its clouds are told,
several as a mosaic.

An item is a catalogue's word. What it says of names, dates, no data and masks is taken; where
pixels lie is read from the files; and its scales and offsets are marked as claims, which are
compared with pixels before they count.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tiling.errors import InputError, one_line
from tiling.io.access import check_access, is_there
from tiling.io.drivers import RASTER_SUFFIXES
from tiling.io.remote import fetch_document
from tiling.io.urls import is_local
from tiling.scene.band_names import sensor_in
from tiling.scene.masks import mask_kind_in, mask_kind_of

LARGEST = 64 * 2**20
"""Bytes of an item, or of a collection of items in one file."""


_PICTURES = {"thumbnail", "overview", "visual"}
"""Roles of assets that show a scene and do not hold it."""


@dataclass(frozen=True)
class BandMetadata:
    """The metadata of one band in a STAC item: names, no data, scale and offset."""

    texts: tuple[str, ...] = ()
    """What may be its name, the most telling first."""
    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True)
class Asset:
    """A raster of an item."""

    key: str
    href: str
    """Its path or URL."""
    bands: tuple[BandMetadata, ...]
    """Nothing where the item says nothing of its bands."""
    rank: tuple[Any, ...]
    """Of assets that hold the same band, the one of the lowest rank is read."""


@dataclass(frozen=True)
class Item:
    """One image of a catalogue, and the rasters it consists of."""

    id: str
    place: str
    """Where the item was found."""
    date: datetime.date | None
    instant: str
    """Its date and time as the catalogue writes it, or nothing."""
    cloud_cover: float | None
    """In percent."""
    sensor: str | None
    assets: tuple[Asset, ...]
    footprint: str
    """WKT in degrees, or nothing."""


# -------------------------------------------------------------------------------------------- items


def is_item(path: str) -> bool:
    """Whether a source looks like a STAC item, or a file of several, by its name.

    >>> is_item("S2B_33UVP.json"), is_item(
    ...     "https://api.example/collections/naip/items/nd_1"), is_item("scene.tif")
    (True, True, False)
    """
    plain = path if is_there(path) else urlsplit(path).path
    address = "://" in path and bool(re.search(r"/items/[^/]+/?$", plain))
    return address or Path(plain).suffix.lower() in (".json", ".geojson")


def read_items(path: str) -> list[Item]:
    """The items in a JSON file or at a URL: one, or those of an ItemCollection; `InputError` where
    there are none."""
    path = path.removeprefix("file://")
    return items_in(read_json(path), path)


def read_json(path: str) -> Any:
    """What a JSON document, a file or at a URL, says; `InputError` where there is none."""
    check_access(path)
    if is_local(path):
        file = Path(path)
        if not is_there(path) or not file.is_file():
            raise InputError(
                f"{path} {'is no file' if is_there(path) else 'does not exist'}; check the path"
            )
        if file.stat().st_size > LARGEST:
            raise InputError(
                f"{path} has more than {LARGEST >> 20} MiB, too much for a document; split it"
            )
        raw = file.read_bytes()
    else:
        raw = fetch_document(path, LARGEST)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is no JSON ({error}); give a STAC item, an API or a catalogue"
        ) from None


def items_in(content: Any, place: str) -> list[Item]:
    """The items that a JSON document found at `place` holds."""
    kind = _mapping(content).get("type")
    if kind == "Feature":
        return [item_of(content, place)]
    if (
        kind == "FeatureCollection"
        and isinstance(content.get("features"), list)
        and content["features"]
    ):
        return [item_of(_mapping(feature), place) for feature in content["features"]]
    if kind in ("Catalog", "Collection"):
        raise InputError(f"{place} is a STAC {kind}; search it: --stac {place}")
    raise InputError(f"{place} is no STAC item; give an item's JSON, of version 1.0 or 1.1")


def item_of(content: Mapping[str, Any], place: str) -> Item:
    """The item that JSON of version 1.0 or 1.1 describes, found at `place`, to which its relative
    links refer."""
    about, known = _mapping(content.get("properties")), one_line(str(content.get("id") or ""))
    if not known or not isinstance(content.get("assets"), dict):
        raise InputError(
            f"{place} is no STAC item: it has no {'assets' if known else 'id'}; give an item's JSON"
        )
    instant = next(
        (v for k in ("datetime", "start_datetime") if isinstance(v := about.get(k), str)), ""
    )
    words = (about.get("platform"), about.get("constellation"), content.get("collection"), known)
    sensor = sensor_in(" ".join(word for word in words if isinstance(word, str)))
    cover = about.get("eo:cloud_cover")
    return Item(
        id=known,
        place=place,
        date=_day(instant, place),
        instant=instant,
        cloud_cover=float(cover)
        if isinstance(cover, int | float) and math.isfinite(cover)
        else None,
        sensor=sensor,
        assets=tuple(
            asset
            for key, said in content["assets"].items()
            if (asset := _asset(str(key), _mapping(said), about, place)) is not None
        ),
        footprint=_footprint(content.get("geometry")),
    )


def _day(instant: str, place: str) -> datetime.date | None:
    if not instant:
        return None
    try:
        return (
            datetime.datetime.fromisoformat(instant.replace("Z", "+00:00"))
            .astimezone(datetime.UTC)
            .date()
        )
    except (ValueError, OverflowError):
        raise InputError(
            f"{place}: its datetime {one_line(instant)} is no date; write it like "
            "2024-07-31T10:20:30Z"
        ) from None


def _footprint(geometry: Any) -> str:
    import shapely

    if not isinstance(geometry, dict):
        return ""
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except shapely.GEOSException:
        return ""
    return str(shapely.to_wkt(shape, rounding_precision=7)) if shape.area else ""


def _asset(key: str, said: Mapping[str, Any], about: Mapping[str, Any], place: str) -> Asset | None:
    """A raster among an item's assets; None for anything else."""
    href, kind, roles = said.get("href"), str(said.get("type") or ""), said.get("roles")
    roles = {str(role) for role in roles} if isinstance(roles, list) else set()
    if not isinstance(href, str) or roles & _PICTURES:
        return None
    suffix = Path(urlsplit(href).path).suffix.lower()
    tiff = kind.startswith(("image/tiff", "image/vnd.stac.geotiff")) or (
        not kind and suffix in RASTER_SUFFIXES
    )
    if not tiff and kind != "image/jp2":
        return None
    bands = _band_metadata(said, key)
    # Where one band comes at several resolutions, or once more in a picture, the plain and finest
    # is meant.
    metres = [said.get("gsd"), said.get("eo:gsd"), said.get("raster:spatial_resolution")]
    metres += [_mapping(b).get("spatial_resolution") for b in _list(said, "raster:bands")]
    metres += [float(found[1]) if (found := re.search(r"[_-](\d+)m$", key)) else None]
    gsd = min((float(m) for m in metres if isinstance(m, int | float) and m > 0), default=math.inf)
    picture = bool(re.search(r"visual|tci|preview|thumb", key.lower()))
    return Asset(
        key, resolve_href(href, place), bands, (picture, not tiff, len(bands) > 1, gsd, key)
    )


def _band_metadata(asset: Mapping[str, Any], key: str) -> tuple[BandMetadata, ...]:
    """What an asset's entry says of its bands: `bands` of 1.1, `eo:bands` and `raster:bands` of
    1.0."""
    named, stored = _list(asset, "bands") or _list(asset, "eo:bands"), _list(asset, "raster:bands")
    count = max(len(named), len(stored), 1)
    found = []
    for name, store in zip(_pad_entries(named, count), _pad_entries(stored, count), strict=True):
        texts = [
            name.get("eo:common_name"),
            name.get("common_name"),
            asset.get("eo:common_name"),
            name.get("name"),
        ]
        texts += [key] if count == 1 else []
        found.append(
            BandMetadata(
                texts=tuple(text for text in texts if isinstance(text, str)),
                nodata=_number(name.get("nodata"), store.get("nodata"), asset.get("nodata")),
                scale=_number(
                    name.get("raster:scale"), store.get("scale"), asset.get("raster:scale")
                ),
                offset=_number(
                    name.get("raster:offset"), store.get("offset"), asset.get("raster:offset")
                ),
            )
        )
    return tuple(found)


def resolve_href(href: str, place: str) -> str:
    """The path or URL that a link in a document at `place` leads to."""
    remote = not is_local(place)
    if href.startswith("file:") or (remote and href.startswith("/vsi")):
        if remote:
            raise InputError(
                f"{place} leads to {href}, a file of this machine; an item of another machine may "
                "not"
            )
        return href.removeprefix("file://")
    if "://" in href or href.startswith("/vsi"):
        return href
    if not remote:
        return str(Path(place).absolute().parent / href)
    if place.startswith("http"):
        return urljoin(place, href)
    scheme, _, rest = place.partition("://")  # urljoin knows no stores
    return f"{scheme}://{urljoin('//' + rest, href).removeprefix('//')}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(holder: Mapping[str, Any], name: str) -> list[Any]:
    return value if isinstance(value := holder.get(name), list) else []


def _pad_entries(entries: list[Any], count: int) -> list[Mapping[str, Any]]:
    return [_mapping(entry) for entry in entries] + [{}] * (count - len(entries))


def _number(*values: Any) -> float | None:
    """The first that is a number; "nan", "inf" and "-inf" are some too."""
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if value in ("nan", "inf", "-inf"):
            return float(value)
    return None


def mask_kind(asset: Asset) -> str | None:
    """Which of `tiling.scene.masks.MASKS` an asset is, by its key, its band or the end of its
    file's name.

    >>> mask_kind(Asset("SCL_20m", "x.jp2", (BandMetadata(),), ())), mask_kind(Asset(
    ...     "mask", "a/LC08_QA_PIXEL.TIF", (), ()))
    ('scl', 'qapixel')
    """
    by_name = mask_kind_of((asset.key, *(text for said in asset.bands for text in said.texts)))
    return by_name or mask_kind_in(Path(urlsplit(asset.href).path).stem)
