"""Zones are the components that SciPy finds on the whole raster, whatever the tiles."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from tests.chance import chances
from tests.tiling.regions.drawn import (
    Array,
    ArrayPixels,
    Drawn,
    count_rows,
    mosaic,
    rasters,
    seam_pixels,
)
from tiling.grid.window import Window
from tiling.regions.zones import (
    Connectivity,
    Link,
    Parted,
    Within,
    Zones,
    find_zones,
    link_all,
    survey,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zones")


def first_pixels(labels: Array) -> Array:
    """Each component of `scipy.ndimage.label` called by its first pixel, -1 for the ground."""
    _, first, of = np.unique(labels, return_index=True, return_inverse=True)
    return np.where(labels > 0, first[of].reshape(labels.shape), -1)


def by_scipy(mask: Array, connectivity: int) -> Array:
    return first_pixels(label(mask, np.ones((3, 3)) if connectivity == 8 else None)[0])


def by_spreading(
    drawn: Drawn, tolerance: int, connectivity: int, sides: Array | None = None
) -> Array:
    """Pixel by pixel: whoever is not reached yet, in raster order, spreads to all it is linked to:
    by their values, or by those `(2, y, x)` of right and lower sides."""
    (height, width), values, valid = drawn.shape, drawn.values, drawn.valid

    def parted(y: int, x: int, v: int, u: int) -> int:
        if sides is None:
            return abs(int(values[v, u]) - int(values[y, x]))
        return int(sides[abs(v - y), min(y, v), min(x, u)])

    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)] if connectivity == 8 else []
    zone = np.full(drawn.shape, -1)
    for first in range(height * width):
        stack = [divmod(first, width)]
        if not valid.flat[first] or zone.flat[first] >= 0:
            continue
        zone.flat[first] = first
        while stack:
            y, x = stack.pop()
            for down, right in steps:
                v, u = y + down, x + right
                if not (0 <= v < height and 0 <= u < width) or zone[v, u] >= 0:
                    continue
                if valid[v, u] and parted(y, x, v, u) <= tolerance:
                    zone[v, u] = first
                    stack.append((v, u))
    return zone


@settings(max_examples=40)
@given(drawn=rasters(), connectivity=st.sampled_from([4, 8]))
def test_zones_of_a_mask_are_scipys_components(
    folder: Path, drawn: Drawn, connectivity: int
) -> None:
    mask = drawn.valid & (drawn.values > 0)
    zones = Zones(ArrayPixels(drawn.values, mask), drawn.shape, folder, link_all, connectivity)
    found = mosaic(find_zones(zones, tile=drawn.tile, map=drawn.map))
    np.testing.assert_array_equal(found, by_scipy(mask, connectivity))


@settings(max_examples=40)
@given(drawn=rasters(24), tolerance=st.integers(0, 60), connectivity=st.sampled_from([4, 8]))
def test_quasi_flat_zones_are_what_spreads_by_steps_within_the_tolerance(
    folder: Path, drawn: Drawn, tolerance: int, connectivity: int
) -> None:
    zones = Zones(drawn.pixels, drawn.shape, folder, Within(tolerance), connectivity)
    found = mosaic(find_zones(zones, tile=drawn.tile, map=drawn.map))
    np.testing.assert_array_equal(found, by_spreading(drawn, tolerance, connectivity))


@settings(max_examples=40)
@given(drawn=rasters(24), tolerance=st.integers(0, 60), seed=st.integers(0, 999))
def test_where_sides_part_zones_are_what_spreads_across_the_others(
    folder: Path, drawn: Drawn, tolerance: int, seed: int
) -> None:
    sides = np.random.default_rng(seed).integers(0, 70, (2, *drawn.shape))
    pixels = ArrayPixels(sides, drawn.valid)
    zones = Zones(pixels, drawn.shape, folder, Parted(tolerance))
    found = mosaic(find_zones(zones, tile=drawn.tile, map=drawn.map))
    np.testing.assert_array_equal(found, by_spreading(drawn, tolerance, 4, sides))


@pytest.mark.slow
def test_zones_hold_where_they_are_many_and_wind_through_seams(tmp_path: Path) -> None:
    for chance in chances(25):
        values = chance.integers(0, 6, chance.integers(8, 20, 2))
        drawn = Drawn(values, chance.random(values.shape) > 0.1, int(chance.integers(2, 8)), map)
        for connectivity in (4, 8):
            zones = Zones(drawn.pixels, drawn.shape, tmp_path, Within(1), connectivity)
            found = mosaic(find_zones(zones, tile=drawn.tile))
            np.testing.assert_array_equal(found, by_spreading(drawn, 1, connectivity))


@pytest.mark.parametrize("turned", [0, 1, 2, 3])
def test_a_seam_is_told_wherever_one_side_of_it_is_not_linked_along(
    tmp_path: Path, turned: int
) -> None:
    values = np.rot90([[0, 50], [0, 50], [25, 25], [25, 25]], turned)
    pixels = ArrayPixels(values, np.ones(values.shape, bool))
    found = find_zones(Zones(pixels, values.shape, tmp_path, Within(25)), tile=2)
    assert not mosaic(found).any()


def test_every_band_has_to_be_within_the_tolerance(tmp_path: Path) -> None:
    bands = np.array([[[5, 6, 6]], [[1, 1, 9]]])
    zones = Zones(ArrayPixels(bands, np.ones((1, 3), bool)), (1, 3), tmp_path, Within(1))
    assert mosaic(find_zones(zones, tile=1)).tolist() == [[0, 0, 2]]


def test_a_difference_of_small_unsigned_numbers_does_not_wrap(tmp_path: Path) -> None:
    pixels = ArrayPixels(np.array([[0, 255, 254]], np.uint8), np.ones((1, 3), bool))
    found = find_zones(Zones(pixels, (1, 3), tmp_path, Within(1)), tile=2)
    assert mosaic(found).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("link", [link_all, Within(0)])
def test_a_calm_raster_tells_a_few_rows_for_each_side_of_a_tile(
    tmp_path: Path, link: Link, connectivity: Connectivity
) -> None:
    shape, tile = (128, 192), 32
    pixels = ArrayPixels(np.zeros(shape, int), np.ones(shape, bool))
    zones = Zones(pixels, shape, tmp_path, link, connectivity)
    find_zones(zones, tile=tile)
    tiles = (shape[0] // tile) * (shape[1] // tile)
    assert count_rows(tmp_path, ".survey.npy") <= 8 * 2 * tiles


def test_the_roughest_raster_tells_a_bounded_number_for_each_pixel_of_a_seam(
    tmp_path: Path,
) -> None:
    shape, tile = (96, 96), 16
    board = np.indices(shape).sum(0) % 2
    zones = Zones(ArrayPixels(board, np.ones(shape, bool)), shape, tmp_path, Within(0), 8)
    find_zones(zones, tile=tile)
    sides = seam_pixels(shape, tile) + sum(shape)
    assert count_rows(tmp_path, ".survey.npy") <= (2 + 3 * 2) * sides


def test_tasks_travel(folder: Path) -> None:
    pixels = ArrayPixels(np.zeros((3, 3), int), np.ones((3, 3), bool))
    zones = Zones(pixels, (3, 3), folder, Within(2), 8)
    pickle.loads(pickle.dumps(partial(survey, zones)))(Window(0, 0, 3, 3))
