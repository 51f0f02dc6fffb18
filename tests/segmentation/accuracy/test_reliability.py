"""Calibration: torchmetrics' number, drawn cases whose answer is known, and counts that add up."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmentation.accuracy.reliability import Reliability, count_confidence

percents = arrays(np.uint8, 50, elements=st.one_of(st.integers(0, 100), st.just(255)))
rights = arrays(np.bool_, 50)


def counted(percent: list[int], right: list[bool]) -> npt.NDArray[np.int64]:
    return count_confidence(np.array(percent, np.uint8), np.array(right))


@pytest.mark.parametrize("bins", [7, 15, 10])
def test_the_error_is_that_of_torchmetrics(bins: int) -> None:
    """Synthetic probabilities in whole percents on no bin's edge: torchmetrics closes bins below,
    Guo et al. above."""
    import torch
    from torchmetrics.functional import classification as scores

    rng = np.random.default_rng(bins)
    percent = rng.choice([p for p in range(34, 100) if p * bins % 100], 20_000).astype(np.uint8)
    predicted, truth = rng.integers(0, 3, percent.size), rng.integers(0, 3, percent.size)
    truth = np.where(rng.random(percent.size) < (percent / 100) ** 1.5, predicted, truth)
    sure = percent / 100
    probabilities = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(percent.size), predicted] = sure
    found = Reliability.from_counts(count_confidence(percent, predicted == truth), bins)
    settings: Any = {"num_classes": 3, "n_bins": bins}
    for norm, error in (
        ("l1", found.expected_calibration_error),
        ("max", found.maximum_calibration_error),
    ):
        expected = scores.multiclass_calibration_error(
            torch.tensor(probabilities), torch.tensor(truth), norm=norm, **settings
        )
        assert error == pytest.approx(float(expected), abs=1e-5)  # theirs are sums in float32


def test_eighty_percent_sure_and_eighty_percent_right_is_no_error() -> None:
    found = Reliability.from_counts(counted([80] * 10, [True] * 8 + [False] * 2))
    assert found.expected_calibration_error == pytest.approx(0)
    assert (found.mean_confidence, found.accuracy) == pytest.approx((0.8, 0.8))


def test_the_error_is_weighted_by_pixels() -> None:
    """30 pixels are sure by 90 % and always right, 10 by 50 % and never: (30 × 0.1 + 10 × 0.5) /
    40."""
    found = Reliability.from_counts(counted([90] * 30 + [50] * 10, [True] * 30 + [False] * 10))
    assert found.expected_calibration_error == pytest.approx(0.2)
    assert found.maximum_calibration_error == pytest.approx(0.5)


def test_bins_are_open_below_and_closed_above() -> None:
    """As in Guo et al., eq. 3 and before: 20 % belongs to the third of fifteen bins, (2/15,
    3/15]."""
    found = Reliability.from_counts(counted([0, 20, 21, 100], [True] * 4))
    assert [place for place, one in enumerate(found.bins) if one.pixels] == [0, 2, 3, 14]
    assert all(isnan(one.accuracy) for one in found.bins if not one.pixels)


def test_pixels_without_confidence_do_not_count() -> None:
    found = Reliability.from_counts(counted([255, 255, 60], [True, True, False]))
    assert found.pixels == 1
    assert isnan(Reliability.from_counts(counted([255], [True])).expected_calibration_error)


@given(percents, rights, st.integers(0, 50))
def test_counts_of_blocks_add_up(
    percent: npt.NDArray[np.uint8], right: npt.NDArray[np.bool_], cut: int
) -> None:
    parts = [
        count_confidence(percent[part], right[part]) for part in (slice(cut), slice(cut, None))
    ]
    assert np.array_equal(sum(parts), count_confidence(percent, right))
