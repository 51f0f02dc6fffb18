"""What of a raster lies inside an outline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
import rasterio.features
from affine import Affine

from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.profiles import BLOCK, profile_like

_BURNT = 4 * BLOCK


def write_masked(source: Path, target: Path, outline: Any, window: Window) -> Path:
    """Copy `window` of a raster into a plain GeoTIFF; pixels whose centre is outside `outline`
    become no data.

    `outline` is a geometry (shapely or GeoJSON) in the raster's CRS. It is burnt on a fixed grid of
    blocks, so the same pixel always gets the same answer.
    """
    with open_dataset(str(source)) as raster:
        profile = profile_like(raster, window)
        with rasterio.open(target, "w", **profile) as masked:
            for block in window.blocks(_BURNT):
                cell = block.on_grid(_BURNT)
                inside = rasterio.features.geometry_mask(
                    [outline],
                    out_shape=cell.shape,
                    transform=raster.transform @ Affine.translation(cell.col, cell.row),
                    invert=True,
                )[block.within(cell)]
                pixels = raster.read(window=block.ranges)
                pixels[:, ~inside] = int(raster.nodata)
                masked.write(pixels, window=block.shift(-window.row, -window.col).ranges)
    return target
