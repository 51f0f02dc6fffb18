"""Fields of two crops on drawn images of four years: what each is worth is known."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from tests.tiling.rasters import UTM, write

DAYS = ("2021-06-10", "2022-06-15", "2023-06-12", "2024-05-01", "2024-06-14")
NAMES = ("red", "nir", "swir16")
SHAPE = 96, 120
SIDE = 20
"""Of a field, in pixels of 10 m; fields lie edge to edge in four rows of six."""
WEAK, PATCHY, DRY = 5, 8, 15
"""Numbers of fields from 0: one weak on the last date, one a quarter of which is bare then, and one
that is dry."""
CLOUDY, AWAY, TINY = 21, 24, 25
"""One that is mostly under cloud on the last date, one beyond the images, one of four pixels."""


def draw_images(folder: Path) -> list[str]:
    """Images of five dates whose fields differ a little from each other and from year to year."""
    rng = np.random.default_rng(3)
    level = rng.uniform(-0.02, 0.02, (len(DAYS), 4, 6)) + rng.uniform(-0.02, 0.02, (4, 6))
    files = []
    for number, day in enumerate(DAYS):
        green = 0.6 + level[number] + rng.choice([0.0, 0.01])
        wet = np.full((4, 6), 0.3)
        if number == len(DAYS) - 1:
            green[divmod(WEAK, 6)], wet[divmod(DRY, 6)] = 0.3, -0.1
        ndvi, ndmi = (np.kron(one, np.ones((SIDE, SIDE))) for one in (green, wet))
        ndvi = np.pad(ndvi, ((0, SHAPE[0] - 4 * SIDE), (0, SHAPE[1] - 6 * SIDE)), mode="edge")
        ndmi = np.pad(ndmi, ((0, SHAPE[0] - 4 * SIDE), (0, SHAPE[1] - 6 * SIDE)), mode="edge")
        ndvi += rng.normal(0, 0.01, SHAPE)
        if number == len(DAYS) - 1:
            row, col = (SIDE * part for part in divmod(PATCHY, 6))
            ndvi[row : row + SIDE // 2, col : col + SIDE // 2] = 0.1
        nir = np.full(SHAPE, 0.4)
        bands = [nir * (1 - ndvi) / (1 + ndvi), nir, nir * (1 - ndmi) / (1 + ndmi)]
        pixels = np.rint(np.stack(bands) * 10_000).astype("uint16")
        if number == len(DAYS) - 1:
            row, col = (SIDE * part for part in divmod(CLOUDY, 6))
            pixels[:, row : row + SIDE, col : col + 15] = 0
        path = folder / f"image_{day}.tif"
        files.append(write(path, pixels, names=NAMES, scale=1e-4, nodata=0, crs=UTM))
    return files


def draw_fields(path: Path) -> None:
    """The fields as a layer: wheat in the upper rows, maize below, one whose crop is not known."""
    boxes = [
        shapely.box(col * SIDE, row * SIDE, (col + 1) * SIDE, (row + 1) * SIDE)
        for row in range(4)
        for col in range(6)
    ]
    boxes += [shapely.box(-50, -50, -30, -30), shapely.box(3, 82, 5, 84)]
    placed = shapely.transform(
        np.array(boxes, object), lambda xy: xy * [10, -10] + [500_000, 5_000_000]
    )
    crops = ["wheat"] * 12 + ["maize"] * 11 + [None, "wheat", "wheat"]
    names = [f"plot {number}" for number in range(len(boxes))]
    gpd.GeoDataFrame({"plot": names, "crop": crops}, geometry=placed, crs=UTM).to_file(path)
