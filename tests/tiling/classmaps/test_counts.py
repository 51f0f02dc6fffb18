from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Geod

from tiling.classmaps.counts import TallyBlock, tally
from tiling.grid.window import Window


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """Degrees, so that rows differ in area."""
    path = tmp_path / "classes.tif"
    values = np.random.default_rng(1).integers(0, 4, (300, 200), np.uint8)
    with rasterio.open(
        path, "w", driver="GTiff", height=300, width=200, count=1, dtype="uint8", crs="EPSG:4326",
        transform=Affine(0.01, 0, 10, 0, -0.01, 60),
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path


@pytest.mark.parametrize("size", [23, 64, 1000])
def test_tallies_of_blocks_add_up_to_the_tally_of_the_whole(raster: Path, size: int) -> None:
    window = Window.of_shape(300, 200)
    whole = tally(TallyBlock(raster, window))
    parts = reduce(add, (tally(TallyBlock(raster, block)) for block in window.blocks(size)))
    assert np.array_equal(whole.pixels, parts.pixels)
    assert np.array_equal(whole.units, parts.units)


def test_all_classes_together_cover_the_raster(raster: Path) -> None:
    total = tally(TallyBlock(raster, Window.of_shape(300, 200))).square_metres.sum()
    lon = [10 + 2 * i / 400 for i in range(401)]
    outline, _ = Geod(ellps="WGS84").polygon_area_perimeter(
        lon + lon[::-1], [57.0] * 401 + [60.0] * 401
    )
    assert total == pytest.approx(abs(outline), rel=1e-5)
