"""Images of six dates and zones on them, drawn for tests of series."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from tests.tiling.rasters import UTM, write

DAYS = ("2023-05-03", "2023-06-01", "2023-06-01", "2023-07-20", "2023-08-30", "2024-05-12")
NAMES = ("green", "red", "nir", "swir16")
SHAPE = 70, 90
SIZE = 10


def draw_images(folder: Path) -> list[str]:
    """Images with holes, each of blocks of 16 pixels, two of one day."""
    rng = np.random.default_rng(4)
    files = []
    for number, day in enumerate(DAYS):
        pixels = rng.integers(300, 5000, (4, *SHAPE)).astype("uint16")
        pixels[:, 30:50] = 1000 + 400 * np.arange(4)[:, None, None] + 10 * number  # flat
        pixels[:, rng.random(SHAPE) < 0.3] = 0
        pixels[:, :8, :8] = 0
        path = folder / f"image{number}_{day}.tif"
        files.append(write(path, pixels, names=NAMES, scale=1e-4, nodata=0, crs=UTM))
    return files


def draw_zones(path: Path) -> list[shapely.Polygon]:
    """Discs and boxes in pixels, as a layer; one without a valid pixel, one half outside, one
    away."""
    rng = np.random.default_rng(5)
    shapes = [shapely.Point(*rng.uniform(12, 60, 2)).buffer(rng.uniform(0.4, 15)) for _ in range(8)]
    shapes += [shapely.box(1, 1, 6.5, 7), shapely.box(80.5, 20, 99, 44.25)]
    shapes += [shapely.box(-30, -30, -20, -20)]
    placed = [
        shapely.transform(one, lambda xy: xy * [SIZE, -SIZE] + [500_000, 5_000_000])
        for one in shapes
    ]
    names = [f"field {number}" for number in range(len(shapes))]
    gpd.GeoDataFrame({"name": names}, geometry=placed, crs=UTM).to_file(path)
    return shapes
