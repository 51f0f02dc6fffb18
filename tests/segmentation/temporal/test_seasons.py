"""Seasons that were drawn are found where they were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.temporal.seasons import find_season
from segmentation.temporal.whittaker import smooth
from tests.chance import chances

YEAR = 73
"""Steps of five days."""


def bell(middle: float, width: float, steps: int = 2 * YEAR) -> np.ndarray:
    """A season like a bell, 0.2 high at its feet and 0.7 at its peak."""
    return 0.2 + 0.5 * np.exp(-(((np.arange(steps) - middle) / width) ** 2))


def test_a_drawn_season_is_found_within_a_step_through_gaps_and_smoothing() -> None:
    (rng,) = chances(1)
    middles, widths = rng.uniform(40, 100, 30), rng.uniform(9, 15, 30)
    drawn = np.stack([bell(m, w) for m, w in zip(middles, widths, strict=True)], axis=1)
    series = drawn.copy()
    series[rng.random(series.shape) < 0.4] = np.nan
    series[[0, -1]] = drawn[[0, -1]]
    curve = smooth(series, range(2 * YEAR), 2 * YEAR, 1.0)
    season = find_season(curve, 0, 2 * YEAR, reach=YEAR, threshold=0.2)
    half = widths * np.sqrt(np.log(5))  # where a bell is a fifth of its height
    np.testing.assert_allclose(season.start, middles - half, atol=1)
    np.testing.assert_allclose(season.peak, middles, atol=1)
    np.testing.assert_allclose(season.end, middles + half, atol=1)
    np.testing.assert_allclose(season.length, 2 * half, atol=1)
    np.testing.assert_allclose(season.amplitude, 0.5, atol=0.02)


def test_a_triangle_crosses_its_threshold_between_two_steps() -> None:
    curve = np.array([0, 0, 4, 8, 10, 5, 0, 0.0])[:, None]
    season = find_season(curve, 0, 8, reach=8, threshold=0.5)
    assert [float(one[0]) for one in season[:3]] == [2.25, 4, 5]
    assert season.length[0] == 2.75
    assert season.amplitude[0] == 10


def test_each_side_has_a_minimum_of_its_own() -> None:
    curve = np.array([0, 5, 10, 9, 8, 7, 6.0, 6.5])[:, None]
    season = find_season(curve, 0, 8, reach=8, threshold=0.5)
    assert season.start[0] == 1  # half way from 0 to 10
    assert season.end[0] == 4  # half way from 10 to 6
    assert season.amplitude[0] == 10 - 3


def test_the_highest_peak_of_the_steps_asked_for_is_the_season() -> None:
    curve = (bell(30, 8, 3 * YEAR) + bell(110, 8, 3 * YEAR) * 1.2)[:, None]
    assert find_season(curve, 0, 3 * YEAR, reach=YEAR).peak[0] == 110
    assert find_season(curve, 0, YEAR, reach=YEAR).peak[0] == 30
    assert np.isnan(find_season(curve, 2 * YEAR, 3 * YEAR, reach=YEAR).peak[0])


@pytest.mark.parametrize(
    "curve",
    [
        np.full(40, 0.3),
        np.linspace(0.1, 0.9, 40),  # highest at an end
        np.linspace(0.9, 0.1, 40),
        bell(20, 5, 40) * 0.1,  # too flat
        np.full(40, np.nan),
        np.where(np.arange(40) == 20, 0.5, np.nan),
        np.where(np.arange(40) < 20, bell(20, 5, 40), np.nan),  # cut off before the peak
    ],
)
def test_without_a_season_nothing_is_said(curve: np.ndarray) -> None:
    season = find_season(curve[:, None], 0, 40, reach=40, least=0.1)
    assert all(np.isnan(one[0]) for one in (*season, season.length))
