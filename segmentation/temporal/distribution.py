"""Mean, spread and quantiles of values that weigh differently: whole numbers, so that nothing
depends on the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

TO_DEVIATION = 1.4826022185056018
"""By which a median of absolute deviations becomes a standard deviation where values are normal."""

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Distribution(NamedTuple):
    """What the values of n groups are like; NaN where a group has none."""

    weight: Integers
    """`(n,)`"""
    mean: Floats
    std: Floats
    """Of the group itself, not of what it might be a sample of."""
    quantiles: Floats
    """`(quantile, n)`"""


def describe(
    group: Integers, value: Integers, weight: Integers, n: int, quantiles: Sequence[Fraction]
) -> Distribution:
    """The distributions of n groups, from parallel arrays in which each value of a group stands
    once, the groups ascending and in them the values; weights are above 0 and add up to less than
    2⁵³.

    A quantile q is the least value up to which more than q of the weight lies; where exactly q of
    it lies up to one value, the mean of that and the next. With equal weights it is definition 2 of
    Hyndman & Fan (1996), https://doi.org/10.2307/2684934, numpy's `averaged_inverted_cdf`.
    """
    ends = np.searchsorted(group, np.arange(n), side="right")
    starts = np.append(0, ends[:-1])
    running = np.append(0, np.cumsum(weight))
    total = running[ends] - running[starts]
    there = total > 0
    mean = _weighted_mean(group, value.astype(np.float64), weight, total)
    spread = (value - mean[group]) ** 2
    std = np.sqrt(_weighted_mean(group, spread, weight, total))
    found = np.full((len(quantiles), n), np.nan)
    for row, quantile in enumerate(quantiles):
        part = _share(total[there], quantile)
        before = running[starts[there]]
        low = np.searchsorted(running[1:], before + part[0], side="left")
        high = np.searchsorted(running[1:], before + part[1], side="right")
        found[row, there] = (value[low] + value[np.minimum(high, ends[there] - 1)]) / 2
    return Distribution(total, mean, std, found)


class Tail(NamedTuple):
    """How far the values of n groups lie from their medians; NaN where a group has none."""

    deviation: Floats
    """`(n,)` the median of absolute deviations from the median."""
    share: Floats
    """`(n,)` the part of the weight that lies far on one side of the median."""


def weigh_tail(
    group: Integers, value: Integers, weight: Integers, median: Floats, sign: int, least: float
) -> Tail:
    """The tails of groups given as in `describe`, below their medians or, with a sign of -1, above.

    Far is more than `least` and more than two deviations, the median of absolute ones in units of a
    normal one: of normal values one in 44 lies there. Medians are whole numbers or lie halfway
    between.
    """
    off = 2 * value - np.rint(2 * np.nan_to_num(median)).astype(np.int64)[group]
    order = np.lexsort((np.abs(off), group))
    sizes = np.abs(off)[order]
    told = describe(group[order], sizes, weight[order], median.size, [Fraction(1, 2)])
    deviation = told.quantiles[0] / 2
    far = sign * off < -2 * np.maximum(2 * TO_DEVIATION * np.nan_to_num(deviation), least)[group]
    low = np.bincount(group, weight * far, median.size)
    share = np.divide(low, told.weight, out=np.full(low.size, np.nan), where=told.weight > 0)
    return Tail(deviation, share)


def _weighted_mean(group: Integers, value: Floats, weight: Integers, total: Integers) -> Floats:
    sums = np.bincount(group, value * weight, total.size)
    return np.divide(sums, total, out=np.full(total.size, np.nan), where=total > 0)


def _share(total: Integers, part: Fraction) -> tuple[Integers, Integers]:
    """The part of each total, rounded up for the lower value and down for the upper: both are it
    where it is whole."""
    product, rest = divmod(total, part.denominator)
    low = product * part.numerator + -(-rest * part.numerator // part.denominator)
    high = product * part.numerator + rest * part.numerator // part.denominator
    return low, high
