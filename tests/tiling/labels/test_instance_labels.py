"""Objects as interior and boundary: from polygons and from numbers, the same for every window."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import distance_transform_cdt
from skimage.segmentation import find_boundaries

from segmentation.legend import DIRECTED
from tests.chance import chances
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels.instance_labels import (
    BACKGROUND,
    BOUNDARY,
    INTERIOR,
    ROWS_OF_SIDES,
    label_sides,
    open_instances,
)
from tiling.scene.band_names import SIDES, role_of

GRID = GeoBox((40, 50), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
WHOLE = Window.of_shape(40, 50)


def write_ids(path: Path, ids: np.ndarray, nodata: float | None = None) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=50, count=1, dtype=ids.dtype, nodata=nodata,
        crs="EPSG:32633", transform=GRID.affine,
    ) as raster:  # fmt: skip
        raster.write(ids, 1)
    return str(path)


def write_boxes(path: Path, *boxes: tuple[int, int, int, int], **columns: list[str]) -> str:
    """Rectangles of rows and columns."""
    corners = [
        (*(GRID.affine @ (left, top)), *(GRID.affine @ (right, bottom)))
        for top, left, bottom, right in boxes
    ]
    shapes = [shapely.box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32633").to_file(path)
    return str(path)


def parcels() -> np.ndarray:
    ids = np.zeros((40, 50), np.uint32)
    ids[3:20, 2:20], ids[3:20, 20:35], ids[25:40, 10:50] = 7, 70_000, 3
    return ids


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("declared", [None, 0])
def test_boundary_is_what_another_object_is_near(
    tmp_path: Path, declared: float | None, width: int
) -> None:
    labels = open_instances(write_ids(tmp_path / "i.tif", parcels(), declared), GRID, width=width)
    ids = parcels().astype(int)
    expected = np.where(ids > 0, INTERIOR, BACKGROUND)
    for number in np.unique(ids[ids > 0]):
        others = (ids > 0) & (ids != number)
        away = distance_transform_cdt(~others, "taxicab")
        expected[(ids == number) & (away <= width)] = BOUNDARY
    np.testing.assert_array_equal(labels.read(WHOLE), expected)
    assert np.count_nonzero(expected == BOUNDARY) == 2 * width * 17


def test_sides_are_called_as_segmenters_know_them() -> None:
    assert tuple(name for _, name, _ in ROWS_OF_SIDES[2:]) == DIRECTED
    assert [role_of(name) for name in DIRECTED] == list(SIDES)


def test_windows_know_the_sides_that_the_whole_has(tmp_path: Path) -> None:
    (chance,) = chances(1)
    ids = chance.integers(0, 4, (40, 50)).astype(np.uint32)
    labels = open_instances(write_ids(tmp_path / "ids.tif", ids), GRID)
    whole = labels.read(WHOLE)
    np.testing.assert_array_equal(whole, label_sides(ids))
    for window in WHOLE.blocks(7):
        np.testing.assert_array_equal(labels.read(window), whole[window.within(WHOLE)])
    for (y, x), label in np.ndenumerate(whole):
        right = x + 1 < 50 and ids[y, x + 1] not in (0, ids[y, x])
        below = y + 1 < 40 and ids[y + 1, x] not in (0, ids[y, x])
        assert label == (INTERIOR + right + 2 * below if ids[y, x] else BACKGROUND)


def test_two_objects_without_background_between_them_part_as_scikit_image_has_it(
    tmp_path: Path,
) -> None:
    ids = np.arange(1, 2001, dtype=np.uint32).reshape(40, 50) // 400 + 1
    found = open_instances(write_ids(tmp_path / "ids.tif", ids), GRID, width=1).read(WHOLE)
    edge = find_boundaries(ids.astype(int), connectivity=1, mode="inner", background=0)
    np.testing.assert_array_equal(found, np.where(edge, BOUNDARY, INTERIOR))


def test_every_window_shows_what_the_whole_shows(tmp_path: Path) -> None:
    file = write_ids(tmp_path / "ids.tif", parcels())
    boxes = write_boxes(tmp_path / "boxes.gpkg", (3, 2, 20, 20), (3, 20, 20, 35), (25, 10, 44, 60))
    (chance,) = chances(1)
    for labels in (open_instances(file, GRID, width=3), open_instances(boxes, GRID, width=3)):
        whole = labels.read(WHOLE)
        for _ in range(12):
            row, col = chance.integers(-5, 40), chance.integers(-5, 50)
            window = Window(int(row), int(col), *map(int, chance.integers(1, 25, 2)))
            expected = np.zeros(window.shape, np.uint8)
            if inside := window & WHOLE:
                expected[inside.within(window)] = whole[inside.within(WHOLE)]
            np.testing.assert_array_equal(labels.read(window), expected)


def test_polygons_say_what_numbers_say_within_their_hull(tmp_path: Path) -> None:
    boxes = write_boxes(
        tmp_path / "boxes.gpkg", (3, 2, 20, 20), (3, 20, 20, 35), (25, 10, 40, 50),
        crop=["rape", "maize", "maize"], label=["a", "b", "b"],
    )  # fmt: skip
    labels = open_instances(boxes, GRID)
    numbers = open_instances(write_ids(tmp_path / "ids.tif", parcels()), GRID).read(WHOLE)
    found = labels.read(WHOLE)
    known = found > 0
    np.testing.assert_array_equal(found[known], numbers[known])
    assert known[parcels() > 0].all()
    assert known[22, 20]  # between them
    assert not known[:2].any()  # beyond
    assert not known[38, 3]
    told = " ".join(labels.notes)
    assert "the classes in column label are not looked at" in told
    assert "convex hull of all" in told


def test_a_column_says_what_each_polygon_of_a_geopackage_is(tmp_path: Path) -> None:
    """Of those on the grid, in the order of the numbers that pixels have."""
    boxes = (-90, 0, -80, 9), (3, 2, 20, 20), (25, 10, 40, 50)
    path = write_boxes(tmp_path / "boxes.gpkg", *boxes, kind=["tank", " barn ", "shed"])
    labels = open_instances(path, GRID, column="kind")
    assert labels.kinds == ("barn", "shed")
    ids, _ = labels.ids(WHOLE)
    assert [labels.kinds[ids[row, col] - 1] for row, col in ((5, 5), (30, 30))] == ["barn", "shed"]
    assert "not looked at" not in " ".join(labels.notes)
    blank = write_boxes(tmp_path / "blank.gpkg", *boxes[1:], kind=["barn", ""])
    with pytest.raises(InputError, match="1 of 2 objects say nothing in column kind"):
        open_instances(blank, GRID, column="kind")
    with pytest.raises(InputError, match="has no column use; it has kind"):
        open_instances(path, GRID, column="use")


def test_an_extent_says_where_every_object_is_drawn(tmp_path: Path) -> None:
    boxes = write_boxes(tmp_path / "boxes.gpkg", (3, 2, 20, 20))
    extent = write_boxes(tmp_path / "extent.gpkg", (0, 0, 30, 12))
    found = open_instances(boxes, GRID, extent=extent).read(WHOLE)
    expected = np.zeros((40, 50), bool)
    expected[:30, :12], expected[3:20, 2:20] = True, True
    np.testing.assert_array_equal(found > 0, expected)


def test_pixels_of_no_data_are_unlabelled(tmp_path: Path) -> None:
    ids = parcels().astype(np.int32)
    ids[:, 45:] = -9
    found = open_instances(write_ids(tmp_path / "ids.tif", ids, -9), GRID).read(WHOLE)
    assert not found[:, 45:].any()
    assert (found[:, :45] > 0).all()


def test_what_holds_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no object of the scene"):
        open_instances(write_ids(tmp_path / "ids.tif", parcels() * 0), GRID)
    with pytest.raises(InputError, match="1 bands of float32; objects are polygons, or one band"):
        open_instances(write_ids(tmp_path / "f.tif", parcels().astype(np.float32)), GRID)
    points = gpd.GeoDataFrame(geometry=[shapely.Point(500100, 4999900)], crs="EPSG:32633")
    points.to_file(tmp_path / "points.gpkg")
    with pytest.raises(InputError, match="holds points; an object is a polygon"):
        open_instances(str(tmp_path / "points.gpkg"), GRID)
