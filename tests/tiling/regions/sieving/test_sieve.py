"""Facts about the minimum mapping unit: GDAL's answer by GDAL's rule, no small region by ours,
whatever the tiles."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from rasterio import features
from scipy.ndimage import uniform_filter

from tests.chance import chances, dense_rasters
from tests.scenes import read
from tests.tiling.rasters import label, write
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.regions.sieving.rule import Rule
from tiling.regions.sieving.sieve import sieve

Array = npt.NDArray[Any]
RULES: tuple[Rule, ...] = ("longest-border", "largest")


@st.composite
def rasters(draw: st.DrawFn) -> tuple[Array, int]:
    """A class raster of up to 40 × 40 px, noise or patches, and a tile of which it holds at most 3
    × 3."""
    tile = draw(st.integers(1, 32))
    side = st.integers(1, min(40, 3 * tile))
    shape = draw(st.tuples(side, side))
    if draw(st.booleans()):
        return draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3))), tile
    seed, classes = draw(st.integers(0, 9999)), draw(st.integers(1, 5))
    random = np.random.default_rng(seed)
    values = random.random(shape)
    return np.uint8(
        (uniform_filter(values, 3) if draw(st.booleans()) else values) * classes * 1.5
    ), tile


def sieve_array(folder: Path, classes: Array, **options: Any) -> Array:
    """Sieved on disk and read back."""
    options = {"unit": "pixels", **options}
    return read(sieve(write(folder / "classes.tif", classes), folder / "sieved.tif", **options))


def by_gdal(classes: Array, minimum: int, nodata: int | None) -> Array:
    mask = None if nodata is None else classes != nodata
    return features.sieve(classes, minimum, mask=mask, connectivity=4)


def valid_parts(classes: Array, nodata: int | None) -> Array:
    """4-connected parts of the valid pixels."""
    return label(
        np.zeros_like(classes) if nodata is None else (classes == nodata).astype(np.uint8)
    )[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sieve")


@settings(max_examples=20)
@given(drawn=rasters(), minimum=st.integers(1, 14), nodata=st.sampled_from([None, 0]))
def test_the_largest_neighbour_is_gdals(
    folder: Path, drawn: tuple[Array, int], minimum: int, nodata: int | None
) -> None:
    classes, tile = drawn
    found = sieve_array(folder, classes, minimum=minimum, rule="largest", nodata=nodata, tile=tile)
    # rasterio refuses a size that the raster does not reach; GDAL itself would change nothing then
    expected = by_gdal(classes, minimum, nodata) if minimum < classes.size else classes
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@settings(max_examples=20)
@given(drawn=rasters(), minimum=st.integers(1, 14), nodata=st.sampled_from([None, 0]))
def test_by_longest_border_only_islands_stay_small(
    folder: Path, drawn: tuple[Array, int], minimum: int, nodata: int | None
) -> None:
    classes, tile = drawn
    found = sieve_array(folder, classes, minimum=minimum, nodata=nodata, tile=tile)
    whole = sieve_array(folder, classes, minimum=minimum, nodata=nodata, tile=64)
    np.testing.assert_array_equal(found, whole, "the tiles cannot be seen")

    if nodata is not None:
        np.testing.assert_array_equal(
            found == nodata, classes == nodata, "no data stays and takes nothing"
        )
    labels, first = label(found)
    size = np.bincount(labels.ravel())
    parts = valid_parts(classes, nodata)
    alone = size == np.bincount(parts.ravel())[parts.ravel()[first]]
    valid = np.ones(first.size, bool) if nodata is None else found.ravel()[first] != nodata
    assert (alone | (size >= minimum))[valid].all()

    labels, first = label(classes)
    large = (np.bincount(labels.ravel()) >= minimum)[labels]
    np.testing.assert_array_equal(found[large], classes[large], "what is large enough stays")
    assert set(np.unique(found)) <= set(np.unique(classes))
    np.testing.assert_array_equal(
        sieve_array(folder, found, minimum=minimum, nodata=nodata, tile=tile), found
    )


@pytest.mark.slow
def test_both_rules_hold_where_regions_are_many_and_small(folder: Path) -> None:
    for classes, chance in dense_rasters(20):
        drawn, minimum = (classes, int(chance.integers(2, 9))), int(chance.integers(2, 8))
        nodata = [None, 0][int(chance.integers(2))]
        test_the_largest_neighbour_is_gdals.hypothesis.inner_test(folder, drawn, minimum, nodata)
        test_by_longest_border_only_islands_stay_small.hypothesis.inner_test(
            folder, drawn, minimum, nodata
        )


@pytest.mark.parametrize("tile", [1, 2, 3, 7])
def test_the_longest_border_wins_over_the_largest_neighbour(tmp_path: Path, tile: int) -> None:
    classes = np.array(
        [[1, 1, 1, 1, 1, 1, 1],
         [1, 1, 1, 1, 1, 1, 1],
         [2, 2, 3, 3, 2, 2, 1],
         [2, 2, 3, 3, 2, 2, 1],
         [2, 2, 2, 2, 2, 2, 1]], np.uint8
    )  # fmt: skip
    options = {"minimum": 5, "tile": tile}
    assert set(sieve_array(tmp_path, classes, **options)[2:4, 2:4].flat) == {2}, (
        "six sides of 2, two sides of 1"
    )
    assert set(sieve_array(tmp_path, classes, rule="largest", **options)[2:4, 2:4].flat) == {1}, (
        "19 px of 1, 12 px of 2"
    )


@pytest.mark.parametrize("tile", [1, 2, 5])
def test_equal_borders_are_decided_by_size_then_by_raster_order(tmp_path: Path, tile: int) -> None:
    larger = np.array([[1, 1, 3, 2, 2, 2]], np.uint8)
    assert sieve_array(tmp_path, larger, minimum=2, tile=tile).tolist() == [[1, 1, 2, 2, 2, 2]]
    earlier = np.array([[2, 2, 3, 1, 1]], np.uint8)
    assert sieve_array(tmp_path, earlier, minimum=2, tile=tile).tolist() == [[2, 2, 2, 1, 1]]
    above = np.array([[5, 5, 5], [7, 3, 7], [7, 7, 7]], np.uint8)
    assert sieve_array(tmp_path, above, minimum=2, tile=tile).tolist() == [
        [5, 5, 5],
        [7, 7, 7],
        [7, 7, 7],
    ]


@pytest.mark.parametrize("tile", [1, 2, 5])
def test_of_two_that_point_at_each_other_the_larger_wins_then_the_first(
    tmp_path: Path, tile: int
) -> None:
    for classes, winner in (
        ([1, 2], 1),
        ([2, 1], 2),
        ([1, 2, 2], 2),
        ([1, 1, 2], 1),
        ([2, 2, 1, 1], 2),
    ):
        found = sieve_array(tmp_path, np.array([classes], np.uint8), minimum=5, tile=tile)
        assert found.tolist() == [[winner] * len(classes)], classes
        down = sieve_array(tmp_path, np.array([classes], np.uint8).T, minimum=5, tile=tile)
        assert down.ravel().tolist() == [winner] * len(classes), classes


@pytest.mark.parametrize("tile", [2, 4, 9])
def test_a_small_region_follows_a_small_one_to_a_large_one(tmp_path: Path, tile: int) -> None:
    ring = np.pad(np.array([[4]], np.uint8), 1, constant_values=3)
    classes = np.pad(ring, 3, constant_values=1)
    for rule in RULES:
        assert set(sieve_array(tmp_path, classes, minimum=9, rule=rule, tile=tile).flat) == {1}


@pytest.mark.parametrize("tile", [1, 2, 8])
def test_two_halves_of_a_small_island_become_one_and_stay(tmp_path: Path, tile: int) -> None:
    classes = np.zeros((6, 6), np.uint8)
    classes[2:4, 2], classes[2:4, 3], classes[3, 4] = 1, 2, 2
    absorbed = np.where(classes > 0, 2, 0)
    np.testing.assert_array_equal(sieve_array(tmp_path, classes, minimum=10, tile=tile), absorbed)
    kept = sieve_array(tmp_path, classes, minimum=10, rule="largest", tile=tile)
    np.testing.assert_array_equal(
        kept, classes, "GDAL leaves small regions that point at each other"
    )


@pytest.mark.parametrize("tile", [1, 2, 3, 8])
def test_two_halves_too_small_together_go_to_the_neighbour(tmp_path: Path, tile: int) -> None:
    classes = np.full((8, 8), 1, np.uint8)
    classes[2:5, 3], classes[2:5, 4] = 2, 3
    once = np.where(classes > 1, 1, classes)
    np.testing.assert_array_equal(sieve_array(tmp_path, classes, minimum=7, tile=tile), once)


def test_a_piece_of_a_large_region_stays_though_its_tile_holds_two_pixels(tmp_path: Path) -> None:
    classes = np.full((8, 8), 1, np.uint8)
    classes[3:5, :6] = 2
    for rule in RULES:
        for tile in (1, 2, 4, 5):
            found = sieve_array(tmp_path, classes, minimum=12, rule=rule, tile=tile)
            np.testing.assert_array_equal(found, classes)


def test_a_border_has_the_length_of_its_pixels_sides(tmp_path: Path) -> None:
    # one side to 1 above, one to 2 on the left
    corner = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [2, 2, 2, 9]], np.uint8)

    def absorbing(
        classes: Array, width: float, height: float, crs: str = "EPSG:32633", north: float = 5e6
    ) -> int:
        path = write(
            tmp_path / "in.tif", classes, crs=crs, transform=Affine(width, 0, 10, 0, -height, north)
        )
        return int(read(sieve(path, tmp_path / "out.tif", minimum=2, unit="pixels"))[-1, -1])

    assert absorbing(corner, 10, 10) == 1, "square pixels: the larger one"
    assert absorbing(corner, 1, 10) == 2, "tall pixels: the one on the left"
    assert absorbing(corner.T, 10, 10) == 1
    assert absorbing(corner.T, 10, 1) == 2, "wide pixels: the one above"
    assert absorbing(corner, 1e-4, 1e-4, "EPSG:4326", north=0) == 1, (
        "a degree is as wide as high at the equator"
    )
    assert absorbing(corner, 1e-4, 1e-4, "EPSG:4326", north=60) == 2, "and half as wide there"


def test_sizes_are_areas_on_the_ground(tmp_path: Path) -> None:
    classes = np.full((400, 60), 1, np.uint8)
    classes[20:25, 20:24], classes[370:375, 20:24] = 2, 3
    transform = Affine(0.1, 0, 10, 0, -0.1, 60)
    path = write(tmp_path / "classes.tif", classes, crs="EPSG:4326", transform=transform)
    areas = PixelAreas(GeoBox(classes.shape, transform, "EPSG:4326"))
    north, south = (areas.read(Window(row, 20, 5, 4)).sum() * areas.unit for row in (20, 370))
    assert north < south
    for minimum, classes_left in (
        (north, {1, 2, 3}),
        (np.nextafter(north, south), {1, 3}),
        (south * 1.01, {1}),
    ):
        for tile in (64, 97):
            found = read(sieve(path, tmp_path / "sieved.tif", minimum=minimum, tile=tile))
            assert set(np.unique(found)) == classes_left


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32"])
def test_classes_of_any_integer_type_stay_what_they_are(tmp_path: Path, dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    classes = np.full((20, 20), high, dtype)
    classes[3:5, 3:5], classes[10:, 10:] = 7, low
    found = sieve_array(tmp_path, classes, minimum=5, nodata=None)
    assert found.dtype == classes.dtype
    np.testing.assert_array_equal(found, np.where(classes == 7, high, classes))


def test_nodata_is_what_the_file_declares(tmp_path: Path) -> None:
    classes = np.full((6, 6), 1, np.uint8)
    classes[:, 3], classes[2, 4] = 9, 2
    path = write(tmp_path / "classes.tif", classes, nodata=9)
    with rasterio.open(
        sieve(path, tmp_path / "sieved.tif", minimum=30, unit="pixels", nodata=None)
    ) as found:
        assert found.nodata == 9
        assert found.transform == rasterio.open(path).transform
        np.testing.assert_array_equal(found.read(1), np.where(classes == 2, 1, classes))


def test_nothing_but_no_data_stays(tmp_path: Path) -> None:
    nothing = np.zeros((9, 9), np.uint8)
    for rule in RULES:
        np.testing.assert_array_equal(
            sieve_array(tmp_path, nothing, minimum=100, rule=rule, tile=4), nothing
        )


def elsewhere(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """A map whose function and items travel, as they do to another process."""
    for item in items:
        yield pickle.loads(
            pickle.dumps(pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(item))))
        )


def test_the_work_may_be_done_elsewhere(tmp_path: Path) -> None:
    classes = np.random.default_rng(3).integers(0, 4, (40, 40)).astype(np.uint8)
    for rule in RULES:
        here, there = (
            sieve_array(tmp_path, classes, minimum=6, rule=rule, tile=16, map=work)
            for work in (map, elsewhere)
        )
        np.testing.assert_array_equal(here, there)


def test_what_travels_does_not_grow_with_the_tile_but_with_its_border(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(1, 4, (256, 256)).astype(np.uint8)
    largest: dict[int, int] = {}

    def measured(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            result = function(item)
            if not isinstance(result, np.ndarray):
                largest[tile] = max(largest.get(tile, 0), len(pickle.dumps(result)))
            yield result

    for tile in (32, 128):
        sieve_array(tmp_path, classes, minimum=3, tile=tile, map=measured)
    assert largest[128] < 6 * largest[32], "4 times the border, 16 times the pixels"


def test_real_land_cover_is_sieved_as_by_gdal(shared_data: Path, tmp_path: Path) -> None:
    path = next((shared_data / "chesapeake_md_multires").glob("*_lc.tif"))
    with rasterio.open(path) as source:
        classes = source.read(1, window=((0, 700), (0, 700)))
    for tile in (256, 1024):
        found = sieve_array(tmp_path, classes, minimum=50, rule="largest", nodata=None, tile=tile)
        np.testing.assert_array_equal(found, by_gdal(classes, 50, None))


def test_what_is_no_class_raster_is_refused_in_one_sentence(tmp_path: Path) -> None:
    floats = write(tmp_path / "floats.tif", np.zeros((4, 4), np.float32))
    with pytest.raises(
        InputError, match=r"floats.tif holds 1 × float32; a class raster has one band of integers"
    ):
        sieve(floats, tmp_path / "out.tif", minimum=5, unit="pixels")
    with pytest.raises(InputError, match="does not exist"):
        sieve(tmp_path / "missing.tif", tmp_path / "out.tif", minimum=5)
    unplaced = write(tmp_path / "unplaced.tif", np.ones((4, 4), np.uint8), crs=None)
    with pytest.raises(InputError, match="without a CRS has no areas"):
        sieve(unplaced, tmp_path / "out.tif", minimum=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["floats.tif", "unplaced.tif"], (
        "nothing half-written"
    )


@pytest.mark.parametrize("tile", [9, 64])
def test_with_groups_each_is_sieved_as_if_it_were_alone(tmp_path: Path, tile: int) -> None:
    (rng,) = chances(1)
    classes = rng.integers(0, 4, (30, 40)).astype(np.int32)
    group = rng.integers(1, 4, (6, 8)).repeat(5, axis=0).repeat(5, axis=1)
    together = np.where(classes > 0, 4 * group + classes, 0).astype(np.int32)
    found = sieve_array(tmp_path, together, minimum=6, tile=tile, within=4)
    for one in range(1, 4):
        alone = np.where(group == one, together, 0).astype(np.int32)
        expected = sieve_array(tmp_path, alone, minimum=6, tile=tile)
        np.testing.assert_array_equal(np.where(group == one, found, 0), expected)
    assert (found != sieve_array(tmp_path, together, minimum=6, tile=tile)).any()
