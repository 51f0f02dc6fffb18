"""Whittaker's smoother: what a dense solve says of every pixel by itself."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import scipy.sparse

from segmentation.temporal.whittaker import TimeAxis, smooth
from tests.chance import chances

DAY = datetime.date


def dense(series: np.ndarray, places: list[int], length: int, penalty: float) -> np.ndarray:
    """The curve of one pixel, by the equations as they are written down."""
    there = ~np.isnan(series)
    weight, total = np.zeros(length), np.zeros(length)
    np.add.at(weight, np.array(places)[there], 1)
    np.add.at(total, np.array(places)[there], series[there])
    first, last = np.flatnonzero(weight)[[0, -1]]
    inside = slice(first, last + 1)
    n = last + 1 - first
    bends = scipy.sparse.diags([1.0, -2.0, 1.0], [0, 1, 2], shape=(max(0, n - 2), n))
    matrix = scipy.sparse.diags(weight[inside]) + penalty * bends.T @ bends
    curve = np.full(length, np.nan)
    curve[inside] = np.linalg.solve(matrix.toarray(), total[inside])
    return curve


@pytest.mark.parametrize("penalty", [0.5, 100.0, 1e4])
def test_a_curve_is_what_a_dense_solve_makes_of_each_pixel(penalty: float) -> None:
    (rng,) = chances(1)
    places = sorted(rng.integers(0, 73, 40).tolist())
    series = rng.uniform(-0.2, 0.9, (40, 60))
    series[rng.random(series.shape) < 0.6] = np.nan
    series[:35, 0] = series[5:, 1] = np.nan  # little at one end
    series[[0, -1], 0] = series[[0, -1], 1] = 0.5
    found = smooth(series, places, 73, penalty)
    for pixel, curve in enumerate(found.T):
        expected = dense(series[:, pixel], places, 73, penalty)
        np.testing.assert_allclose(curve, expected, rtol=0, atol=1e-9)


def test_a_straight_line_stays_one_across_every_gap() -> None:
    series = np.array([[0.1], [np.nan], [np.nan], [0.4], [0.5]])
    curve = smooth(series, [0, 1, 2, 3, 4], 5, 1e3)[:, 0]
    np.testing.assert_allclose(curve, [0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-9)


def test_nothing_is_said_beyond_the_valid_dates() -> None:
    series = np.array([[np.nan] * 3, [0.2, np.nan, np.nan], [0.4, 0.3, np.nan], [np.nan] * 3])
    curve = smooth(series, [0, 2, 4, 6], 7, 10.0)
    assert np.isnan(curve[[0, 1, 5, 6], 0]).all()
    np.testing.assert_allclose(curve[2:5, 0], [0.2, 0.3, 0.4], atol=1e-12)
    assert np.flatnonzero(~np.isnan(curve[:, 1])).tolist() == [4]
    assert curve[4, 1] == pytest.approx(0.3)
    assert np.isnan(curve[:, 2]).all()


def test_which_pixels_are_smoothed_together_changes_no_bit() -> None:
    (rng,) = chances(1)
    series = rng.random((12, 50), np.float32)
    series[rng.random(series.shape) < 0.4] = np.nan
    places = list(range(0, 36, 3))
    whole = smooth(series, places, 34, 50.0)
    parts = [smooth(series[:, at : at + 7], places, 34, 50.0) for at in range(0, 50, 7)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_an_axis_has_even_steps_and_each_date_its_nearest() -> None:
    dates = [DAY(2024, 1, 1), DAY(2024, 1, 5), DAY(2024, 1, 6), DAY(2024, 1, 27)]
    axis = TimeAxis.over(dates, 10)
    assert axis.dates == [DAY(2024, 1, 1), DAY(2024, 1, 11), DAY(2024, 1, 21), DAY(2024, 1, 31)]
    assert axis.places(dates) == [0, 0, 1, 3]
    assert TimeAxis.over(dates[:1], 10).length == 1
