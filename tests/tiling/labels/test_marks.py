"""Marks lie where they were drawn, and are the same in every window."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import Point, box

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels import marks
from tiling.labels.marks import Marks, read_points

GRID = GeoBox((40, 50), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
WHOLE = Window.of_shape(40, 50)


def write_raster(path: Path, values: np.ndarray, grid: GeoBox = GRID, nodata: int = 255) -> str:
    height, width = values.shape[-2:]
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype,
        crs=str(grid.crs), transform=grid.affine, nodata=nodata,
    ) as raster:  # fmt: skip
        raster.write(values, 1)
    return str(path)


def write_shapes(path: Path, shapes: list[object]) -> str:
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32633").to_file(path)
    return str(path)


def place(row: float, col: float, height: float = 0, width: float = 0) -> object:
    x, y = 5e5 + 10 * col, 5e6 - 10 * row
    return box(x, y - 10 * height, x + 10 * width, y) if height else Point(x, y)


def test_values_of_a_raster_are_marks_but_for_0_and_no_data(tmp_path: Path) -> None:
    values = np.zeros((40, 50), np.uint8)
    values[3:6, 4:9], values[20, 20], values[30:, 40:] = 7, 9, 255
    numbers, marked = Marks(write_raster(tmp_path / "a.tif", values), GRID)(WHOLE)
    np.testing.assert_array_equal(numbers[0], np.where(values == 255, 0, values))
    np.testing.assert_array_equal(marked, (values > 0) & (values < 255))


def test_shapes_are_numbered_in_their_order_and_points_mark_a_pixel(tmp_path: Path) -> None:
    shapes = [place(2, 3, 4, 5), place(10.5, 20.5), place(4, 5, 4, 5)]
    numbers, _ = Marks(write_shapes(tmp_path / "a.gpkg", shapes), GRID)(WHOLE)
    expected = np.zeros((40, 50), int)
    expected[2:6, 3:8], expected[10, 20], expected[4:8, 5:10] = 1, 2, 3
    np.testing.assert_array_equal(numbers[0], expected)


def test_a_window_shows_what_the_whole_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "BLOCK", 16)
    other = GeoBox((30, 30), Affine(14.3, 0, 5e5 + 3, 0, -14.3, 5e6 + 8), "EPSG:32633")
    values = np.random.default_rng(1).integers(0, 5, (30, 30)).astype(np.uint8)
    files = [
        write_raster(tmp_path / "a.tif", values, other),
        write_shapes(tmp_path / "a.gpkg", [place(3.2, 4.7, 11.1, 22.9), place(17, 20)]),
    ]
    for file in files:
        read = Marks(file, GRID)
        whole, _ = read(Window(-5, -5, 60, 70))
        assert whole.any()
        for window in (Window(7, 3, 20, 30), Window(-2, 40, 30, 20), Window(15, 15, 2, 2)):
            numbers, marked = read(window)
            inside = window.within(Window(-5, -5, 60, 70))
            np.testing.assert_array_equal(numbers, whole[:, *inside])
            np.testing.assert_array_equal(marked, numbers[0] != 0)


def test_points_are_pixels_each_once(tmp_path: Path) -> None:
    file = write_shapes(
        tmp_path / "a.gpkg", [place(3.5, 4.5), place(3.9, 4.1), place(0, 0), place(99, 2)]
    )
    assert read_points(file, GRID) == ((3, 4), (0, 0))


def test_what_holds_no_marks_is_refused_in_one_line(tmp_path: Path) -> None:
    fractions = write_raster(tmp_path / "f.tif", np.zeros((40, 50), np.float32))
    with pytest.raises(InputError, match="marks are one band of whole numbers, or shapes"):
        Marks(fractions, GRID).check()
    empty = write_raster(tmp_path / "e.tif", np.zeros((40, 50), np.uint8))
    with pytest.raises(InputError, match="marks no pixel of the scene"):
        Marks(empty, GRID).check()
    outside = write_shapes(tmp_path / "o.gpkg", [place(500, 500, 2, 2)])
    with pytest.raises(InputError, match="lies outside the scene; give shapes of the same place"):
        Marks(outside, GRID).check()
    with pytest.raises(InputError, match="does not exist"):
        Marks(str(tmp_path / "none.gpkg"), GRID).check()
