"""The door for class rasters: what may come in, and how its pixels are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioIOError

from tiling.errors import Mistake
from tiling.window import Window


def open_raster(path: str | Path) -> Any:
    """A rasterio dataset; `Mistake` where there is none."""
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        raise Mistake(f"{path} cannot be opened as a raster: {error}") from error


def open_classes(path: str | Path) -> Any:
    """A rasterio dataset of classes: one band of integers of at most 32 bits; else `Mistake`."""
    source = open_raster(path)
    if source.count == 1 and np.can_cast(source.dtypes[0], np.int32):
        return source
    with source:
        raise Mistake(
            f"{path} holds {source.count} × {source.dtypes[0]}; a class raster has one band of integers "
            "of at most 32 bits: make one with gdal_translate -b 1 -ot Int32"
        )


def nodata_of(source: Any, nodata: int | None) -> int | None:
    """The value without a class: the one given, else what the file declares."""
    return int(source.nodata) if nodata is None and source.nodata is not None else nodata


def read_band(path: str | Path, window: Window) -> npt.NDArray[np.integer]:
    """`(y, x)` pixels of the first band of a raster; `Mistake` where they cannot be read."""
    with open_raster(path) as source:
        try:
            return source.read(1, window=window.ranges)
        except RasterioIOError as error:
            raise Mistake(f"{path} cannot be read at {window}: {error}; make or download the file again") from error
