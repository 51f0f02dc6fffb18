"""Labels: class rasters, polygons and points on a scene's grid."""

from __future__ import annotations

import warnings
from itertools import combinations
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels.open_labels import open_labels
from tiling.labels.vector_labels import ShapeLabels, class_column

UTM = "EPSG:32633"
GRID = GeoBox((40, 60), Affine(10, 0, 500_000, 0, -10, 5_300_000), UTM)
WHOLE = Window.of_shape(40, 60)


def write_classes(
    path: Path,
    codes: np.ndarray,
    *,
    pixel: float = 10,
    nodata: float | None = None,
    west: float = 500_000,
    second: np.ndarray | None = None,
    **options: str | None,
) -> Path:
    bands = [codes] if second is None else [codes, second]
    with rasterio.open(
        path, "w", driver="GTiff", height=codes.shape[0], width=codes.shape[1], count=len(bands),
        dtype=codes.dtype,
        transform=Affine(pixel, 0, west, 0, -pixel, 5_300_000), nodata=nodata,
        **{"crs": UTM} | options,
    ) as target:  # fmt: skip
        target.write(np.stack(bands))
    return path


def place(row: float, col: float) -> tuple[float, float]:
    return GRID.affine @ (col, row)


def box(row: int, col: int, height: int, width: int) -> shapely.Polygon:
    return shapely.box(*place(row + height, col), *place(row, col + width))


def write_shapes(path: Path, shapes: list, crs: str = UTM, **columns: list) -> Path:
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=UTM).to_crs(crs).to_file(path)
    return path


@pytest.fixture
def codes() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 5, (40, 60)).astype(np.uint8)


def test_a_raster_on_the_grid_is_itself(tmp_path: Path, codes: np.ndarray) -> None:
    labels = open_labels(write_classes(tmp_path / "l.tif", codes), GRID)
    assert np.array_equal(labels.read(WHOLE), codes)
    assert [value for value, _, _ in labels.rows] == [1, 2, 3, 4]


def test_windows_are_parts_of_the_whole_and_nothing_lies_beyond(
    tmp_path: Path, codes: np.ndarray
) -> None:
    labels = open_labels(write_classes(tmp_path / "l.tif", codes), GRID)
    around = labels.read(WHOLE.pad(3))
    assert np.array_equal(around[3:-3, 3:-3], codes)
    assert around.sum() == codes.sum(dtype=int)


def test_a_coarser_raster_is_laid_on_by_nearest_neighbour(
    tmp_path: Path, codes: np.ndarray
) -> None:
    labels = open_labels(write_classes(tmp_path / "l.tif", codes[:20, :30], pixel=20), GRID)
    assert np.array_equal(labels.read(WHOLE), codes[:20, :30].repeat(2, 0).repeat(2, 1))


def test_of_a_much_finer_raster_the_most_frequent_class_counts(tmp_path: Path) -> None:
    fine = np.ones((160, 240), np.uint8)
    fine[::4] = 2  # a quarter of each pixel, and the nearest to its upper edge
    fine[:4, :4] = 2
    labels = open_labels(write_classes(tmp_path / "l.tif", fine, pixel=2.5), GRID).read(WHOLE)
    assert labels[0, 0] == 2
    assert (labels == 1).sum() == labels.size - 1


def test_values_that_do_not_fit_are_numbered_in_their_order(
    tmp_path: Path, codes: np.ndarray
) -> None:
    foreign = codes.astype(np.int16) * 1000
    labels = open_labels(write_classes(tmp_path / "l.tif", foreign), GRID)
    assert np.array_equal(labels.read(WHOLE), codes)
    assert [name for _, name, _ in labels.rows] == ["1000", "2000", "3000", "4000"]


