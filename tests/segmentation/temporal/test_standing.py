"""Scores among others and against earlier years: scipy's."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from scipy import stats

from segmentation.temporal.standing import CUTS, anomaly, classify, robust_z
from tests.chance import chances


def test_robust_scores_are_scipys_in_each_group() -> None:
    (rng,) = chances(1)
    values, group = rng.normal(0.6, 0.1, 300), rng.integers(-1, 5, 300)
    values[rng.random(300) < 0.1] = np.nan
    z, count = robust_z(values, group, 5)
    assert np.isnan(z[group == -1]).all()
    for one in range(5):
        members = np.flatnonzero((group == one) & ~np.isnan(values))
        some = values[members]
        spread = stats.median_abs_deviation(some, scale="normal")
        np.testing.assert_allclose(z[members], (some - np.median(some)) / spread, rtol=1e-12)
        assert (count[members] == members.size).all()


def test_a_score_of_few_or_equal_ones_or_of_nothing_is_not_known() -> None:
    group = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
    values = np.array([0.1, 0.2, 0.3, 0.5, 0.5, 0.5, 0.9, 0.1, np.nan, 0.3])
    z, count = robust_z(values, group, 4)
    assert np.isnan(z).all()
    assert count.tolist() == [3, 3, 3, 4, 4, 4, 4, 2, 0, 2]


def test_no_order_of_the_fields_changes_a_score() -> None:
    (rng,) = chances(1)
    values, group = rng.normal(size=90), rng.integers(0, 3, 90)
    order = rng.permutation(90)
    whole, turned = robust_z(values, group, 3), robust_z(values[order], group[order], 3)
    for one, other in zip(whole, turned, strict=True):
        np.testing.assert_array_equal(one[order], other)


def test_anomalies_are_scores_against_one_mean_of_each_earlier_year() -> None:
    (rng,) = chances(1)
    days = [
        datetime.date(year, month, day)
        for year in range(2018, 2024)
        for month, day in ((5, 28), (6, 10), (6, 14), (8, 1))
    ]
    values = rng.normal(0.5, 0.1, (len(days), 4))
    values[days.index(datetime.date(2020, 6, 10)) : days.index(datetime.date(2020, 8, 1)), 1] = (
        np.nan
    )
    z, years = anomaly(values, days, 10, 3)
    at = days.index(datetime.date(2023, 6, 14))
    near = [[days.index(datetime.date(y, 6, d)) for d in (10, 14)] for y in range(2018, 2023)]
    for field in range(4):
        known = [np.nanmean(values[some, field]) for some in near if field != 1 or some != near[2]]
        assert years[at, field] == len(known) == (4 if field == 1 else 5)
        mean, spread = np.mean(known), stats.tstd(known)
        assert math.isclose(z[at, field], (values[at, field] - mean) / spread, rel_tol=1e-9)
    assert np.isnan(z[: days.index(datetime.date(2021, 5, 28))]).all()  # after three years
    assert years[:4].max() == 0


def test_the_turn_of_the_year_and_a_leap_day_have_their_time() -> None:
    days = [
        datetime.date.fromisoformat(day)
        for day in ("2017-12-30", "2019-01-03", "2019-12-29", "2020-02-29", "2021-01-02")
    ]
    values = np.array([[0.2], [0.4], [0.6], [0.9], [0.5]])
    z, years = anomaly(values, days, 7, 3)
    assert years[:, 0].tolist() == [0, 1, 2, 0, 3]
    assert z[4, 0] == pytest.approx((0.5 - 0.4) / 0.2)
    assert anomaly(values[3:4], days[3:4], 0, 2)[1].tolist() == [[0]]


def test_classes_part_where_a_normal_value_lies_with_5_25_75_and_95_percent() -> None:
    np.testing.assert_allclose(stats.norm.cdf(CUTS), [0.05, 0.25, 0.75, 0.95])
    z = np.array([-2, -1, 0, 1, 2, np.nan, CUTS[0], np.nextafter(CUTS[0], -9)])
    assert classify(z).tolist() == [1, 2, 3, 4, 5, 0, 2, 1]
