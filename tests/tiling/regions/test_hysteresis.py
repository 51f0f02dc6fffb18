"""Hysteresis and the magic wand are scikit-image's on the whole raster, whatever the tiles."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import binary_propagation
from skimage.filters import apply_hysteresis_threshold
from skimage.segmentation import flood

from tests.scenes import read
from tests.tiling.regions.drawn import ArrayPixels, Drawn, count_rows, rasters, seam_pixels, spiral
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.regions.hysteresis import Alike, At, apply_hysteresis, grow_from_seed
from tiling.regions.zones import Connectivity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hysteresis")


def grid_of(shape: tuple[int, int]) -> GeoBox:
    return GeoBox(shape, Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")


@pytest.mark.slow
@settings(max_examples=40)
@given(
    drawn=rasters(),
    low=st.integers(-1, 60),
    more=st.integers(0, 60),
    connectivity=st.sampled_from([4, 8]),
)
def test_weak_edges_stay_where_they_meet_strong_ones(
    folder: Path, drawn: Drawn, low: int, more: int, connectivity: Connectivity
) -> None:
    found = apply_hysteresis(
        drawn.pixels,
        grid_of(drawn.shape),
        folder / "edges.tif",
        low=low,
        high=low + more,
        connectivity=connectivity,
        folder=folder,
        tile=drawn.tile,
        map=drawn.map,
    )
    heights = np.where(drawn.valid, drawn.values, -10)
    if connectivity == 4:
        expected = apply_hysteresis_threshold(heights, low, low + more)
    else:
        corners, strong = np.ones((3, 3)), heights > low + more
        expected = binary_propagation(strong, corners, mask=heights > low)
    np.testing.assert_array_equal(read(found), expected)


@settings(max_examples=40)
@given(
    drawn=rasters(),
    at=st.integers(0, 10**6),
    tolerance=st.integers(0, 60),
    connectivity=st.sampled_from([4, 8]),
)
def test_the_wand_takes_what_floods_from_its_seed(
    folder: Path, drawn: Drawn, at: int, tolerance: int, connectivity: Connectivity
) -> None:
    assume(drawn.valid.any())
    seed = tuple(np.argwhere(drawn.valid)[at % drawn.valid.sum()].tolist())
    found = grow_from_seed(
        drawn.pixels,
        grid_of(drawn.shape),
        folder / "wand.tif",
        seed=seed,
        tolerance=tolerance,
        connectivity=connectivity,
        folder=folder,
        tile=drawn.tile,
        map=drawn.map,
    )
    land = np.where(drawn.valid, drawn.values, 10**6)
    expected = flood(land, seed, tolerance=tolerance, connectivity=connectivity // 4)
    np.testing.assert_array_equal(read(found), expected)


def test_one_strong_pixel_keeps_a_spiral_of_any_length(tmp_path: Path) -> None:
    shape = (61, 67)
    heights = spiral(*shape) * 10
    heights[0, 0] = 20
    found = apply_hysteresis(
        ArrayPixels(heights, np.ones(shape, bool)),
        grid_of(shape),
        tmp_path / "edges.tif",
        low=5,
        high=15,
        folder=tmp_path,
        tile=8,
    )
    np.testing.assert_array_equal(read(found), spiral(*shape))
    assert spiral(*shape).sum() > 1500
    assert count_rows(tmp_path, ".marks.npy") <= seam_pixels(shape, 8)


def test_a_seed_without_data_is_refused(tmp_path: Path) -> None:
    pixels = ArrayPixels(np.zeros((3, 3), int), np.zeros((3, 3), bool))
    with pytest.raises(InputError, match="row 1, column 2 has no data"):
        grow_from_seed(
            pixels, grid_of((3, 3)), tmp_path / "a.tif", seed=(1, 2), tolerance=1, folder=tmp_path
        )


def test_what_is_marked_travels() -> None:
    assert pickle.loads(pickle.dumps(At((1, 2))))(Window(1, 0, 2, 3))[1].tolist() == [
        [False, False, True],
        [False, False, False],
    ]
    pixels = ArrayPixels(np.array([[250, 3, 1]], np.uint8), np.ones((1, 3), bool))
    assert Alike(pixels, (2,), 1)(Window(0, 0, 1, 3))[1].tolist() == [[False, True, True]]