def test_regrouped_values_join_and_only_named_ones_count(tmp_path: Path, codes: np.ndarray) -> None:
    path = write_classes(tmp_path / "l.tif", codes)
    joined = open_labels(path, GRID, regroup={4: 3}).read(WHOLE)
    assert np.array_equal(joined, np.minimum(codes, 3))
    named = open_labels(path, GRID, classes={1: "Water", 3: "Trees"}, regroup={4: 3})
    assert np.array_equal(named.read(WHOLE), np.where(codes == 2, 0, np.minimum(codes, 3)))
    assert [row[:2] for row in named.rows] == [(1, "Water"), (3, "Trees")]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ((0, 1, 2), (1, 2)),
        ((0, 1), (0, 1)),
        ((0, 255), (0, 255)),
        ((0, 1, 2, 255), (1, 2)),
        ((0, 1, 255), (0, 1)),
    ],
)
def test_without_no_data_custom_decides_and_says_so(
    tmp_path: Path, values: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    codes = np.resize(np.array(values, np.uint8), (40, 60))
    labels = open_labels(write_classes(tmp_path / "l.tif", codes), GRID)
    assert np.array_equal(labels.read(WHOLE) > 0, np.isin(codes, kept))
    assert len(labels.notes) == len(values) - len(kept)


def test_declared_no_data_is_unlabelled_and_0_a_class(tmp_path: Path, codes: np.ndarray) -> None:
    codes[codes == 4] = 0
    labels = open_labels(write_classes(tmp_path / "l.tif", codes, nodata=3), GRID)
    assert np.array_equal(labels.read(WHOLE), np.choose(codes, [1, 2, 3, 0]))
    assert [name for _, name, _ in labels.rows] == ["0", "1", "2"]


def test_polygons_are_burnt_as_rasterio_burns_them_whatever_the_window(tmp_path: Path) -> None:
    shapes = [shapely.Point(place(12, 15)).buffer(73), shapely.Point(place(25, 40)).buffer(91)]
    path = write_shapes(tmp_path / "s.gpkg", shapes, label=["forest", "water"])
    labels = open_labels(path, GRID)
    expected = rasterize(
        zip(shapes, (1, 2), strict=True), (40, 60), transform=GRID.affine, dtype="uint8"
    )
    assert np.array_equal(labels.read(WHOLE), expected)
    for window in WHOLE.blocks(7):
        assert np.array_equal(labels.read(window), expected[window.within(WHOLE)])
    assert [row[:2] for row in labels.rows] == [(1, "forest"), (2, "water")]


def test_polygons_of_another_crs_land_where_they_lie(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(5, 5, 10, 10), box(20, 30, 8, 4)], "EPSG:4326", lc=[7, 9]
    )
    found = open_labels(path, GRID).read(WHOLE)
    expected = np.zeros((40, 60), np.uint8)
    expected[5:15, 5:15], expected[20:28, 30:34] = 7, 9
    assert np.array_equal(found, expected)


def test_what_two_classes_claim_has_no_label(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(0, 0, 10, 10), box(5, 5, 10, 10), box(5, 5, 3, 3)], kind=[1, 2, 2]
    )
    found = open_labels(path, GRID, column="kind").read(WHOLE)
    assert np.all(found[5:10, 5:10] == 0)
    assert np.all(found[10:15, 10:15] == 2)
    assert np.all(found[:5, :10] == 1)


def test_points_and_specks_label_the_pixel_they_lie_in(tmp_path: Path) -> None:
    shapes = [
        shapely.Point(place(3.1, 4.9)),
        shapely.Point(place(8.8, 2.2)).buffer(1),
        box(30, 30, 2, 2),
    ]
    found = open_labels(
        write_shapes(tmp_path / "s.gpkg", shapes, cls=["a", "b", "c"]), GRID, column="cls"
    ).read(WHOLE)
    assert (found[3, 4], found[8, 2], np.count_nonzero(found)) == (1, 2, 6)


def test_each_shape_owns_its_pixels(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg",
        [box(0, 0, 4, 4), box(10, 10, 5, 5)],
        **{"class": ["a", "a"], "n": [1, 2]},
    )
    labels = open_labels(path, GRID, column="class")
    assert isinstance(labels, ShapeLabels)
    owners = labels.owners(WHOLE)
    assert (np.count_nonzero(owners == 1), np.count_nonzero(owners == 2)) == (16, 25)


def test_names_give_values_to_words(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(0, 0, 4, 4), box(9, 9, 4, 4)], label=["Water", "forest"]
    )
    labels = open_labels(path, GRID, classes={5: "Forest", 1: "water"})
    assert set(np.unique(labels.read(WHOLE))) == {0, 1, 5}
    assert labels.read(WHOLE)[9, 9] == 5


def test_numbers_kept_as_text_are_the_numbers(tmp_path: Path) -> None:
    shapes = [box(0, 10 * n, 4, 4) for n in range(5)]
    path = write_shapes(tmp_path / "s.gpkg", shapes, label=["1", " 2", "3", "10", "012"])
    labels = open_labels(
        path, GRID, classes={1: "One", 3: "Three", 10: "Ten", 12: "Twelve"}, regroup={2: 1}
    )
    assert labels.read(WHOLE)[0, ::10].tolist() == [1, 1, 3, 10, 12, 0]
    assert [row[:2] for row in labels.rows] == [
        (1, "One"),
        (3, "Three"),
        (10, "Ten"),
        (12, "Twelve"),
    ]


