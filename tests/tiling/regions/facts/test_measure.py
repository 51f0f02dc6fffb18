"""Facts of regions are those of their pixels on the whole raster, whatever the tiles."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod
from scipy.ndimage import label
from skimage.measure import regionprops

from tests.tiling.rasters import write
from tests.tiling.regions.drawn import MAPS, Array, ArrayPixels, Drawn, draw_values, rasters
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.regions.facts.columns import COUNTS, Layout, add_up
from tiling.regions.facts.measure import Survey, measure_regions, survey_facts
from tiling.regions.facts.region_facts import FactRows, RegionFacts
from tiling.regions.facts.sides import measure_sides

METRES = Affine(10, 0, 5e5, 0, -20, 5e6)
DEGREES = Affine(0.5, 0, 10, 0, -0.5, 75)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("facts")


def measure(
    folder: Path, numbers: Array, bands: Array, areas: PixelAreas, tile: int, work: Any = map
) -> RegionFacts:
    path = Path(write(folder / "numbers.tif", numbers.astype(np.uint32)))
    pixels = ArrayPixels(bands, np.ones(numbers.shape, bool))
    n = int(numbers.max(initial=0))
    return measure_regions(path, n, pixels, areas, len(bands), scratch=folder, tile=tile, map=work)


def number_regions(drawn: Drawn) -> tuple[Array, int]:
    """Components of a mask, in no order of place: regions may have any shape, and holes."""
    numbers, n = label(drawn.valid & (drawn.values > np.median(drawn.values) - 1))
    return numbers, n


def one_by_one(numbers: Array, n: int, bands: Array, units: Array, lengths: Any) -> dict[str, Any]:
    """The sums of each region by Python's whole numbers."""
    around, (height, width) = np.pad(numbers, 1), numbers.shape
    facts: dict[str, Any] = {
        name: [0] * n
        for name in (
            "pixels",
            "area",
            "sides",
            "perimeter",
            "row",
            "col",
            "pairs",
            "yy",
            "yx",
            "xx",
        )
    }
    facts |= {name: [[0] * n for _ in bands] for name in ("total", "square", "step")}
    for y, x in np.ndindex(height, width):
        at = int(numbers[y, x]) - 1
        if at < 0:
            continue
        for name, value in {
            "pixels": 1, "area": int(units[y, x]), "row": y, "col": x,
            "yy": y * y, "yx": y * x, "xx": x * x,
        }.items():  # fmt: skip
            facts[name][at] += value
        for v, u, metres in (
            (y - 1, x, lengths.across[y]),
            (y + 1, x, lengths.across[y + 1]),
            (y, x - 1, lengths.down[y]),
            (y, x + 1, lengths.down[y]),
        ):
            apart = around[v + 1, u + 1] != numbers[y, x]
            facts["sides"][at] += int(apart)
            facts["perimeter"][at] += int(apart) * int(metres)
            if not apart and (v > y or u > x):
                facts["pairs"][at] += 1
                for band, steps in zip(bands, facts["step"], strict=True):
                    steps[at] += (int(band[y, x]) - int(band[v, u])) ** 2
        for band, total, square in zip(bands, facts["total"], facts["square"], strict=True):
            total[at] += int(band[y, x])
            square[at] += int(band[y, x]) ** 2
    return facts


@settings(max_examples=40)
@given(drawn=rasters(20), seed=st.integers(0, 99), degrees=st.booleans())
def test_facts_are_sums_over_the_pixels_of_regions(
    folder: Path, drawn: Drawn, seed: int, degrees: bool
) -> None:
    numbers, n = number_regions(drawn)
    chance = np.random.default_rng(seed)
    most = int(chance.choice([3, 300, 2**16, 2**30]))
    bands = chance.integers(-most + 1, most, (int(chance.integers(1, 4)), *drawn.shape))
    grid = GeoBox(drawn.shape, *((DEGREES, "EPSG:4326") if degrees else (METRES, "EPSG:32633")))
    areas = PixelAreas(grid)
    found = measure(folder, numbers, bands, areas, drawn.tile, drawn.map)
    lengths = measure_sides(grid, 0, drawn.shape[0])
    units = areas.read(Window.of_shape(*drawn.shape))
    expected = one_by_one(numbers, n, bands, units, lengths)
    rows = found.read(0, n)
    for name in COUNTS:
        assert rows.counts(name).tolist() == expected[name], name
    for name, plain in (("row_row", "yy"), ("row_col", "yx"), ("col_col", "xx")):
        assert rows.words(name)[0].tolist() == expected[plain], name
    assert rows.sums[:, rows.layout.at("total")].T.tolist() == expected["total"]
    assert rows.words("square").tolist() == expected["square"]
    assert rows.words("step").tolist() == expected["step"]
    np.testing.assert_allclose(
        rows.std, [[band[numbers == one + 1].std() for one in range(n)] for band in bands],
        rtol=1e-6,
    )  # fmt: skip


