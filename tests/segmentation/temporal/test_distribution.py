"""Values that weigh differently: numpy's answer on each value as often as it weighs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from segmentation.temporal.distribution import TO_DEVIATION, describe, weigh_tail
from tests.chance import chances

QUANTILES = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(1, 3))


def test_groups_are_described_as_numpy_describes_each_value_as_often_as_it_weighs() -> None:
    (rng,) = chances(1)
    rows = [
        np.unique(rng.integers(-50, 50, size), return_counts=True) for size in (400, 0, 7, 10, 1, 2)
    ]
    group = np.repeat(np.arange(6), [values.size for values, _ in rows])
    value, weight = (np.concatenate(column) for column in zip(*rows, strict=True))
    found = describe(group, value, weight, 6, QUANTILES)
    for number, (values, counts) in enumerate(rows):
        every = np.repeat(values, counts)
        assert found.weight[number] == every.size
        got = [found.mean[number], found.std[number], *found.quantiles[:, number]]
        if not every.size:
            assert np.isnan(got).all()
            continue
        parts = [float(one) for one in QUANTILES]
        cuts = np.quantile(every, parts, method="averaged_inverted_cdf")
        if every.size % 3:
            np.testing.assert_allclose(got, [every.mean(), every.std(), *cuts], rtol=1e-12)
        else:
            np.testing.assert_allclose(got[:-1], [every.mean(), every.std(), *cuts[:-1]])


def test_large_weights_stay_exact() -> None:
    weight = np.array([2**51, 2**51, 1])
    found = describe(
        np.zeros(3, int), np.array([1, 2, 3]), weight, 1, (Fraction(1, 2), Fraction(9, 10))
    )
    assert found.quantiles[:, 0].tolist() == [2, 2]
    found = describe(np.zeros(2, int), np.array([1, 2]), weight[:2], 1, (Fraction(1, 2),))
    assert found.quantiles[0, 0] == 1.5


def test_the_tail_is_numpys_and_a_field_with_a_bare_patch_has_as_much_of_it() -> None:
    (rng,) = chances(1)
    even, patchy = rng.normal(6000, 400, 900).astype(int), np.repeat([6000, 2000], [800, 200])
    every = [even, patchy, patchy[::-1] * -1]
    rows = [np.unique(values, return_counts=True) for values in every]
    group = np.repeat(np.arange(3), [values.size for values, _ in rows])
    value, weight = (np.concatenate(column) for column in zip(*rows, strict=True))
    median = describe(group, value, weight, 3, (Fraction(1, 2),)).quantiles[0]
    below = weigh_tail(group, value, weight, median, 1, 500)
    above = weigh_tail(group, value, weight, median, -1, 500)
    deviation = [np.median(np.abs(values - np.median(values))) for values in every]
    np.testing.assert_allclose(below.deviation, deviation)
    far = max(500, 2 * TO_DEVIATION * deviation[0])
    assert below.share[0] == np.mean(even - np.median(even) < -far)
    assert below.share.tolist()[1:] == [0.2, 0]
    assert above.share.tolist()[1:] == [0, 0.2]
    nobody = weigh_tail(*[np.empty(0, np.int64)] * 3, np.array([np.nan]), 1, 500)
    assert np.isnan([*nobody.deviation, *nobody.share]).all()