@pytest.mark.parametrize("classes", [["b", None, "", "  ", "a"], [2.0, None, None, None, 1.0]])
def test_shapes_without_a_class_are_left_out_and_counted(tmp_path: Path, classes: list) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(0, 10 * n, 4, 4) for n in range(5)], label=classes
    )
    labels = open_labels(path, GRID)
    assert labels.read(WHOLE)[0, ::10].tolist() == [2, 0, 0, 0, 1, 0]
    assert labels.notes == (f"{path}: 3 shapes without a class are left out",)
    none = write_shapes(tmp_path / "none.gpkg", [box(0, 0, 4, 4)], label=[" "])
    with pytest.raises(InputError, match=r"none\.gpkg: column label is empty; name another"):
        open_labels(none, GRID, column="label")


def test_words_that_differ_in_capitals_alone_are_one_class_named_as_most_often(
    tmp_path: Path,
) -> None:
    words = ["Forest", "forest", "water", "forest ", "WATER"]
    path = write_shapes(tmp_path / "s.gpkg", [box(0, 10 * n, 4, 4) for n in range(5)], label=words)
    labels = open_labels(path, GRID)
    assert labels.read(WHOLE)[0, ::10].tolist() == [1, 1, 2, 1, 2, 0]
    assert [row[:2] for row in labels.rows] == [(1, "forest"), (2, "water")]
    assert labels.notes == (
        f"{path}: Forest, forest differ in capitals alone and count as one class, forest",
        f"{path}: water, WATER differ in capitals alone and count as one class, water",
    )


def test_of_a_polygon_with_a_spike_its_area_alone_is_burnt(tmp_path: Path) -> None:
    ring = [
        place(*corner)
        for corner in ((5, 5), (5, 15), (10, 15), (10, 50), (10, 15), (15, 15), (15, 5))
    ]
    flat = shapely.Polygon([place(30, 5), place(30, 50), place(30, 20)])
    path = write_shapes(
        tmp_path / "s.gpkg", [shapely.Polygon(ring), box(20, 5, 4, 4), flat], label=["a", "b", "b"]
    )
    labels = open_labels(path, GRID, column="label")
    expected = np.zeros((40, 60), np.uint8)
    expected[5:15, 5:15], expected[20:24, 5:9] = 1, 2
    assert np.array_equal(labels.read(WHOLE), expected)
    assert labels.notes == (f"{path}: 1 shape without an area is left out",)
    with pytest.raises(
        InputError, match=r"flat\.gpkg holds polygons that have no area; draw them anew"
    ):
        open_labels(write_shapes(tmp_path / "flat.gpkg", [flat], label=["a"]), GRID, column="label")


@pytest.mark.filterwarnings("error")
def test_metres_that_are_called_degrees_are_a_mistake_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "labels.gpkg"
    geopandas.GeoDataFrame(
        {"class": [1, 2]}, geometry=[box(0, 0, 5, 5), box(9, 9, 5, 5)], crs="EPSG:4326"
    ).to_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            InputError, match="lie outside EPSG:4326, which has degrees; the CRS is probably wrong"
        ):
            open_labels(path, GRID)


def test_empty_geometries_are_left_out_without_a_warning(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(0, 0, 4, 4), shapely.Polygon(), None], label=["a", "b", "b"]
    )
    assert [row[:2] for row in open_labels(path, GRID, column="label").rows] == [(1, "a")]
    with pytest.raises(InputError, match=r"none\.gpkg holds no shapes"):
        open_labels(
            write_shapes(tmp_path / "none.gpkg", [shapely.Polygon(), None], label=["a", "b"]), GRID
        )


def frame(**columns: list) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        columns, geometry=[shapely.Point(i, i) for i in range(4)], crs=UTM
    )


def test_the_class_column_is_found_where_it_is_obvious() -> None:
    assert (
        class_column(
            "f", frame(id=[1, 2, 3, 4], Class_Name=["a", "a", "b", "c"], area=[0.5, 1, 2, 3])
        )
        == "Class_Name"
    )
    assert class_column("f", frame(fid=[1, 2, 3, 4], kultur=["a", "a", "b", "c"])) == "kultur"
    assert class_column("f", frame(LULC=[1.0, 2.0, 2.0, 1.0], area=[0.5, 1, 2, 3])) == "LULC"


