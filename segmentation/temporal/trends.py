"""Whether a series goes up or down: its slope by Theil and Sen, and how likely chance alone makes
such a one, by Mann and Kendall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Series = npt.NDArray[np.floating]
"""`(date, n)`: the values of n pixels in the order of their days, NaN where a date is not valid."""

YEAR = 365.25
"""Days of a year."""

_PAIRS = 1 << 16
"""Slopes that are looked at together: with this many they stay near the processor."""
_VALUES = 1 << 16
"""Values of a series, for the same reason."""


def theil_sen(values: Series, days: Sequence[int]) -> Floats:
    """`(n,)`: the median of the slopes between all two valid dates of different days, per year; NaN
    where there are no two.

    Theil (1950), https://doi.org/10.1007/978-94-011-2546-8_20; Sen (1968),
    https://doi.org/10.1080/01621459.1968.10480934. It is `scipy.stats.theilslopes`.
    """
    slopes = np.full(values.shape[1], np.nan)
    gaps = np.isnan(values)
    order = np.argsort(gaps, axis=0, kind="stable")  # the valid dates first
    seen = np.take_along_axis(values, order, axis=0).T.astype(np.float64)
    when = np.asarray(days, np.float64)[order].T
    count = len(days) - np.count_nonzero(gaps, axis=0)
    for m in np.unique(count[count > 1]):
        one, other = np.triu_indices(m, 1)
        pixels = np.flatnonzero(count == m)
        at_once = max(1, _PAIRS // one.size)
        for start in range(0, pixels.size, at_once):
            some = pixels[start : start + at_once]
            rise = seen[some][:, other] - seen[some][:, one]
            run = when[some][:, other] - when[some][:, one]
            slopes[some] = _median_slopes(rise, run)
    return slopes * YEAR


def _median_slopes(rise: Floats, run: Floats) -> Floats:
    """The median of each row of slopes, those of one day left out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(run != 0, rise / run, np.nan)
    slopes.sort(axis=1)  # NaN last
    there = np.count_nonzero(run, axis=1)
    low, high = (np.maximum(there, 1) - 1) // 2, there // 2
    row = np.arange(len(slopes))
    # of none both are NaN, since all are
    return (slopes[row, low] + slopes[row, high]) / 2


def mann_kendall(values: Series, days: Sequence[int]) -> Floats:
    """`(n,)`: the probability that a series without a trend rises or falls at least as clearly,
    two-sided; NaN with fewer than two valid dates.

    The normal approximation with correction for continuity, of a variance corrected for equal
    values and for equal days: Mann (1945), https://doi.org/10.2307/1907187; Kendall (1970), "Rank
    Correlation Methods", chapter 4. Without equal days it is the p of pyMannKendall's
    `original_test`. From some ten dates on it is near to the exact one.
    """
    found = np.empty(values.shape[1])
    block = max(1, _VALUES // max(1, len(days)))
    for start in range(0, found.size, block):
        some = np.s_[start : start + block]
        found[some] = _test(np.ascontiguousarray(values[:, some]), np.asarray(days))
    return found


def _test(values: Series, when: npt.NDArray[np.integer]) -> Floats:
    from scipy.special import erfc

    valid = ~np.isnan(values)
    n = np.count_nonzero(valid, axis=0).astype(np.int64)
    score = np.zeros(n.size, np.int64)
    for at in range(len(when)):
        later = values[np.searchsorted(when, when[at], side="right") :]
        score += (later > values[at]).sum(axis=0, dtype=np.int32)
        score -= (later < values[at]).sum(axis=0, dtype=np.int32)
    variance = _variance(n, _value_ties(values), _day_ties(valid, when))
    clear = np.sign(score) * np.maximum(np.abs(score) - 1, 0)
    z = np.divide(clear, np.sqrt(variance), out=np.zeros(n.size), where=variance > 0)
    return np.where(n > 1, erfc(np.abs(z) / np.sqrt(2)), np.nan)


def _variance(n: npt.NDArray[np.int64], values: Floats, days: Floats) -> Floats:
    """The variance of the score, from the three sums of the ties in values and in days."""
    pairs = n * (n - 1.0)
    triples = pairs * (n - 2.0)
    parted = pairs * (2 * n + 5.0) - values[2] - days[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        twice = np.where(pairs > 0, values[0] * days[0] / (2 * pairs), 0.0)
        thrice = np.where(triples > 0, values[1] * days[1] / (9 * triples), 0.0)
    return parted / 18 + twice + thrice


def _tie_sums(size: Floats) -> Floats:
    """Of ties of some size t, a part of t (t − 1), t (t − 1) (t − 2) and t (t − 1) (2 t + 5) for
    each that takes part in them."""
    return np.stack([size - 1, (size - 1) * (size - 2), (size - 1) * (2 * size + 5)])


def _value_ties(values: Series) -> Floats:
    """`(3, n)`: the sums over the ties of equal values."""
    sums = np.zeros((3, values.shape[1]))
    ranks = np.sort(values, axis=0)
    pixels = np.flatnonzero((ranks[1:] == ranks[:-1]).any(axis=0))
    some = values[:, pixels]
    for date in some:
        size = np.count_nonzero(some == date, axis=0).astype(np.float64)
        sums[:, pixels] += np.where(size > 1, _tie_sums(size), 0.0)
    return sums


def _day_ties(valid: npt.NDArray[np.bool_], when: npt.NDArray[np.integer]) -> Floats:
    """`(3, n)`: the sums over the ties of equal days."""
    sums = np.zeros((3, valid.shape[1]))
    for day, times in zip(*np.unique(when, return_counts=True), strict=True):
        if times > 1:
            size = np.count_nonzero(valid[when == day], axis=0).astype(np.float64)
            sums += np.where(size > 1, size * _tie_sums(size), 0.0)
    return sums
