"""Small scenes drawn for tests: smooth patches of plausible reflectance with holes of no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from scipy.ndimage import zoom

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
UTM = "EPSG:32633"


def draw_pixels(height: int, width: int, seed: int = 0, patch: int = 16) -> np.ndarray:
    """`(6, height, width) uint16` reflectance × 10000, 0 = no data in a wedge and in a few single
    pixels."""
    rng = np.random.default_rng(seed)
    spectra = np.array(  # water, forest, grass, soil, town
        [[400, 350, 250, 150, 80, 50], [250, 450, 300, 3000, 1400, 700], [500, 900, 700, 3800, 2300,
        1300],
         [900, 1300, 1700, 2400, 3100, 2600], [1300, 1500, 1600, 2000, 2100, 1900]]
    )  # fmt: skip
    coarse = rng.integers(0, len(spectra), (height // patch + 2, width // patch + 2))
    classes = zoom(coarse, patch, order=0)[:height, :width]
    pixels = spectra[classes].transpose(2, 0, 1) * rng.normal(1, 0.1, (6, height, width))
    pixels = pixels.clip(1, 60_000).astype(np.uint16)
    rows, cols = np.mgrid[:height, :width]
    pixels[:, cols > 0.9 * width + 0.2 * rows] = 0
    if height * width > 100:
        pixels[:, rng.integers(0, height, 5), rng.integers(0, width, 5)] = 0
    return pixels


def write_scene(
    path: Path,
    pixels: np.ndarray,
    *,
    names: tuple[str, ...] = BANDS,
    crs: str = UTM,
    resolution: float = 10.0,
) -> Path:
    """Write a GeoTIFF with band names, scale 0.0001 and no data 0."""
    count, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=pixels.dtype,
        crs=crs,
        transform=Affine(resolution, 0, 500_000, 0, -resolution, 5_300_000),
        nodata=0,
        tiled=height >= 16 and width >= 16,
        blockxsize=64,
        blockysize=64,
    ) as target:
        target.write(pixels)
        target.descriptions = names[:count]
        target.scales = (1e-4,) * count
    return path


def draw_scene(path: Path, height: int, width: int, seed: int = 0) -> Path:
    """A drawn scene on disk."""
    return write_scene(path, draw_pixels(height, width, seed))


def read(path: Path, band: int = 1) -> np.ndarray:
    """One band of a raster."""
    with rasterio.open(path) as source:
        return source.read(band)


def read_beneath(whole: rasterio.DatasetReader, part: rasterio.DatasetReader) -> np.ndarray:
    """The first band of a raster where another one lies that was cut from the same grid."""
    window = rasterio.windows.from_bounds(*part.bounds, transform=whole.transform)
    return whole.read(1, window=window.round_offsets().round_lengths())
