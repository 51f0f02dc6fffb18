"""Facts about polygons: the answer of GDAL on the whole raster, whatever the tiles."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from pyproj import Geod
from rasterio import features
from rasterio.io import MemoryFile
from scipy import ndimage
from skimage import measure

from tests.chance import dense_rasters
from tiling.errors import InputError
from tiling.formats.schema import SCHEMA, schema_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.polygons import polygonise as polygons
from tiling.polygons import simplify_rounds
from tiling.polygons.faces import failing
from tiling.polygons.polygonise import polygonise

UTM = "EPSG:32633"
NORTH_UP = Affine(1, 0, 5e5, 0, -1, 5e6)
"""Whole numbers of metres: geometry in map coordinates is exact too."""

Array = npt.NDArray[Any]


@contextmanager
def raster(
    values: Array, *, nodata: float | None = None, transform: Affine = NORTH_UP, crs: str = UTM
) -> Iterator[str]:
    """The path of a GeoTIFF that holds these values."""
    height, width = values.shape
    profile = {"height": height, "width": width, "count": 1, "dtype": values.dtype}
    with MemoryFile(ext=".tif") as memory:
        with memory.open(
            driver="GTiff", crs=crs, transform=transform, nodata=nodata, **profile
        ) as out:
            out.write(values, 1)
        yield memory.name


def table(path: str | Path, **options: Any) -> pa.Table:
    """All polygons, by region."""
    return pa.Table.from_batches(
        polygonise(path, **options), schema_of(options.get("measures", ()))
    ).sort_by("region_id")


def geometries(found: pa.Table) -> Array:
    return shapely.from_wkb(found["geometry"].to_numpy())


def canonical(class_ids: Iterable[int], polygons: Array) -> list[tuple[int, bytes]]:
    """Classes and polygons as sets of points: collinear vertices, order and starting points do not
    count."""
    plain = shapely.to_wkb(shapely.normalize(shapely.simplify(polygons, 0)))
    return sorted(zip(map(int, class_ids), plain, strict=True))


def by_gdal(
    classes: Array, nodata: int | None, transform: Affine = NORTH_UP
) -> list[tuple[int, bytes]]:
    mask = None if nodata is None else classes != nodata
    found = list(features.shapes(classes, mask=mask, connectivity=4, transform=transform))
    outlines = [shapely.geometry.shape(outline) for outline, _ in found]
    return canonical([value for _, value in found], np.array(outlines, object))


def check(classes: Array, tile: int, nodata: int | None) -> pa.Table:
    """All that must hold of a raster's polygons."""
    with raster(classes) as path:
        found, whole = table(path, tile=tile, nodata=nodata), table(path, tile=64, nodata=nodata)
    shapes = geometries(found)
    assert found.equals(whole), "not a byte depends on the tiles"
    assert canonical(found["class_id"].to_pylist(), shapes) == by_gdal(classes, nodata)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes), "neighbours share their vertices"
    valid = classes.size if nodata is None else np.count_nonzero(classes != nodata)
    assert sum(found["n_pixels"].to_pylist()) == valid
    np.testing.assert_array_equal(shapely.area(shapes), found["n_pixels"].to_numpy())
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    if len(shapes):
        burnt = features.rasterize(
            zip(shapes, found["class_id"].to_pylist(), strict=True),
            classes.shape,
            fill=-1,
            transform=NORTH_UP,
            dtype="int32",
        )
        np.testing.assert_array_equal(burnt, np.where(classes == nodata, -1, classes.astype(int)))
    return found


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Array, int]:
    """A raster of 1 to 40 px and 1 to 5 classes, noisy or patchy, and a tile that cuts it into at
    most 4 × 4."""
    tile = draw(st.integers(1, 32))
    shape = draw(st.tuples(*[st.integers(1, min(40, 4 * tile))] * 2))
    n = draw(st.integers(1, 5))
    patches = draw(st.integers(1, 4))
    small = tuple(-(-length // patches) for length in shape)
    values = draw(hnp.arrays(np.uint8, small, elements=st.integers(0, n - 1), fill=st.nothing()))
    return values.repeat(patches, 0).repeat(patches, 1)[: shape[0], : shape[1]], tile


@settings(max_examples=40)
@given(cut=cuts(), nodata=st.sampled_from([None, 0]))
def test_tiles_give_the_polygons_of_the_whole_raster(
    cut: tuple[Array, int], nodata: int | None
) -> None:
    check(*cut, nodata)


@pytest.mark.slow
def test_so_they_do_where_regions_are_many_and_small() -> None:
    for classes, chance in dense_rasters(16, side=20):
        cut = classes, int(chance.integers(3, 9))
        nodata = [None, 0][int(chance.integers(2))]
        match int(chance.integers(3)):
            case 0:
                check(*cut, nodata)
            case 1:
                test_eight_connected_regions_are_those_of_the_whole_raster.hypothesis.inner_test(
                    cut, nodata
                )
            case _:
                simplify, smooth = float(chance.choice([0.0, 0.75, 3.0])), int(chance.integers(3))
                check_simplified(*cut, nodata, simplify=simplify, smooth=smooth)


def checkerboard() -> Array:
    return np.indices((17, 17)).sum(0) % 2 + 1


def spiral() -> Array:
    """One region that winds inwards through every tile, and its complement."""
    canvas = np.ones((33, 33), int)
    row, col, down, across = 0, 0, 0, 1
    canvas[0, 0] = 2
    while True:
        for _ in range(2):
            ahead = row + 2 * down, col + 2 * across
            if all(0 <= place < 33 for place in ahead) and canvas[ahead] == 1:
                break
            down, across = across, -down
        else:
            return canvas
        for _ in range(2 if canvas[ahead] == 1 else 0):
            row, col = row + down, col + across
            canvas[row, col] = 2


def nested_rings() -> Array:
    rows, cols = np.indices((31, 31))
    return np.maximum(abs(rows - 15), abs(cols - 15)) % 3 + 1


def diagonal_touches() -> Array:
    """Squares that touch in corners only, all one region by way of a frame around them."""
    board = np.kron(np.indices((6, 6)).sum(0) % 2, np.ones((3, 3), int))
    return np.pad(board, 1, constant_values=1) + 1


def river() -> Array:
    rows, cols = np.indices((40, 40))
    return (abs(rows - 20 - np.rint(12 * np.sin(cols / 5))) < 2).astype(int) + 1


HARD = {
    "checkerboard": checkerboard(),
    "spiral": spiral(),
    "nested rings": nested_rings(),
    "diagonal touches": diagonal_touches(),
    "river": river(),
    "one row": np.array([[1, 1, 2, 0, 0, 2, 1]]),
    "one column": np.array([[1], [1], [2], [0], [2]]),
    "one pixel": np.array([[3]]),
    "one class": np.full((20, 30), 4),
    "no data at all": np.zeros((9, 9), int),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("tile", [7, 16])
def test_hard_masks(name: str, tile: int) -> None:
    check(HARD[name].astype(np.uint8), tile, 0)


def test_a_region_may_have_a_hundred_thousand_holes() -> None:
    values = np.ones((633, 633), np.uint8)
    values[1:-1:2, 1:-1:2] = 2
    holes = 316 * 316
    with raster(values) as path:
        found = table(path, tile=200, max_vertices=None)
    outer = shapely.from_wkb(found["geometry"][0].as_py())
    assert len(found) == 1 + holes
    assert shapely.get_num_interior_rings(outer) == holes
    assert shapely.is_valid(outer)
    assert outer.area == values.size - holes


def test_a_spiral_is_one_polygon_and_so_is_a_ring_through_four_tiles() -> None:
    assert check(HARD["spiral"].astype(np.uint8), 8, None)["class_id"].to_pylist().count(2) == 1
    ring = np.pad(np.full((4, 4), 2, np.uint8), 3, constant_values=1)
    found = check(ring, 5, None)
    assert found["class_id"].to_pylist() == [1, 2]
    assert found["n_pixels"].to_pylist() == [84, 16]
    assert shapely.get_num_interior_rings(geometries(found)).tolist() == [1, 0]


def test_pixels_that_touch_diagonally_are_one_polygon_only_where_they_meet_elsewhere() -> None:
    apart = check(np.eye(2, dtype=np.uint8), 1, 0)
    assert apart["region_id"].to_pylist() == [0, 3]
    joined = check(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8), 1, 0)
    assert joined["region_id"].to_pylist() == [0]
    assert shapely.get_num_interior_rings(geometries(joined)).tolist() == [1], (
        "the hole touches the outside in a point"
    )


def test_where_three_regions_meet_each_has_a_vertex() -> None:
    found = check(np.array([[1, 2], [1, 3]], np.uint8), 1, None)
    meeting = [5e5 + 1, 5e6 - 1]
    assert [
        meeting in shapely.get_coordinates(outline).tolist() for outline in geometries(found)
    ] == [True] * 3


def test_zero_may_be_a_class_and_classes_may_be_large_or_negative() -> None:
    classes = np.array([[0, 0, 70000], [-5, -5, 70000]], np.int32)
    with raster(classes, nodata=-5) as path:
        assert table(path, nodata=None)["class_id"].to_pylist() == [0, 70000], (
            "what the file declares"
        )
        assert table(path)["class_id"].to_pylist() == [70000, -5], "0 unless told otherwise"
    with raster(classes) as path:
        assert table(path, nodata=None)["class_id"].to_pylist() == [0, 70000, -5]


PLACES = {
    "south-up": (UTM, Affine(10, 0, 5e5, 0, 10, 5e6)),
    "flipped in x": (UTM, Affine(-10, 0, 5e5, 0, -10, 5e6)),
    "rotated": (UTM, Affine(8, 6, 5e5, 6, -8, 5e6)),
    "not square": (UTM, Affine(30, 0, 5e5, 0, -10, 5e6)),
    "across the antimeridian": ("EPSG:4326", Affine(0.25, 0, 178, 0, -0.25, 10)),
}


def test_lines_are_judged_on_the_map_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    crs, transform = PLACES["not square"]
    asked = []

    def judged(*given: Any) -> Any:
        asked.append(given[-1])
        found = failing(*given)
        return given[2].key[:1] if len(asked) == 1 else found  # so that there is another round

    monkeypatch.setattr(simplify_rounds, "failing", judged)
    with raster(HARD["nested rings"].astype(np.uint8), crs=crs, transform=transform) as path:
        table(path, tile=64, simplify=0.75)
    assert len(asked) > 1
    assert set(asked) == {transform}


@pytest.mark.parametrize("place", PLACES)
def test_any_transform_gives_valid_polygons_in_the_rasters_crs(place: str) -> None:
    crs, transform = PLACES[place]
    classes = HARD["nested rings"].astype(np.uint8)
    with raster(classes, crs=crs, transform=transform) as path:
        shapes = geometries(table(path, tile=8))
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    exteriors = shapely.get_exterior_ring(shapes)
    assert shapely.is_ccw(exteriors).all()
    holes = shapely.get_rings(shapes)[~np.isin(shapely.get_rings(shapes), exteriors)]
    assert not shapely.is_ccw(holes).any()
    burnt = features.rasterize(
        zip(shapes, table_classes(classes), strict=True), classes.shape, transform=transform
    )
    np.testing.assert_array_equal(burnt, classes)


def table_classes(classes: Array) -> list[int]:
    with raster(classes) as path:
        return table(path, tile=8)["class_id"].to_pylist()


@pytest.mark.slow
@settings(max_examples=25)
@given(cut=cuts(), data=st.data())
def test_confidence_is_the_mean_over_pixels_that_have_one(
    cut: tuple[Array, int], data: st.DataObject
) -> None:
    classes, tile = cut
    sure = data.draw(
        hnp.arrays(np.uint8, classes.shape, elements=st.sampled_from([0, 37, 100, 255]))
    )
    with raster(classes) as path, raster(sure, nodata=255) as beside:
        found = table(path, tile=tile, nodata=None, confidence=beside)
    for shape, confidence in zip(geometries(found), found["confidence"].to_pylist(), strict=True):
        inside = features.rasterize([(shape, 1)], classes.shape, transform=NORTH_UP) == 1
        values = sure[inside & (sure != 255)]
        assert confidence == (int(values.sum()) / values.size if values.size else None)


@pytest.mark.parametrize("place", PLACES)
def test_areas_add_up_to_the_table_exactly(place: str) -> None:
    crs, transform = PLACES[place]
    classes = np.random.default_rng(1).integers(0, 4, (150, 130), np.uint8)
    areas = PixelAreas(GeoBox(classes.shape, transform, crs))
    units = areas.read(Window.of_shape(*classes.shape))
    with raster(classes, crs=crs, transform=transform) as path:
        found = table(path, tile=64)
    for value in (1, 2, 3):
        of_class = found["area_m2"].to_numpy()[found["class_id"].to_numpy() == value]
        assert of_class.sum() == units[classes == value].sum() * areas.unit


def test_all_passes_travel() -> None:
    def far_away(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            there, what = pickle.loads(pickle.dumps((function, item)))
            yield pickle.loads(pickle.dumps(there(what)))

    classes = HARD["diagonal touches"].astype(np.uint8)
    with raster(classes) as path:
        assert table(path, tile=6, map=far_away).equals(table(path, tile=6))
        some: dict[str, Any] = {"tile": 6, "simplify": 1.0, "measures": {"ramp": Ramp()}}
        assert table(path, map=far_away, **some).equals(table(path, **some))


def rows(path: str, **options: Any) -> list[tuple[Any, ...]]:
    """All rows, for features that share a region id in order of their geometry."""
    columns = pa.Table.from_batches(polygonise(path, **options), SCHEMA).to_pydict().values()
    return sorted(zip(*columns, strict=True))


def dissolved(class_ids: Array, polygons: Array, groups: Array) -> list[tuple[int, bytes]]:
    """The union of each group, in a form that depends on the set of points alone."""
    members = [groups == group for group in np.unique(groups)]
    unions = np.array([shapely.union_all(polygons[member]) for member in members], object)
    return canonical([class_ids[member][0] for member in members], unions)


@pytest.mark.slow
@settings(max_examples=25)
@given(cut=cuts(), nodata=st.sampled_from([None, 0]))
def test_eight_connected_regions_are_those_of_the_whole_raster(
    cut: tuple[Array, int], nodata: int | None
) -> None:
    classes, tile = cut
    labels = measure.label(
        classes.astype(int) + 1, connectivity=2, background=-1 if nodata is None else 1
    )
    with raster(classes) as path:
        found = rows(path, tile=tile, nodata=nodata, connectivity=8)
        assert found == rows(path, tile=64, nodata=nodata, connectivity=8)
        fours = table(path, tile=64, nodata=nodata)
    region, class_id, n_pixels, *_, geometry = (
        map(np.array, zip(*found, strict=True)) if found else [np.empty(0)] * 7
    )
    inside = labels.ravel() > 0
    _, first, count = np.unique(labels.ravel()[inside], return_index=True, return_counts=True)
    first = np.flatnonzero(inside)[first]
    assert sorted(zip(region, n_pixels, strict=True)) == sorted(zip(first, count, strict=True))
    shapes = shapely.from_wkb(geometry) if found else np.empty(0, object)
    assert (shapely.get_type_id(shapes) == shapely.GeometryType.MULTIPOLYGON).all()
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    own = fours["region_id"].to_numpy()
    groups = (
        first[np.searchsorted(np.unique(labels.ravel()[inside]), labels.ravel()[own])]
        if len(own)
        else own
    )
    expected = (
        dissolved(fours["class_id"].to_numpy(), geometries(fours), groups) if len(own) else []
    )
    assert dissolved(class_id, shapes, region) == expected if found else not expected


def test_a_diagonal_of_pixels_is_one_region_across_the_corners_of_tiles() -> None:
    with raster(np.eye(6, dtype=np.uint8)[:, ::-1]) as path:
        assert [row[:3] for row in rows(path, tile=1, connectivity=8)] == [(5, 1, 6)]
        assert len(rows(path, tile=1, connectivity=4)) == 6


@pytest.mark.slow
@settings(max_examples=25)
@given(cut=cuts(), most=st.integers(4, 60), connectivity=st.sampled_from([4, 8]))
def test_regions_too_large_are_cut_along_the_fixed_grid(
    cut: tuple[Array, int], most: int, connectivity: int
) -> None:
    classes, tile = cut
    options: dict[str, Any] = {"nodata": 0, "connectivity": connectivity}
    with pytest.MonkeyPatch.context() as patch, raster(classes) as path:
        patch.setattr(polygons, "CUT", 16)
        whole = rows(path, tile=64, max_vertices=None, **options)
        found = rows(path, tile=tile, max_vertices=most, **options)
        assert found == rows(path, tile=64, max_vertices=most, **options)
    shapes = shapely.from_wkb([row[-1] for row in found])
    assert shapely.coverage_is_valid(shapes)
    for region, class_id, n_pixels, area, _, _, outline in whole:
        pieces = [row for row in found if row[0] == region]
        assert {row[1] for row in pieces} == {class_id}
        assert sum(row[2] for row in pieces) == n_pixels
        assert sum(row[3] for row in pieces) == area
        drawn, original = shapely.from_wkb([row[-1] for row in pieces]), shapely.from_wkb(outline)
        assert shapely.union_all(drawn).equals(original)
        west, south, east, north = original.bounds
        cells = (
            {(b[0] - 5e5) // 16 for b in shapely.bounds(drawn)},
            {(5e6 - b[3]) // 16 for b in shapely.bounds(drawn)},
        )
        # rings are closed, and a region has no more rings than that
        if shapely.get_num_coordinates(original) > 2 * most:
            assert (np.diff(shapely.bounds(drawn).reshape(-1, 2, 2), axis=1) <= 16).all()
        if len(pieces) > 1:
            assert shapely.get_num_coordinates(original) > most
            assert east - west > 16 - (west - 5e5) % 16 or north - south > 16 - (5e6 - north) % 16
            assert len(cells[0]) * len(cells[1]) > 1


def test_a_straight_line_at_a_cut_has_a_vertex_whoever_is_cut() -> None:
    classes = np.ones((8, 40), np.uint8)
    classes[4:, 14:18] = 2
    with pytest.MonkeyPatch.context() as patch, raster(classes) as path:
        patch.setattr(polygons, "CUT", 16)
        found = table(path, max_vertices=7)
    assert found["region_id"].to_pylist() == [0, 0, 0, 4 * 40 + 14]
    assert [5e5 + 16, 5e6 - 4] in shapely.get_coordinates(geometries(found)[-1]).tolist()


@dataclass(frozen=True)
class Ramp:
    """Something that rises by 3 a row and 1 a column, and is missing where it would be 7."""

    missing: int = 7
    scale: float = 10.0

    def __call__(self, window: Window) -> npt.NDArray[np.int32]:
        rows, cols = np.indices(window.shape, np.int32)
        return 3 * (rows + window.row) + cols + window.col - 5


@settings(max_examples=15)
@given(cut=cuts())
def test_measures_are_means_over_pixels_that_have_one(cut: tuple[Array, int]) -> None:
    classes, tile = cut
    values = Ramp()(Window.of_shape(*classes.shape))
    with raster(classes) as path:
        found = table(path, tile=tile, nodata=None, measures={"ramp": Ramp()})
    assert found.column_names[-2:] == ["ramp_mean", "geometry"]
    for shape, mean in zip(geometries(found), found["ramp_mean"].to_pylist(), strict=True):
        inside = features.rasterize([(shape, 1)], classes.shape, transform=NORTH_UP) == 1
        some = values[inside & (values != 7)]
        assert mean == (int(some.sum()) / some.size / 10 if some.size else None)


def test_perimeters_are_metres_on_the_ground() -> None:
    classes = np.ones((30, 40), np.uint8)
    classes[10:20, 10:30] = 2
    with raster(classes, transform=Affine(30, 0, 5e5, 0, -10, 5e6)) as path:
        inner = 2 * (20 * 30 + 10 * 10)
        assert table(path)["perimeter_m"].to_pylist() == [2 * (40 * 30 + 30 * 10) + inner, inner]
    with raster(classes, crs="+proj=utm +zone=33 +datum=WGS84 +units=us-ft") as path:
        # US survey feet
        np.testing.assert_allclose(table(path)["perimeter_m"].to_numpy()[1], 60 * 1200 / 3937)
    with raster(classes, crs="EPSG:4326", transform=Affine(0.25, 0, 170, 0, -0.25, -40)) as path:
        found = table(path)
    # a line along a parallel is no geodesic
    drawn = shapely.segmentize(shapely.boundary(geometries(found)), 1)
    expected = [Geod(ellps="WGS84").geometry_length(outline) for outline in drawn]
    np.testing.assert_allclose(found["perimeter_m"].to_numpy(), expected, rtol=1e-12)


def check_simplified(classes: Array, tile: int, nodata: int | None, **options: Any) -> None:
    with raster(classes) as path:
        found, whole = (
            table(path, tile=tile, nodata=nodata, **options),
            table(path, tile=64, nodata=nodata, **options),
        )
        exact = table(path, tile=64, nodata=nodata)
        everything = table(path, tile=64, nodata=None, **options)
    assert found.equals(whole), "not a byte depends on the tiles"
    for column in ("region_id", "class_id", "n_pixels", "area_m2", "confidence"):
        assert found[column].equals(exact[column])
    shapes = geometries(found)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()
    rows, cols = classes.shape
    filled = shapely.coverage_union_all(geometries(everything))
    assert filled.equals(shapely.box(5e5, 5e6 - rows, 5e5 + cols, 5e6)), (
        "neither gap nor moved frame"
    )
    if nodata is None:
        assert found.equals(everything)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    cut=cuts(),
    nodata=st.sampled_from([None, 0]),
    simplify=st.sampled_from([0.0, 0.75, 3.0]),
    smooth=st.integers(0, 2),
)
def test_simplified_tiles_are_the_simplified_whole(
    cut: tuple[Array, int], nodata: int | None, simplify: float, smooth: int
) -> None:
    check_simplified(*cut, nodata, simplify=simplify, smooth=smooth)


@pytest.mark.parametrize("name", HARD)
def test_hard_masks_simplified(name: str) -> None:
    check_simplified(HARD[name].astype(np.uint8), 9, 0, simplify=2.0, smooth=1)


def test_simplified_regions_may_be_cut_and_gathered_too() -> None:
    rough = np.random.default_rng(3).random((60, 60))
    classes = (ndimage.gaussian_filter(rough, 2) > 0.5).astype(np.uint8) + 1
    options: dict[str, Any] = {"simplify": 1.0, "max_vertices": 100, "connectivity": 8}
    with pytest.MonkeyPatch.context() as patch, raster(classes) as path:
        patch.setattr(polygons, "CUT", 16)
        found = rows(path, tile=24, **options)
        assert found == rows(path, tile=64, **options)
    assert len(found) > len({row[0] for row in found}), "some region is cut"
    assert shapely.coverage_is_valid(shapely.from_wkb([row[-1] for row in found]))


def test_crossing_regions_are_the_same_in_few_and_many_buckets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classes = np.random.default_rng(2).integers(0, 2, (60, 60), np.uint8)
    with raster(classes) as path:
        at_once = table(path, tile=20, nodata=None)
        monkeypatch.setattr(polygons, "BUCKET_VERTICES", 50)
        assert sum(1 for _ in polygonise(path, tile=20, nodata=None)) > 9 + 5
        assert table(path, tile=20, nodata=None).equals(at_once)


def test_a_real_land_cover_map_equals_gdals(shared_data: Path) -> None:
    path = shared_data / "chesapeake_md_multires" / "m_3907833_nw_17_1_lc.tif"
    with rasterio.open(path) as source:
        classes, transform = source.read(1), source.transform
    found = table(path, tile=100, nodata=None)
    plain = shapely.area(geometries(found)) / abs(transform.determinant)
    np.testing.assert_allclose(plain, found["n_pixels"].to_numpy(), rtol=1e-9)
    in_pixels = shapely.transform(
        geometries(found),
        lambda xy: (
            np.rint((xy - [transform.c, transform.f]) / [transform.a, transform.e]) + 0.0
        ),  # no -0
    )
    assert canonical(found["class_id"].to_pylist(), in_pixels) == by_gdal(
        classes, None, Affine.identity()
    )


@pytest.mark.parametrize(
    ("values", "fact"),
    [(np.zeros((2, 2), np.float32), "float32"), (np.zeros((2, 2), np.uint64), "uint64")],
)
def test_what_is_no_class_raster_is_refused_by_name(values: Array, fact: str) -> None:
    with raster(values) as path, pytest.raises(InputError, match=f"{path}.*{fact}.*gdal_translate"):
        polygonise(path)


def test_numbers_of_32_bits_without_a_sign_become_polygons_as_far_as_a_column_holds_them() -> None:
    numbers = np.array([[1, 1, 2], [0, 2, 2]], np.uint32)
    with raster(numbers) as path, raster(numbers.astype(np.int32)) as signed:
        assert table(path, tile=2).equals(table(signed))
    numbers[0, 0] = 2**31
    with raster(numbers) as path, pytest.raises(InputError, match="2147483648"):
        table(path)


def test_several_bands_no_crs_and_no_file_are_refused_by_name(
    tmp_path: Path, shared_data: Path
) -> None:
    with pytest.raises(InputError, match=r"RGB\.byte\.tif holds 3 × uint8"):
        polygonise(shared_data / "odd_tiffs_rasterio" / "RGB.byte.tif")
    with (
        raster(np.ones((2, 2), np.uint8), crs="") as path,
        pytest.raises(InputError, match="has no CRS"),
    ):
        polygonise(path)
    with pytest.raises(InputError, match=r"missing\.tif does not exist"):
        polygonise(tmp_path / "missing.tif")


def test_confidence_of_another_grid_is_refused() -> None:
    with (
        raster(np.ones((4, 4), np.uint8)) as path,
        raster(np.ones((4, 5), np.uint8)) as other,
        pytest.raises(InputError, match=r"4 × 5 px.*must be uint8.*4 × 4 px"),
    ):
        polygonise(path, confidence=other)


def test_a_block_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    values = np.random.default_rng(0).integers(0, 9, (512, 512), np.uint8)
    profile = {
        "height": 512,
        "width": 512,
        "count": 1,
        "dtype": "uint8",
        "compress": "deflate",
        "tiled": True,
    }
    with rasterio.open(path, "w", driver="GTiff", crs=UTM, transform=NORTH_UP, **profile) as out:
        out.write(values, 1)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(
        InputError, match=r"cut\.tif cannot be read at rows 256–511, columns 256–511"
    ):
        table(path, tile=256)


def test_a_raster_is_read_once(tmp_path: Path) -> None:
    path, passes = tmp_path / "changing.tif", []
    profile = {
        "height": 8,
        "width": 8,
        "count": 1,
        "dtype": "uint8",
        "crs": UTM,
        "transform": NORTH_UP,
    }

    def write(values: Array) -> None:
        with rasterio.open(path, "w", driver="GTiff", **profile) as out:
            out.write(values, 1)

    def changing(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        done = [function(item) for item in items]
        passes.append(function)
        write(np.eye(8, dtype=np.uint8) + 1)
        return done

    write(np.ones((8, 8), np.uint8))
    (found,) = polygonise(path, tile=3, map=changing)
    assert len(passes) > 2
    assert found["n_pixels"].to_pylist() == [64]


def test_nothing_is_left_and_little_travels(tmp_path: Path) -> None:
    sizes: list[int] = []

    def measured(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            result = function(item)
            sizes.append(len(pickle.dumps(result)))
            yield result

    classes = np.random.default_rng(0).integers(0, 5, (256, 256), np.uint8)
    with raster(classes) as path:
        found = table(path, tile=128, nodata=None, map=measured, scratch=tmp_path)
    seam, passes_over_tiles = 128 * 4, 2
    assert found["geometry"].nbytes > 4_000_000
    assert sum(sizes) < 4 * passes_over_tiles * 40 * seam, "borders and names of files, no geometry"
    assert not list(tmp_path.iterdir())
