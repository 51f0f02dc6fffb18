"""Pixels that a map is not sure of: they become a class of their own, each by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from tiling.classmaps.raster import NO_CONFIDENCE, read_band
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.profiles import BLOCK, profile_like

_BLOCK = 4 * BLOCK


def mark_unknown(
    labels: npt.NDArray[np.integer],
    confidence: npt.NDArray[np.integer],
    below: float,
    value: int,
    nodata: int | None = 0,
) -> npt.NDArray[np.integer]:
    """Labels `(y, x)` with `value` where the confidence in percent is less than `below`.

    Pixels without a confidence, 255, keep their class; those of the value `nodata` have none.

    >>> labels, confidence = np.uint8([[1, 1, 0, 2]]), np.uint8([[39, 40, 255, 255]])
    >>> mark_unknown(labels, confidence, 40, 9).tolist()
    [[9, 1, 0, 2]]
    """
    unsure = (confidence != NO_CONFIDENCE) & (confidence < below)
    if nodata is not None:
        unsure &= labels != nodata
    return np.where(unsure, labels.dtype.type(value), labels)


def write_unknown(
    classes: Path,
    confidence: Path,
    target: Path,
    window: Window,
    *,
    below: float,
    value: int,
    nodata: int | None = 0,
) -> Path:
    """Copy a class raster into a plain GeoTIFF; pixels below so many percent of confidence become
    `value`.

    `window` of the raster of confidence holds the pixels of the class raster.
    """
    with open_dataset(str(classes)) as raster:
        whole = Window.of_shape(*raster.shape)
        profile = profile_like(raster, whole)
    with rasterio.open(target, "w", **profile) as marked:
        for block in whole.blocks(_BLOCK):
            labels = read_band(classes, block)
            sure = read_band(confidence, block.shift(window.row, window.col))
            marked.write(mark_unknown(labels, sure, below, value, nodata), 1, window=block.ranges)
    return target
