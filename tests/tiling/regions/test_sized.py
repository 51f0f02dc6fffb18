"""Regions chosen by their areas: those of a size and no others, whatever the tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.chance import chances
from tests.tiling.regions.drawn import MAPS
from tiling.regions.sized import keep_sizes


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Regions of pixels of 100 m², strewn about."""
    (random,) = chances(1)
    pixels = random.integers(0, 40, (30, 40)).astype(np.uint32)
    with rasterio.open(
        tmp_path / "numbers.tif", "w", driver="GTiff", height=30, width=40, count=1, nodata=0,
        dtype="uint32", crs="EPSG:32633", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as out:  # fmt: skip
        out.write(pixels, 1)
    return tmp_path / "numbers.tif"


def chosen(numbers: Path, **how: Any) -> np.ndarray:
    keep_sizes(numbers, 39, numbers.with_name("chosen.tif"), **how)
    with rasterio.open(numbers.with_name("chosen.tif")) as source:
        assert (source.dtypes[0], source.nodata) == ("uint32", 0)
        pixels: np.ndarray = source.read(1)
    return pixels


@pytest.mark.parametrize(("least", "most"), [(2500, 0), (0, 3500), (2500, 3500)])
def test_regions_of_a_size_stay_and_keep_their_numbers(
    numbers: Path, least: float, most: float
) -> None:
    with rasterio.open(numbers) as source:
        pixels = source.read(1)
    # a pixel of UTM has somewhat more or less than 100 m² on the ellipsoid, never by a percent
    area = 100 * np.bincount(pixels.ravel(), minlength=40)
    sure = (np.abs(area - least) > 60) & (np.abs(area - most) > 60)
    kept = (area >= least) & ((area <= most) | (most == 0)) & (np.arange(40) > 0)
    found = chosen(numbers, least=least, most=most, tile=64)
    at = sure[pixels]
    np.testing.assert_array_equal(found[at], np.where(kept[pixels], pixels, 0)[at])
    assert 0 < np.count_nonzero(found) < np.count_nonzero(pixels)
    for map in MAPS:
        assert (chosen(numbers, least=least, most=most, tile=7, map=map) == found).all()
    assert not numbers.with_name("chosen.areas.npy").exists()
