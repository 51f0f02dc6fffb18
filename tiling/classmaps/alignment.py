"""How one raster lies on another: whether their pixels are the same, where they overlap, one on the
other's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
import rasterio.errors
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from tiling.grid.geobox import north_up_bounds
from tiling.grid.window import Window

MUCH_FINER = 0.495
"""A raster is much finer than another where its pixels are less than half as long, a percent
forgiven."""


def warp_to(source: rasterio.DatasetReader, grid: rasterio.DatasetReader) -> Any:
    """`source` on the pixels of `grid`, nearest neighbour; pixels it does not reach have no
    data."""
    if same_grid(source, grid):
        return source
    return WarpedVRT(
        source,
        crs=grid.crs,
        transform=grid.transform,
        height=grid.height,
        width=grid.width,
        resampling=Resampling.nearest,
        add_alpha=source.nodata is None and source.count == 1,  # GDAL refuses a second alpha
        tolerance=1e-9,  # exact: with 0 rasterio 1.4 makes no WarpedVRT on a given grid
    )


def same_grid(one: rasterio.DatasetReader, other: rasterio.DatasetReader) -> bool:
    """Whether two rasters have the same pixels."""
    return bool(
        one.shape == other.shape
        and one.crs == other.crs
        and one.transform.almost_equals(other.transform, 1e-12)
    )


def overlap(other: rasterio.DatasetReader, grid: rasterio.DatasetReader) -> Window:
    """The pixels of `grid` that `other` may reach; all of them where that cannot be told."""
    whole = Window.of_shape(*grid.shape)
    if same_grid(other, grid):
        return whole
    try:
        bounds = transform_bounds(other.crs, grid.crs, *north_up_bounds(other), densify_pts=64)
    except rasterio.errors.CRSError:
        return whole
    # beyond the Earth, or across the antimeridian
    if not np.isfinite(bounds).all() or bounds[0] > bounds[2]:
        return whole
    west, south, east, north = bounds
    cols, rows = zip(
        *(
            ~grid.transform @ corner
            for corner in ((west, north), (east, north), (east, south), (west, south))
        ),
        strict=True,
    )
    row, col = int(np.floor(min(rows))) - 2, int(np.floor(min(cols))) - 2
    return (
        Window(row, col, int(np.ceil(max(rows))) + 2 - row, int(np.ceil(max(cols))) + 2 - col)
        & whole
    )
