"""Trends of many pixels: scipy's and pyMannKendall's answers for each by itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, norm, theilslopes

from segmentation.temporal.trends import YEAR, mann_kendall, theil_sen
from tests.chance import chances


@pytest.fixture(scope="module")
def series() -> tuple[np.ndarray, np.ndarray]:
    """Days in their order, two of them twice, and values with gaps and ties."""
    (rng,) = chances(1)
    days = np.sort(np.append(rng.choice(900, 20, replace=False), [150, 150, 700, 700]))
    values = rng.random((24, 40), np.float32)
    values[:, 10:20] = np.round(values[:, 10:20] * 4) / 4
    values[:, 20:30] += np.linspace(0, 3, 24, dtype=np.float32)[:, None]
    values[rng.random(values.shape) < 0.5] = np.nan
    values[1:, 30] = values[:, 31] = np.nan
    values[0, 30] = 1
    values[:, 32] = 0.5
    return days, values


def test_a_slope_is_scipys(series: tuple[np.ndarray, np.ndarray]) -> None:
    days, values = series
    found = theil_sen(values, days)
    for pixel, slope in zip(values.T, found, strict=True):
        there = ~np.isnan(pixel)
        if np.unique(days[there]).size < 2:
            assert np.isnan(slope)
        else:
            expected = theilslopes(pixel[there], days[there]).slope * YEAR
            assert slope == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_probability_follows_from_the_variance_that_scipy_uses(
    series: tuple[np.ndarray, np.ndarray],
) -> None:
    days, values = series
    found = mann_kendall(values, days)
    for pixel, p in zip(values.T, found, strict=True):
        y, x = pixel[there := ~np.isnan(pixel)], days[there]
        if y.size < 2:
            assert np.isnan(p)
            continue
        ways = np.sign(np.subtract.outer(y, y)) * np.sign(np.subtract.outer(x, x))
        score = int(ways.sum()) // 2
        if np.unique(y).size == 1 or np.unique(x).size == 1:
            assert p == 1
            continue
        # scipy corrects nothing for continuity: from its p follows the deviation of the score
        plain = kendalltau(x, y, method="asymptotic").pvalue
        deviation = abs(score) / norm.isf(plain / 2) if score else 1.0
        assert p == pytest.approx(2 * norm.sf(max(abs(score) - 1, 0) / deviation), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "p"),
    [
        # pyMannKendall 1.4.3, original_test
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 8.303070332638107e-05),
        ([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], 0.23470247795516075),
        ([5, 5, 4, 4, 3, 3, 2, 2, 2, 1], 0.0004771740932767443),
    ],
)
def test_a_probability_is_pymannkendalls(values: list[float], p: float) -> None:
    column = np.array(values, np.float32)[:, None]
    assert mann_kendall(column, range(len(values)))[0] == pytest.approx(p, rel=1e-9)


def test_a_line_rises_by_its_slope_and_by_no_chance() -> None:
    days = np.arange(0, 3650, 90)
    line = (0.1 + 0.02 * days / YEAR)[:, None]
    assert theil_sen(line, days)[0] == pytest.approx(0.02)
    assert mann_kendall(line, days)[0] < 1e-9
    assert mann_kendall(line[::-1], days)[0] == mann_kendall(line, days)[0]


def test_which_pixels_are_looked_at_together_changes_no_bit(
    series: tuple[np.ndarray, np.ndarray],
) -> None:
    days, values = series
    for trend in (theil_sen, mann_kendall):
        parts = [trend(values[:, at : at + 3], days) for at in range(0, 40, 3)]
        np.testing.assert_array_equal(np.concatenate(parts), trend(values, days))
