"""Passes over tiles: every tile once, in order, whatever works on them, and each told its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from tests.tiling.rasters import write
from tiling.grid.window import Window
from tiling.regions.components import TileRegions
from tiling.regions.passes import Passes, RasterPixels, labels_at_edge


@pytest.mark.parametrize("tile", [1, 3, 4, 7, 100])
def test_tiles_cover_the_raster_once(tile: int) -> None:
    times = np.zeros((7, 10), int)
    for window in Passes.over((7, 10), tile, map).windows.values():
        times[window.within(Window.of_shape(7, 10))] += 1
    assert (times == 1).all()


def test_what_a_survey_finds_is_known_by_place() -> None:
    passes = Passes.over((5, 6), 4, map)
    assert passes.survey(lambda window: window) == dict(passes.windows)
    assert list(passes.windows) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_map_that_loses_a_result_is_noticed() -> None:
    passes = Passes.over((5, 6), 4, lambda task, items: list(map(task, items))[1:])
    with pytest.raises(ValueError, match="shorter"):
        passes.survey(lambda window: window)


def test_pixels_are_written_where_their_tile_lies(tmp_path: Path) -> None:
    like, target = tmp_path / "like.tif", tmp_path / "out.tif"
    profile = {"driver": "GTiff", "width": 40, "height": 33, "count": 1, "dtype": "uint8"}
    grid = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6), "nodata": 7}
    with rasterio.open(like, "w", **profile, **grid):
        pass
    passes = Passes.over((33, 40), 16, map)

    def place_number(context: tuple[tuple[int, int], Window]) -> np.ndarray:
        (row, col), window = context
        return np.full(window.shape, 10 * row + col, np.uint8)

    passes.write(place_number, lambda place: (place, passes.windows[place]), like, target)
    with rasterio.open(target) as out:
        rows, cols = np.indices((33, 40)) // 16
        np.testing.assert_array_equal(out.read(1), 10 * rows + cols)
        assert (out.crs, out.transform, out.nodata) == (
            "EPSG:32633",
            Affine(10, 0, 5e5, 0, -10, 5e6),
            7,
        )


def test_regions_at_the_edge_are_those_that_others_may_go_on() -> None:
    classes = np.array([[1, 1, 1, 1], [1, 2, 0, 1], [1, 1, 1, 3]], np.uint8)
    regions = TileRegions.of(classes, Window(0, 0, 3, 4), 4, 0)
    assert regions.class_id[labels_at_edge(regions)].tolist() == [1, 3]


def test_a_window_past_the_raster_is_read_with_nothing_valid_there(tmp_path: Path) -> None:
    raster = write(tmp_path / "bands.tif", [[[1, 2], [3, 0]], [[5, 6], [7, 8]]])
    values, valid = RasterPixels(Path(raster), 0, (2, 1))(Window(0, 0, 2, 2).pad(1))
    assert valid.astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert values[:, valid].tolist() == [[5, 6, 7], [1, 2, 3]]
    assert not RasterPixels(Path(raster))(Window(5, 5, 2, 2))[1].any()
