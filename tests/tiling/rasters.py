"""Small rasters drawn for a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from tiling.grid.window import Window
from tiling.regions.components import TileRegions

UTM = "EPSG:32633"


def write(
    path: Path,
    pixels: Any,
    *,
    crs: str | None = UTM,
    transform: Any = None,
    size: float = 10,
    names: Sequence[str] = (),
    colours: Sequence[str] = (),
    mask: Any = None,
    scale: float = 1,
    offset: float = 0,
    **profile: Any,
) -> str:
    """A GeoTIFF of `(band, y, x)` or `(y, x)` pixels whose upper left corner is at 500 000 / 5 000
    000."""
    pixels = np.asarray(pixels)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    count, height, width = pixels.shape
    profile = {"tiled": True, "blockxsize": 16, "blockysize": 16, **profile}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=pixels.dtype,
        crs=crs,
        transform=transform or from_origin(500_000, 5_000_000, size, size),
        **profile,
    ) as dataset:
        if colours:
            dataset.colorinterp = [ColorInterp[colour] for colour in colours]
        dataset.write(pixels)
        if names:
            dataset.descriptions = tuple(names)
        if (scale, offset) != (1, 0):
            dataset.scales, dataset.offsets = [scale] * count, [offset] * count
        if mask is not None:
            dataset.write_mask(np.asarray(mask))
    return str(path)


def noise(*shape: int, seed: int = 0, low: int = 1, high: int = 200, dtype: str = "uint8") -> Any:
    """Pixels without two alike neighbours, none 0."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def label(classes: Any) -> tuple[Any, Any]:
    """4-connected regions of equal class: labels `(y, x)` 0 … n - 1, and the flat index of each
    first pixel."""
    found = TileRegions.of(classes, Window.of_shape(*classes.shape), classes.shape[1], None)
    return found.labels, found.ids
