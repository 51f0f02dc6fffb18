"""How plain GeoTIFFs are written: tiled, and packed as fast as can be."""

from __future__ import annotations

from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from tiling.grid.window import Window

BLOCK = 512

PLAIN = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": BLOCK,
    "blockysize": BLOCK,
    "compress": "ZSTD",
    "zstd_level": 1,
    "bigtiff": "IF_SAFER",
}
"""What all of them have."""


def plain_profile(
    grid: GeoBox, dtype: str, nodata: float | None = None, *, count: int = 1
) -> dict[str, Any]:
    """How a GeoTIFF on a grid is written."""
    return PLAIN | {
        "height": grid.height,
        "width": grid.width,
        "count": count,
        "dtype": dtype,
        "crs": grid.crs.to_wkt() if grid.crs else None,
        "transform": grid.affine,
        "nodata": nodata,
    }


def profile_like(raster: Any, window: Window) -> dict[str, Any]:
    """How a GeoTIFF like `window` of an open raster is written."""
    return PLAIN | {
        "height": window.height,
        "width": window.width,
        "count": raster.count,
        "dtype": raster.dtypes[0],
        "crs": raster.crs,
        "transform": raster.transform @ Affine.translation(window.col, window.row),
        "nodata": raster.nodata,
    }
