"""Zones are components of pixels that differ by no more than is tolerated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label
from skimage.measure import label as label_values

from flows.partitions.zones import WithinEach, Zones
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of


def same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two labellings have the same parts; what is negative in the first has none."""
    inside = one >= 0
    pairs = np.unique(np.stack([one[inside], other[inside]]), axis=1).shape[1]
    return pairs == np.unique(one[inside]).size == np.unique(other[inside]).size


@pytest.mark.parametrize("connectivity", [4, 8])
def test_without_tolerance_they_are_the_areas_of_one_value(
    connectivity: int, tmp_path: Path
) -> None:
    for number, chance in enumerate(chances(5)):
        pixels = chance.integers(0, 3, (1, 25, 31)).astype(np.uint8)
        valid = chance.random((25, 31)) > 0.1
        scene = DrawnScene(pixels, valid)
        partition = fit_to(Zones(tolerance=0, connectivity=connectivity), scene)
        (regions,) = regions_of(partition, scene, tmp_path / str(number), 9)
        values = np.where(valid, pixels[0].astype(int) + 1, 0)
        expected = label_values(values, connectivity=connectivity // 4, background=0)
        assert same_parts(regions, expected)


def test_a_mask_falls_into_its_components(tmp_path: Path) -> None:
    (chance,) = chances(1)
    valid = chance.random((30, 30)) > 0.4
    scene = DrawnScene(np.ones((2, 30, 30), np.uint8), valid)
    (regions,) = regions_of(fit_to(Zones(), scene), scene, tmp_path, 7)
    assert same_parts(regions, label(valid)[0])


def test_a_tolerance_is_in_the_units_of_the_bands(tmp_path: Path) -> None:
    pixels = np.array([[[1000, 1300, 1601, 1900]]], np.uint16)
    scene = DrawnScene(pixels, np.ones((1, 4), bool), units="reflectance")
    (regions,) = regions_of(fit_to(Zones(tolerance=0.03), scene), scene, tmp_path, 2)
    assert regions.tolist() == [[0, 0, 2, 2]]


def test_each_band_has_its_own_tolerance() -> None:
    link = WithinEach((0, 10))
    one, other = np.array([[5, 5, 5], [0, 0, 0]]), np.array([[5, 6, 5], [10, 0, 11]])
    assert link(one, other, False).tolist() == [True, False, False]
