"""Gradients are what Sobel's filter says, whole numbers, and depend on what is said to be in
reach."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve, sobel

from segmentation.relief.gradient import HIGHEST, gradient_heights
from tests.chance import chances
from tests.segmentation.relief.reach import measure_reach


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_a_pixel_depends_on_those_in_reach_and_no_other(rounds: int) -> None:
    reach = measure_reach(lambda values, valid: gradient_heights(values, valid, rounds))
    assert reach == rounds + 1


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_it_is_the_magnitude_of_sobels_derivatives_of_the_smoothed_image(rounds: int) -> None:
    for chance in chances(5):
        values = chance.integers(0, 10_000, (3, 20, 23)).astype(np.int32)
        smoothed = values.astype(float)
        binomial = np.outer([1, 2, 1], [1, 2, 1])[None] / 16
        for _ in range(rounds):
            smoothed = convolve(smoothed, binomial, mode="constant")
        squares = sum(sobel(band, axis=axis) ** 2 for band in smoothed for axis in (0, 1))
        expected = 16 * np.sqrt(squares) / 8
        found = gradient_heights(values, np.ones((20, 23), bool), rounds)
        inner = np.s_[rounds + 1 : -rounds - 1, rounds + 1 : -rounds - 1]
        np.testing.assert_allclose(found[inner], expected[inner], atol=4)


def test_a_ramp_is_as_steep_as_it_rises() -> None:
    ramp = np.arange(12)[None, None] * np.full((1, 9, 1), 7, np.int32)
    found = gradient_heights(ramp.astype(np.int32), np.ones((9, 12), bool), 1)
    assert (found[2:-2, 2:-2] == 7 * 16).all()


def test_holes_leave_no_edge_in_level_ground() -> None:
    for chance in chances(10):
        valid = chance.random((20, 20)) > 0.3
        values = np.where(valid, 5000, chance.integers(0, 60_000, (20, 20)))[None]
        inner = gradient_heights(values.astype(np.int32), valid, 2)
        assert not inner.any()


def test_heights_stay_below_what_engines_take() -> None:
    steep = np.zeros((1020, 3, 3), np.int32)
    steep[:, 1:, 1:] = 2**19
    steep[:, :2, :2] = -(2**19)
    assert gradient_heights(steep, np.ones((3, 3), bool), 0).max() == HIGHEST
