"""How a figure stands among others of its day, and against the same time of earlier years."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from segmentation.temporal.distribution import TO_DEVIATION

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CLASSES = ("very weak", "weak", "average", "strong", "very strong")
CUTS = (-1.6448536269514722, -0.6744897501960817, 0.6744897501960817, 1.6448536269514722)
"""Normal deviates with 5, 25, 75 and 95 % below them: the five classes of the standardised
vegetation index of Peters et al. (2002), Photogrammetric Engineering & Remote Sensing 68(1),
71-75."""


def classify(z: Floats) -> npt.NDArray[np.uint8]:
    """The class of each z-score, 1 very weak to 5 very strong, 0 where it is NaN; a cut belongs to
    the class above it."""
    found = 1 + np.searchsorted(CUTS, z, side="right")
    return np.where(np.isnan(z), 0, found).astype(np.uint8)


def robust_z(values: Floats, group: Integers, least: int) -> tuple[Floats, Integers]:
    """`(n,)` how many deviations each value lies above the median of its group, and how many values
    that has.

    The deviation is the median of absolute deviations in units of a normal one (Iglewicz & Hoaglin
    1993). NaN where the value is, where fewer than `least` values of the group are known, where
    half of them are equal, and in group -1, which is none.
    """
    z, count = np.full(values.size, np.nan), np.zeros(values.size, np.int64)
    known = ~np.isnan(values) & (group >= 0)
    order = np.flatnonzero(known)[np.argsort(group[known], kind="stable")]
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        count[members] = members.size
        if members.size < max(least, 1):
            continue
        off = values[members] - np.median(values[members])
        spread = TO_DEVIATION * np.median(np.abs(off))
        if spread > 0:
            z[members] = off / spread
    return z, count


def anomaly(
    values: Floats, dates: Sequence[datetime.date], window: int, least: int
) -> tuple[Floats, Integers]:
    """`(date, n)` how many standard deviations each value lies above the mean of the same time of
    earlier years, and of how many years that is.

    A year counts by the mean of its values within `window` days of the same day; the deviation is
    that of a sample. NaN where the value is, where fewer than `least` years, two at least, have
    one, and where they are all equal.
    """
    z, years = np.full(values.shape, np.nan), np.zeros(values.shape, np.int64)
    for at, date in enumerate(dates):
        means = []
        for year in range(min(dates).year - 1, date.year):
            day = _same_day(date, year)
            near = [i for i, other in enumerate(dates) if abs((other - day).days) <= window]
            near = [i for i in near if dates[i] < date]
            if near:
                means.append(_mean(values[near]))
        if not means:
            continue
        earlier = np.stack(means)
        years[at] = (~np.isnan(earlier)).sum(axis=0)
        middle = _mean(earlier)
        squares = _mean((earlier - middle) ** 2) * years[at] / np.maximum(years[at] - 1, 1)
        # less is what rounding leaves of equal values
        usable = (years[at] >= max(least, 2)) & (squares > 1e-18)
        z[at, usable] = (values[at] - middle)[usable] / np.sqrt(squares[usable])
    return z, years


def _same_day(date: datetime.date, year: int) -> datetime.date:
    """The same day in another year; of 29 February the 28th."""
    leap_day = date.month == 2 and date.day == 29
    return date.replace(year=year, day=28 if leap_day else date.day)


def _mean(values: Floats) -> Floats:
    """`(n,)` means over the first axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(sums, count, out=np.full(count.shape, np.nan), where=count > 0)
