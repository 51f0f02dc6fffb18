"""Which rasters tell clouds, and what of them is left out unless a person says otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class MaskRule(NamedTuple):
    """What a mask hides: pixels that hold one of `values`, or have one of `bits` set."""

    values: tuple[int, ...] = ()
    bits: tuple[int, ...] = ()


MASKS: Mapping[str, MaskRule] = {
    # Sentinel-2 L2A: cloud shadow, clouds of medium and high probability, thin cirrus. Snow, 11, is
    # kept. https://sentiwiki.copernicus.eu/web/s2-processing
    "scl": MaskRule(values=(3, 8, 9, 10)),
    # HLS: cloud, beside cloud or shadow, cloud shadow.
    # https://lpdaac.usgs.gov/documents/1698/HLS_User_Guide_V2.pdf
    "fmask": MaskRule(bits=(1, 2, 3)),
    # Landsat Collection 2: fill, dilated cloud, cirrus, cloud, cloud shadow.
    # https://www.usgs.gov/landsat-missions/landsat-collection-2-quality-assessment-bands
    "qapixel": MaskRule(bits=(0, 1, 2, 3, 4)),
}
"""Rasters that tell clouds, and what of them is left out unless a person says otherwise."""


def mask_kind_in(stem: str) -> str | None:
    """Which of `MASKS` a file is, by the end of its name.

    >>> mask_kind_in("T32TPS_20240630T101559_SCL_20m"), mask_kind_in("LC08_QA_PIXEL"), mask_kind_in(
    ...     "scl_B04")
    ('scl', 'qapixel', None)
    """
    ends = re.findall(r"(?:^|[._-])(scl|qa_pixel|fmask)(?:_\d+m)?$", stem.lower())
    return mask_kind_of(ends)


def mask_kind_of(words: Iterable[str]) -> str | None:
    """Which of `MASKS` one of these words names, its resolution aside.

    >>> mask_kind_of(["overview", "SCL_20m"]), mask_kind_of(["QA_PIXEL"]), mask_kind_of(["B04"])
    ('scl', 'qapixel', None)
    """
    plain = (re.sub(r"[^a-z0-9]", "", re.sub(r"_\d+m$", "", word.lower())) for word in words)
    return next((word for word in plain if word in MASKS), None)
