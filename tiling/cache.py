"""GDAL's cache of decoded blocks: small, because whoever reads here decodes each block once."""

from __future__ import annotations

import os
from functools import cache

CACHE = 64 * 2**20
"""Bytes of decoded blocks that GDAL keeps in a process."""


@cache
def keep_cache_small() -> None:
    """From now on GDAL keeps at most `CACHE` bytes in this process, unless its environment says GDAL_CACHEMAX.

    GDAL's own limit is a twentieth of the machine's memory, which a process fills as long as its raster lasts: what it
    takes would follow from the raster, and on a large machine many processes would take it each.
    """
    from rasterio.env import set_gdal_config

    if "GDAL_CACHEMAX" not in os.environ:
        set_gdal_config("GDAL_CACHEMAX", CACHE)  # not by rasterio.Env, which takes it back where it is the outermost
