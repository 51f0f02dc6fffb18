"""How temporary GeoTIFFs are written."""

from __future__ import annotations

from typing import Any

from affine import Affine

from tiling.grid.window import Window

BLOCK = 512


def plain_profile(raster: Any, window: Window) -> dict[str, Any]:
    """How a temporary GeoTIFF like `window` of a raster is written: tiled, and packed as fast as
    can be."""
    return {
        "driver": "GTiff",
        "height": window.height,
        "width": window.width,
        "count": raster.count,
        "dtype": raster.dtypes[0],
        "crs": raster.crs,
        "transform": raster.transform @ Affine.translation(window.col, window.row),
        "nodata": raster.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }
