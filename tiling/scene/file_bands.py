"""Which band is which in one file: as a person numbers them, or as the file itself says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rasterio.enums import ColorInterp

from tiling.errors import InputError
from tiling.io.access import is_there
from tiling.io.urls import is_local
from tiling.scene.band_names import (
    COMMON_NAMES,
    INTERIOR,
    ORDERS,
    common_name,
    full_band_name,
    name_in_file_name,
    role_of,
)
from tiling.scene.header import Header
from tiling.scene.masks import mask_kind_of

_LARGEST_ITEM = 16 * 2**20
"""Bytes of a STAC item."""

LOOKS = "looks"
"""What the band of a composite is called that counts the dates of each pixel."""

_COLOURS = ("pan", "coastal", "blue", "green", "red", "rededge", "nir")
"""Colour interpretations that say what a band sees. GDAL's yellow is CMYK's, its swir one of
two."""


def bands_by_number(file: Header, bands: Mapping[str, int]) -> list[tuple[str, int]]:
    """Name and number of each band, as a person numbered them."""
    holds = f"{file.path} holds {file.count} band{'s' * (file.count > 1)}: {file.contents}"
    found: dict[str, int] = {}
    for text, index in bands.items():
        name = full_band_name(text, file.sensor)
        if name is None:
            raise InputError(
                f"{text} is no band name; known are {', '.join(COMMON_NAMES)}; {holds}"
            )
        if not 1 <= index <= file.count:
            raise InputError(f"{text}={index}: there is no band {index}; {holds}")
        if name in found:
            raise InputError(f"{name} is named twice, as band {found[name]} and {index}; {holds}")
        if index in found.values():
            raise InputError(f"band {index} is named twice, {name} the second time; {holds}")
        found[name] = index
    return list(found.items())


def bands_in_file(file: Header) -> list[tuple[str, int]]:
    """What the file itself says the bands are: in words, beside it, by colour, or by a sensor's
    order.

    A name that two bands claim is nobody's; a band without a name is called by its number. Alpha is
    not a band, and neither is the count of dates of a composite.
    """
    names: list[str | None] = [None] * file.count
    if file.count == 1:
        names = [name_in_file_name(file.stem, file.sensor)]
    evidence = [
        [
            next((n for t in texts if (n := common_name(t, file.sensor))), None)
            for texts in file.texts
        ]
    ]
    evidence += [
        _roles(file),
        _beside(file),
        [colour if colour in _COLOURS else None for colour in file.colours],
    ]
    order = ORDERS.get((file.sensor or "", file.count), ())
    for claimed in evidence:
        names = _fill_gaps(names, claimed)
    alpha = alpha_band(file, [i for i, name in enumerate(names, 1) if name])
    if (
        order
        and alpha is None
        and all(known in (None, name) for known, name in zip(names, order, strict=True))
    ):
        names = list(order)
    return [
        (name or f"band_{i}", i)
        for i, name in enumerate(names, 1)
        if i != alpha and (file.count == 1 or file.texts[i - 1][:1] != (LOOKS,))
    ]


def names_in_file(file: Header) -> dict[int, str]:
    """By number, the common names that the file's own texts give its bands; where two claim one,
    neither."""
    claimed = [
        next((n for t in texts if (n := common_name(t, file.sensor))), None) for texts in file.texts
    ]
    times = Counter(claimed)
    return {index: name for index, name in enumerate(claimed, 1) if name and times[name] == 1}


def cloud_bands(file: Header) -> list[tuple[int, str]]:
    """Numbers of the bands that tell clouds by what the file calls them, and which of
    `tiling.scene.masks.MASKS` each is."""
    return [
        (index, kind)
        for index, (texts, dtype) in enumerate(zip(file.texts, file.dtypes, strict=True), 1)
        if dtype.startswith(("int", "uint")) and (kind := mask_kind_of(texts))
    ]


def _fill_gaps(names: Sequence[str | None], claimed: Sequence[str | None]) -> list[str | None]:
    times = Counter(claimed)
    return [
        known or (claim if times[claim] == 1 and claim not in names else None)
        for known, claim in zip(names, claimed, strict=True)
    ]


def _roles(file: Header) -> list[str | None]:
    """Which band is the probability of the interior of objects and which those of boundaries, where
    texts name one of each; one alone may be anything."""
    roles = [next((r for t in texts if (r := role_of(t))), None) for texts in file.texts]
    times = Counter(filter(None, roles))
    each = INTERIOR in times and len(times) > 1 and max(times.values()) == 1
    return roles if each else [None] * file.count


def day_beside(file: Header) -> str:
    """What a STAC item of the same stem beside the file says of its day; "" where there is none."""
    about = _mapping(_item_beside(file).get("properties"))
    said = (about.get(key) for key in ("datetime", "start_datetime"))
    return next((text for text in said if isinstance(text, str)), "")


def _item_beside(file: Header) -> Mapping[str, Any]:
    """The STAC item of the same stem beside a file; nothing where there is none, or what lies there
    is somebody else's."""
    item = Path(file.path).with_suffix(".json")
    if (
        not is_local(file.path)
        or not is_there(str(item))
        or not item.is_file()
        or item.stat().st_size > _LARGEST_ITEM
    ):
        return {}
    try:
        return _mapping(json.loads(item.read_text(encoding="utf-8")))
    except (ValueError, RecursionError, OSError):
        return {}


def _beside(file: Header) -> list[str | None]:
    """Names from a STAC item of the same stem beside the file, version 1.0 (`eo:bands`) or 1.1
    (`bands`)."""
    nothing: list[str | None] = [None] * file.count
    item = Path(file.path).with_suffix(".json")
    if not (content := _item_beside(file)):
        return nothing
    assets = [
        asset
        for asset in _mapping(content.get("assets")).values()
        if Path(str(_mapping(asset).get("href", ""))).name
        == item.with_suffix(Path(file.path).suffix).name
    ]
    for holder in map(_mapping, (*assets, content, content.get("properties"))):
        listed = holder.get("eo:bands") or holder.get("bands")
        if isinstance(listed, list) and len(listed) == file.count:
            texts = [
                [_mapping(b).get(key) for key in ("eo:common_name", "common_name", "name")]
                for b in listed
            ]
            return [
                next(
                    (n for t in three if isinstance(t, str) and (n := common_name(t, file.sensor))),
                    None,
                )
                for three in texts
            ]
    return nothing


def _mapping(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one: what lies beside a raster may be
    anything."""
    return value if isinstance(value, dict) else {}


def alpha_band(file: Header, named: Sequence[int]) -> int | None:
    """The alpha band, unless somebody calls it a band of the scene."""
    return next(
        (
            i
            for i, colour in enumerate(file.colours, 1)
            if colour == ColorInterp.alpha.name and i not in named
        ),
        None,
    )
