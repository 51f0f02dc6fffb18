"""Markers of several pixels, and seeds that compete below a barrier, are what Kruskal's algorithm
makes of them on the whole raster, whatever the tiles."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from skimage.segmentation import flood

from tests.chance import chances
from tests.tiling.regions.drawn import Array, ArrayPixels, Drawn, draw_values, mosaic, rasters
from tests.tiling.regions.watershed.test_basins import walk_downhill
from tests.tiling.regions.watershed.test_drowning import unite_by_kruskal
from tiling.regions.watershed.basins import Relief, find_basins, survey_basins
from tiling.regions.watershed.criteria import Criterion, Unmarked, UnmarkedBelow
from tiling.regions.watershed.drowning import flood_relief
from tiling.regions.zones import Within


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("seeds")


def draw_patches(shape: tuple[int, int], chance: np.random.Generator) -> Array:
    """Numbers of drawn markers `(y, x)`, 0 for none: rectangles and lines, some of one number, some
    at a corner of others or across them."""
    marks = np.zeros(shape, np.int64)
    for _ in range(int(chance.integers(0, 7))):
        y, x = (int(chance.integers(0, side)) for side in shape)
        number, size = chance.integers(1, 4), chance.integers(1, 9)
        if chance.random() < 0.5:
            marks[y : y + int(chance.integers(1, 4)), x : x + size] = number
        else:
            steps = np.arange(min(size, shape[0] - y, shape[1] - x))
            marks[y + steps, x + steps] = number
    return marks


def pick_first_pixels(marks: Array) -> Array:
    """The first pixel of each marker `(y, x)`: of the pixels of one number that hang together."""
    first = np.full(marks.shape, -1)
    for number in np.unique(marks[marks > 0]):
        parts, n = label(marks == number, np.ones((3, 3)))
        for part in range(1, n + 1):
            first[parts == part] = np.flatnonzero(parts == part)[0]
    return first


def flood_slowly(drawn: Drawn, marks: Array, criterion: Criterion) -> Array:
    marks = np.where(drawn.valid, marks, 0)
    basin, first = walk_downhill(drawn.values, drawn.valid, marks > 0), pick_first_pixels(marks)
    pinned = (basin >= 0) & (first.ravel()[basin] >= 0)
    basin[pinned] = first.ravel()[basin][pinned]
    return unite_by_kruskal(drawn.values, basin, marks > 0, criterion)


def relief_of(drawn: Drawn, marks: Array, folder: Path) -> Relief:
    return Relief(drawn.pixels, drawn.shape, folder, ArrayPixels(marks, marks > 0), Within(0))


@settings(max_examples=25)
@given(
    drawn=rasters(16),
    seed=st.integers(0, 9999),
    criterion=st.one_of(st.just(Unmarked()), st.builds(UnmarkedBelow, st.integers(0, 400))),
    marked_only=st.booleans(),
)
def test_markers_flood_what_kruskal_gives_them(
    folder: Path, drawn: Drawn, seed: int, criterion: Criterion, marked_only: bool
) -> None:
    marks = draw_patches(drawn.shape, np.random.default_rng(seed))
    relief = relief_of(drawn, marks, folder)
    labels = flood_relief(
        relief, criterion, marked_only=marked_only, tile=drawn.tile, map=drawn.map
    )
    expected = flood_slowly(drawn, marks, criterion)
    if marked_only:
        kept = np.unique(expected[(marks > 0) & drawn.valid])
        expected = np.where(np.isin(expected, kept), expected, -1)
    np.testing.assert_array_equal(mosaic(labels), expected)


def test_markers_of_many_tiles_hold_where_they_are_many(tmp_path: Path) -> None:
    for number, chance in enumerate(chances(12)):
        values = chance.integers(0, 60, chance.integers(10, 18, 2))
        drawn = Drawn(values, chance.random(values.shape) > 0.05, int(chance.integers(2, 7)), map)
        marks = draw_patches(drawn.shape, chance)
        criterion = (Unmarked(), UnmarkedBelow(30))[number % 2]
        labels = flood_relief(relief_of(drawn, marks, tmp_path), criterion, tile=drawn.tile)
        np.testing.assert_array_equal(mosaic(labels), flood_slowly(drawn, marks, criterion))


def test_a_marker_across_tiles_has_one_basin(tmp_path: Path) -> None:
    marks = np.zeros((12, 12), int)
    marks[1, 1:11] = marks[np.arange(2, 11), np.arange(2, 11)] = 7
    marks[11] = 8
    drawn = Drawn(np.full((12, 12), 5), np.ones((12, 12), bool), 3, map)
    basins = mosaic(find_basins(relief_of(drawn, marks, tmp_path), tile=3))
    assert np.unique(basins[marks == 7]).tolist() == [13]
    assert np.unique(basins[marks == 8]).tolist() == [132]


def test_each_marker_has_one_region_and_nothing_crosses_the_barrier(tmp_path: Path) -> None:
    heights = np.zeros((40, 60), int)
    heights[:, 30] = 9
    marks = np.zeros(heights.shape, int)
    marks[5:8, 3:20] = 1
    drawn = Drawn(heights, np.ones(heights.shape, bool), 7, map)
    relief = relief_of(drawn, marks, tmp_path)
    grown = mosaic(flood_relief(relief, UnmarkedBelow(9), marked_only=True, tile=7))
    # A seed takes what floods from it, and the slope of the barrier on its own side.
    ground = heights < 9
    np.testing.assert_array_equal((grown >= 0) & ground, flood(heights, (6, 6)))
    assert np.unique(grown[grown >= 0]).size == 1


def test_without_a_link_each_marked_pixel_is_a_marker(tmp_path: Path) -> None:
    marks = np.zeros((9, 9), int)
    marks[4, 2:6] = 1
    pixels = ArrayPixels(draw_values("hills", (9, 9), np.random.default_rng(1)), marks >= 0)
    relief = Relief(pixels, (9, 9), tmp_path, ArrayPixels(marks, marks > 0))
    assert np.unique(mosaic(flood_relief(relief, Unmarked(), tile=4))).size == 4


def test_tasks_travel(tmp_path: Path) -> None:
    drawn = Drawn(np.zeros((3, 3), int), np.ones((3, 3), bool), 3, map)
    task = partial(survey_basins, relief_of(drawn, np.eye(3, dtype=int), tmp_path), None)
    assert pickle.loads(pickle.dumps(task)).args[0].link == Within(0)
