"""Rasters that are handed out: cloud-optimised GeoTIFFs, and what of a raster lies inside an
outline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
import rasterio.features
import rasterio.shutil
from affine import Affine
from rasterio.session import DummySession

from tiling.formats.vrt import OPEN_PARTS
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.profiles import BLOCK, profile_like

_BURNT = 4 * BLOCK


def write_cog(source: Path, target: Path, *, overviews: str) -> None:
    """Copy a raster into a COG: 512-px blocks, DEFLATE, overviews by `overviews` ("mode",
    "average", "nearest").

    The file and the `.aux.xml` beside it (GeoTIFF itself has no place for category names) appear
    whole.
    """
    with (
        scratch(target.parent) as folder,
        rasterio.Env(session=DummySession(), GDAL_MAX_DATASET_POOL_SIZE=OPEN_PARTS),
    ):
        rasterio.shutil.copy(
            str(source),
            str(folder / target.name),
            driver="COG",
            BLOCKSIZE=BLOCK,
            COMPRESS="DEFLATE",
            OVERVIEW_RESAMPLING=overviews.upper(),
            BIGTIFF="IF_SAFER",
            NUM_THREADS="ALL_CPUS",
        )
        # the .aux.xml first, the raster last
        for written in sorted(folder.iterdir(), reverse=True):
            written.replace(target.with_name(written.name))


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
