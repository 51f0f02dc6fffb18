"""Gaps inside a region are filled, whatever the tile, and no region is lost."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, label

from tests.tiling.regions.drawn import MAPS, Array, ArrayPixels
from tiling.regions.sieving.fill_gaps import fill_gaps

PIXEL = 100.0
"""m², about; minima lie between whole numbers of pixels."""


def filled(numbers: Array, valid: Array, most: int, **how: Any) -> Array:
    """With gaps of up to `most` pixels filled."""
    height, width = numbers.shape
    with TemporaryDirectory() as folder:
        file = Path(folder, "numbers.tif")
        with rasterio.open(
            file, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint32",
            nodata=0, crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
        ) as out:  # fmt: skip
            out.write(numbers.astype(np.uint32), 1)
        target = Path(folder, "filled.tif")
        read = ArrayPixels(np.zeros((0, *valid.shape), np.uint8), valid)
        fill_gaps(file, read, target, minimum=(most + 0.5) * PIXEL, **how)
        with rasterio.open(target) as source:
            pixels: Array = source.read(1).astype(int)
        return pixels


def by_hand(numbers: Array, valid: Array, most: int) -> Array:
    """The definition, gap by gap on the whole raster."""
    found = numbers.copy()
    gaps, n = label((numbers == 0) & valid)
    seen = np.pad(np.where(valid | (numbers > 0), numbers, -1), 1, constant_values=-1)
    for gap in range(1, n + 1):
        own = np.pad(gaps == gap, 1)
        touched = set(seen[binary_dilation(own) & ~own].tolist())
        if len(touched) == 1 and touched != {-1} and own.sum() <= most:
            found[gaps == gap] = touched.pop()
    return found


def test_a_lake_with_an_island_stays_and_a_well_goes() -> None:
    numbers = np.ones((12, 20), int)
    numbers[2:9, 2:9] = 0
    numbers[5, 5] = 2  # the island
    numbers[4, 15] = 0  # the well
    numbers[0, 12] = 0  # a bay
    valid = np.ones(numbers.shape, bool)
    valid[8, 18], numbers[8, 18] = False, 0  # nobody knows
    expected = numbers.copy()
    expected[4, 15] = 1
    np.testing.assert_array_equal(filled(numbers, valid, 100), expected)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 5, 8]), st.sampled_from(MAPS))
def test_it_is_the_definition_for_every_tile_and_order(seed: int, tile: int, map: Any) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 3, (4, 5)).repeat(4, 0).repeat(4, 1)
    numbers = np.where(random.random(coarse.shape) < 0.3, 0, coarse)
    valid = random.random(numbers.shape) < 0.98
    most = int(random.integers(0, 9))
    found = filled(numbers, valid, most, tile=tile, map=map)
    np.testing.assert_array_equal(found, by_hand(numbers, valid, most))
