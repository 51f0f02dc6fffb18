"""Regions are numbered 1 … n in raster order of their first pixels, whatever the tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from odc.geo.geobox import GeoBox
from scipy.ndimage import label

from tests.scenes import read
from tests.tiling.regions.drawn import Array, ArrayPixels, Drawn, draw_values, mosaic, rasters
from tiling.grid.window import Window
from tiling.regions.labelling import LabelFiles, TileLabels, write_numbers
from tiling.regions.passes import Passes
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import AreaBelow
from tiling.regions.watershed.drowning import flood_relief


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels")


def leave(folder: Path, ids: Array, tile: int) -> LabelFiles:
    """Labels of a raster whose ids `(y, x)` are known, by tile."""
    labels = LabelFiles(folder, ids.shape, tile)
    for window in Passes.over(ids.shape, tile, map).windows.values():
        distinct, rank = np.unique(
            ids[window.within(Window.of_shape(*ids.shape))], return_inverse=True
        )
        labels.write(window, TileLabels.of(distinct, rank.reshape(window.shape)))
    return labels


def number_one_by_one(ids: Array) -> Array:
    numbers: dict[int, int] = {-1: 0}
    for one in ids.ravel().tolist():
        numbers.setdefault(one, len(numbers))
    return np.array([numbers[one] for one in ids.ravel().tolist()]).reshape(ids.shape)


@settings(max_examples=40)
@given(drawn=rasters())
def test_numbers_follow_first_pixels(folder: Path, drawn: Drawn) -> None:
    """Whatever their ids, which say nothing of their place here."""
    parts, n = label(drawn.valid & (drawn.values > 0), np.ones((3, 3)))
    chance = np.random.default_rng(n)
    ids = np.append(-1, 3 * chance.permutation(n))[parts]
    grid = GeoBox(ids.shape, Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    labels, target = leave(folder, ids, drawn.tile), folder / "numbers.tif"
    assert write_numbers(labels, grid, target, map=drawn.map) == n
    np.testing.assert_array_equal(read(target), number_one_by_one(ids))


def test_numbers_lie_on_the_grid(tmp_path: Path) -> None:
    grid = GeoBox((5, 7), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    write_numbers(leave(tmp_path, np.zeros((5, 7), int), 3), grid, tmp_path / "numbers.tif")
    with rasterio.open(tmp_path / "numbers.tif") as found:
        assert (found.dtypes, found.nodata, found.crs, found.transform) == (
            ("uint32",),
            0,
            "EPSG:32633",
            grid.affine,
        )


def test_a_region_that_a_tile_has_no_pixel_of_does_not_begin_in_it() -> None:
    labels = TileLabels.of(np.array([8, 5, 3, -1]), np.array([[0, 2], [-1, 0]]))
    assert labels.ids.tolist() == [3, 8]
    assert labels.pixels.tolist() == [[8, 3], [-1, 8]]


@pytest.mark.parametrize("tile", [7, 16])
def test_what_is_left_of_a_flood_has_as_many_numbers_as_regions(tmp_path: Path, tile: int) -> None:
    values = draw_values("hills", (50, 60), np.random.default_rng(2))
    relief = Relief(ArrayPixels(values, np.ones(values.shape, bool)), values.shape, tmp_path)
    labels = flood_relief(relief, AreaBelow(20), tile=tile)
    grid = GeoBox(values.shape, Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    write_numbers(labels, grid, tmp_path / "numbers.tif")
    np.testing.assert_array_equal(read(tmp_path / "numbers.tif"), number_one_by_one(mosaic(labels)))