def test_a_column_of_one_class_is_found_where_no_other_tells_shapes_apart() -> None:
    assert (
        class_column("f", frame(id=[1, 1, 1, 1], area=[0.5, 1, 2, 3], **{"class": ["a"] * 4}))
        == "class"
    )
    assert class_column("f", frame(type=["a"] * 4, soil=[1, 1, 2, 2])) == "soil"
    with pytest.raises(InputError, match="no column is plainly"):
        class_column("f", frame(type=["a"] * 4, soil=[1, 1, 2, 2], crop=[2, 1, 2, 1]))


def test_where_none_is_obvious_the_columns_are_named() -> None:
    with pytest.raises(InputError, match="one of soil, crop with --column soil"):
        class_column("f", frame(soil=[1, 1, 2, 2], crop=[2, 1, 2, 1]))
    with pytest.raises(InputError, match="no column water; it has soil"):
        class_column("f", frame(soil=[1, 1, 2, 2]), "water")


def test_colours_are_those_a_reader_expects(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(0, 0, 4, 4), box(9, 9, 4, 4)], label=["Deep water", "Oak forest"]
    )
    colours = {name: colour for _, name, colour in open_labels(path, GRID).rows}
    assert colours == {"Deep water": "#3b7dd8", "Oak forest": "#2f7d3b"}


def test_classes_that_would_share_a_colour_get_their_own(tmp_path: Path) -> None:
    names = ["grass A", "grass B", "herbs", "forested wetland", "emergent wetland", "x", "y"]
    path = write_shapes(
        tmp_path / "s.gpkg", [box(5 * n, 0, 4, 4) for n in range(len(names))], label=names
    )
    colours = {name: bytes.fromhex(colour[1:]) for _, name, colour in open_labels(path, GRID).rows}
    assert colours["grass A"] == bytes.fromhex("a8d36a")
    assert colours["forested wetland"] == bytes.fromhex("2f7d3b")
    apart = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        for one, other in combinations(colours.values(), 2)
    ]
    assert min(apart) > 30**2


def test_a_class_without_a_name_that_says_its_colour_is_told_from_the_named(tmp_path: Path) -> None:
    path = write_shapes(
        tmp_path / "s.gpkg", [box(5 * n, 0, 4, 4) for n in range(2)], label=["grass", "something"]
    )
    one, other = (bytes.fromhex(colour[1:]) for _, _, colour in open_labels(path, GRID).rows)
    assert one == bytes.fromhex("a8d36a")
    assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 30**2


def test_mistakes_name_the_file_and_the_mend(tmp_path: Path, codes: np.ndarray) -> None:
    far = write_shapes(tmp_path / "far.gpkg", [shapely.Point(0, 0)], label=["a"])
    floats = write_classes(tmp_path / "float.tif", codes.astype(np.float32))
    plain = write_classes(tmp_path / "plain.tif", codes)
    empty = write_classes(tmp_path / "empty.tif", np.full((40, 60), 9, np.uint8), nodata=9)
    for path, options, said in (
        (far, {"column": "label"}, "far.gpkg lies outside the scene"),
        (floats, {}, "float.tif holds float32 values"),
        (plain, {"column": "x"}, "plain.tif is a raster and has no column x"),
        (plain, {"regroup": {9: 1}}, "--regroup 9=.* it has 1, 2, 3, 4"),
        (plain, {"classes": {8: "x"}}, "--classes 8=.* it has 1, 2, 3, 4"),
        (empty, {}, "empty.tif labels no pixel"),
        (tmp_path / "no.gpkg", {}, "no.gpkg does not exist"),
        (
            plain,
            {"nodata": 300},
            "--labels-nodata 300: .*plain.tif holds uint8, integers from 0 to 255; give",
        ),
        (plain, {"nodata": float("nan")}, "--labels-nodata nan: .*plain.tif holds uint8"),
        (plain, {"nodata": 1.5}, "--labels-nodata 1.5: .*plain.tif holds uint8"),
    ):
        with pytest.raises(InputError, match=said):
            open_labels(path, GRID, **options)


def test_real_polygons_become_the_raster_their_makers_published(shared_data: Path) -> None:
    folder = shared_data / "landsat7_chiapas_polygons"
    with rasterio.open(folder / "training_data.gtif") as source:
        grid = GeoBox((source.height, source.width), source.transform, source.crs.to_wkt())
        published = source.read(1)
    found = open_labels(folder / "training_data.shp", grid).read(Window.of_shape(*published.shape))
    assert np.array_equal(found > 0, published > 0)
    # Their columns `id` and `class` contradict each other on two polygons; forest, water and
    # herbaceous agree.
    for ours, theirs in ((2, 1), (5, 2), (3, 3)):
        assert np.array_equal(found == ours, published == theirs)
