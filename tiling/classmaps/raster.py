"""The door for class rasters: what may come in, and how its pixels are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset

NO_CONFIDENCE = 255


Groups = tuple[tuple[int, int | None], ...]
"""Pairs of a class and the one it becomes; None leaves its pixels out."""


def open_classes(path: str | Path) -> rasterio.DatasetReader:
    """A class raster, open, of one band or one and alpha; `InputError` where it is none."""
    source = open_dataset(str(path))
    has_alpha(path, source)
    if not np.issubdtype(np.dtype(source.dtypes[0]), np.integer):
        raise InputError(f"{path} holds {source.dtypes[0]} values; a class raster holds integers")
    if source.crs is None:
        raise InputError(
            f"{path} has no CRS, so it cannot be laid over another map; add one with rio "
            "edit-info --crs"
        )
    return source


def has_alpha(path: str | Path, source: Any) -> bool:
    """Whether beside its one band a raster has an alpha band; `InputError` where it has several, or
    others."""
    if source.count == 1:
        return False
    if source.count == 2 and source.colorinterp[1] == ColorInterp.alpha:
        return True
    raise InputError(
        f"{path} holds {source.count} bands, and only one can be meant; take it alone: "
        f"gdal_translate -b 1 {path} one.tif"
    )


def open_regions(path: str | Path) -> Any:
    """A class raster that regions can be made of: one band of integers of at most 32 bits; else
    `InputError`."""
    source = open_dataset(str(path))
    fits = np.can_cast(source.dtypes[0], np.int32) or source.dtypes[0] == "uint32"
    if source.count == 1 and fits:
        return source
    with source:
        raise InputError(
            f"{path} holds {source.count} × {source.dtypes[0]}; a class raster has one band of "
            "integers "
            "of at most 32 bits: make one with gdal_translate -b 1 -ot Int32"
        )


def nodata_of(source: Any, nodata: int | None) -> int | None:
    """The value without a class: the one given, else what the file declares."""
    return int(source.nodata) if nodata is None and source.nodata is not None else nodata


def read_band(path: str | Path, window: Window) -> npt.NDArray[np.integer]:
    """`(y, x)` pixels of the first band of a raster; `InputError` where they cannot be read."""
    with open_dataset(str(path)) as source:
        try:
            return source.read(1, window=window.ranges)
        except RasterioIOError as error:
            raise InputError(
                f"{path} cannot be read at {window}: {error}; make or download the file again"
            ) from error


def read_classes(
    source: Any, window: Window, groups: Groups
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Classes `(y, x)`, regrouped, and where they hold."""
    try:
        values, valid = (
            source.read(1, window=window.ranges),
            source.read_masks(1, window=window.ranges) > 0,
        )
    except RasterioIOError as error:
        path = getattr(source, "src_dataset", source).name
        raise InputError(
            f"{path} cannot be read at {window}: {error}; make or download the file again"
        ) from error
    if not groups:
        return values, valid
    regrouped = values.astype(np.int64)
    for old, new in groups:
        here = values == old
        if new is None:
            valid &= ~here
        else:
            regrouped[here] = new
    return regrouped, valid


def is_value(source: Any, window: Window, value: int) -> npt.NDArray[np.bool_]:
    """`(y, x)`: where a mask holds `value`."""
    held: npt.NDArray[np.bool_] = source.read(1, window=window.ranges) == value
    return (
        held & (source.read_masks(1, window=window.ranges) > 0) if source.nodata is None else held
    )


def read_confidence(source: Any, window: Window) -> npt.NDArray[np.uint8]:
    """Percent `(y, x)`, 255 where there is none."""
    percent: npt.NDArray[np.uint8] = source.read(1, window=window.ranges)
    percent[source.read_masks(1, window=window.ranges) == 0] = NO_CONFIDENCE
    odd = percent[(percent > 100) & (percent != NO_CONFIDENCE)]
    if odd.size:
        path = getattr(source, "src_dataset", source).name
        raise InputError(
            f"{path} holds {odd[0]} at {window}; a confidence is 0 to 100, or 255 for none"
        )
    return percent