@pytest.mark.slow
@settings(max_examples=20)
@given(drawn=rasters(30))
def test_shapes_are_those_of_scikit_image(folder: Path, drawn: Drawn) -> None:
    numbers, n = number_regions(drawn)
    grid = GeoBox(drawn.shape, Affine(1, 0, 5e5, 0, -1, 5e6), "EPSG:32633")
    bands = drawn.values[None]
    rows = measure(folder, numbers, bands, PixelAreas(grid), drawn.tile, drawn.map).read(0, n)
    long, short, _ = rows.axes
    for at, region in enumerate(regionprops(numbers, intensity_image=drawn.values)):
        assert rows.pixels[at] == region.area
        assert tuple(rows.box[:, at]) == region.bbox
        np.testing.assert_allclose(rows.centroid[:, at] - 0.5, region.centroid, atol=1e-9)
        np.testing.assert_allclose(rows.mean[0, at], region.intensity_mean)
        axes = 4 * np.sqrt(np.maximum([long[at] - 1 / 12, short[at] - 1 / 12], 0))
        theirs = region.axis_major_length, region.axis_minor_length
        np.testing.assert_allclose(axes, theirs, atol=1e-5)
        if axes[0] > axes[1] + 1e-6:
            # Theirs turns the other way, from the rows: both have the axis in common.
            turn = np.radians(rows.orientation[at])
            across = abs(np.sin(turn) * np.cos(region.orientation) + np.cos(turn) * np.sin(
                region.orientation
            ))  # fmt: skip
            assert across < 1e-5


@pytest.mark.parametrize("work", MAPS)
def test_the_tiles_cannot_be_seen_in_the_file(tmp_path: Path, work: Any) -> None:
    values = draw_values("hills", (61, 47), np.random.default_rng(2))
    numbers, _ = label(values > 450)
    areas = PixelAreas(GeoBox(values.shape, DEGREES, "EPSG:4326"))
    files = []
    for tile in (64, 9, 17):
        facts = measure(tmp_path, numbers, values[None], areas, tile, work)
        rows = facts.read(0, facts.n)
        words = [rows.words(name) for name in ("row_row", "row_col", "col_col", "square", "step")]
        files.append((rows.reach.tolist(), [part.tolist() for part in words], rows.area.tolist()))
        assert not list(tmp_path.glob("*-*.facts.npy"))
    assert files[0] == files[1] == files[2]


def test_the_moments_of_a_far_and_large_region_do_not_overflow() -> None:
    """Ten billion pixels of 65 535 in the far corner of a raster, as sums of tiles."""
    window = Window((1 << 24) - 8, (1 << 24) - 8, 8, 8)
    lengths = measure_sides(GeoBox((1 << 24, 8), METRES, "EPSG:32633"), window.row, 1 << 24)
    numbers, values = np.ones((10, 10), np.uint32), np.full((1, 10, 10), 65_535)
    tile = add_up(numbers, values, np.ones((8, 8), np.int64), lengths, window)
    times = 10**10 // 64
    areas = PixelAreas(GeoBox((8, 8), METRES, "EPSG:32633"))
    rows = FactRows(tile.sums * times, tile.reach, Layout(1), areas)
    assert rows.words("square")[0, 0] == 64 * times * 65_535**2 > 2**64
    assert rows.words("col_col")[0, 0] == 8 * times * sum(c * c for c in range(window.col, 1 << 24))
    assert rows.std[0, 0] == 0
    assert rows.centroid[1, 0] == (1 << 24) - 4


def test_one_line_is_long_and_points_where_it_points(tmp_path: Path) -> None:
    numbers = np.zeros((20, 20), int)
    numbers[2, 3:13] = 1
    numbers[5:15, 18] = 2
    numbers[np.arange(6, 16), np.arange(1, 11)] = 3
    areas = PixelAreas(GeoBox(numbers.shape, Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633"))
    rows = measure(tmp_path, numbers, numbers[None], areas, 7).read(0, 3)
    assert rows.orientation.tolist() == [90, 0, 135]
    np.testing.assert_allclose(rows.elongation[:2], 10)
    assert rows.perimeter.tolist() == [220, 220, 400]
    np.testing.assert_allclose(rows.compactness[0], 4 * np.pi * 10 / 22**2, rtol=1e-2)
    assert rows.texture.tolist() == [[0, 0, 0]]


def test_sides_in_degrees_are_those_of_the_ellipsoid() -> None:
    grid = GeoBox((40, 50), Affine(0.01, 0, 10, 0, -0.01, 60), "EPSG:4326")
    lengths, geod = measure_sides(grid, 0, 40), Geod(ellps="WGS84")
    _, _, down = geod.inv(10, 60, 10, 59.99)
    _, _, across = geod.inv(10, 59.8, 10.01, 59.8)
    np.testing.assert_allclose(lengths.down[0] * 1e-6, down, rtol=1e-7)
    np.testing.assert_allclose(lengths.across[20] * 1e-6, across, rtol=1e-7)
    np.testing.assert_array_equal(lengths.across[7:12], measure_sides(grid, 7, 11).across)


def test_no_regions_have_no_facts(tmp_path: Path) -> None:
    areas = PixelAreas(GeoBox((4, 5), METRES, "EPSG:32633"))
    facts = measure(tmp_path, np.zeros((4, 5), int), np.zeros((1, 4, 5), int), areas, 3)
    assert (facts.n, list(facts)) == (0, [])


def test_values_too_large_to_add_up_are_refused(tmp_path: Path) -> None:
    areas = PixelAreas(GeoBox((4, 5), METRES, "EPSG:32633"))
    with pytest.raises(InputError, match="too large to add up"):
        measure(tmp_path, np.ones((4, 5), int), np.full((1, 4, 5), 2**30), areas, 3)


def test_tasks_travel(tmp_path: Path) -> None:
    areas = PixelAreas(GeoBox((4, 5), METRES, "EPSG:32633"))
    pixels = ArrayPixels(np.zeros((4, 5)), np.ones((4, 5)))
    survey = Survey(tmp_path / "a.tif", pixels, areas, tmp_path)
    assert pickle.loads(pickle.dumps(partial(survey_facts, survey))).args[0].areas == areas
