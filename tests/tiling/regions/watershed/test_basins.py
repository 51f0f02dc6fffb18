"""Basins are what a walk downhill finds, pixel by pixel, whatever the tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiling.regions.drawn import (
    Array,
    ArrayPixels,
    Drawn,
    count_rows,
    draw_values,
    mosaic,
    rasters,
    seam_pixels,
)
from tiling.regions.watershed.basins import Relief, find_basins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("basins")


def walk_downhill(height: Array, valid: Array, marked: Array) -> Array:
    """The minimum below each pixel, one step after the other."""
    rows, cols = valid.shape
    to = np.full(valid.size, -1)
    order = np.lexsort((np.arange(valid.size), height.ravel()))
    basin = np.full(valid.size, -1)
    for pixel in order.tolist():
        y, x = divmod(pixel, cols)
        if not valid[y, x]:
            continue
        beside = [(y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)]
        lower = [
            (height[v, u], v * cols + u)
            for v, u in beside
            if 0 <= v < rows and 0 <= u < cols and valid[v, u]
        ]
        to[pixel] = min([(height[y, x], pixel), *lower])[1]
        basin[pixel] = pixel if marked[y, x] or to[pixel] == pixel else basin[to[pixel]]
    return basin.reshape(valid.shape)


def draw_marks(drawn: Drawn, seed: int) -> Array:
    """Some pixels, by chance; none for an even seed."""
    share = 0.05 * (seed % 2)
    return (np.random.default_rng(seed).random(drawn.shape) < share) & drawn.valid


@settings(max_examples=60)
@given(drawn=rasters(), seed=st.integers(0, 999))
def test_basins_are_what_a_walk_downhill_finds(folder: Path, drawn: Drawn, seed: int) -> None:
    marked = draw_marks(drawn, seed)
    relief = Relief(drawn.pixels, drawn.shape, folder, ArrayPixels(drawn.values, marked))
    found = mosaic(find_basins(relief, tile=drawn.tile, map=drawn.map))
    np.testing.assert_array_equal(found, walk_downhill(drawn.values, drawn.valid, marked))


def test_level_ground_drains_to_its_first_pixel_over_any_number_of_tiles(tmp_path: Path) -> None:
    shape = (40, 50)
    flat = ArrayPixels(np.full(shape, 7), np.ones(shape, bool))
    assert not mosaic(find_basins(Relief(flat, shape, tmp_path), tile=3)).any()


def test_the_highest_height_is_a_height(tmp_path: Path) -> None:
    top = np.array([[2**28 - 1, 2**28 - 1, 2**28 - 2]])
    found = find_basins(Relief(ArrayPixels(top, top > 0), (1, 3), tmp_path), tile=2)
    assert mosaic(found).tolist() == [[0, 2, 2]]


@pytest.mark.parametrize("kind", ["constant", "plateaus", "hills", "noise"])
def test_each_pixel_of_a_seam_is_told_once_by_either_side(tmp_path: Path, kind: str) -> None:
    shape, tile = (96, 128), 32
    values = draw_values(kind, shape, np.random.default_rng(3))
    relief = Relief(ArrayPixels(values, np.ones(shape, bool)), shape, tmp_path)
    find_basins(relief, tile=tile)
    outermost = 2 * (seam_pixels(shape, tile) + sum(shape))
    assert count_rows(tmp_path, ".exits.npy") <= 2 * outermost
