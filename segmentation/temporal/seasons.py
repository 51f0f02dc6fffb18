"""When a season begins, is at its height and ends, from a smooth curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Season(NamedTuple):
    """When the seasons of n pixels are, in steps of their curve; NaN where there is none."""

    start: Floats
    peak: Floats
    end: Floats
    amplitude: Floats
    """The peak above the mean of the lowest values on its two sides."""

    @property
    def length(self) -> Floats:
        """Steps from start to end."""
        return self.end - self.start


def find_season(
    curve: Floats,
    begin: int,
    stop: int,
    *,
    reach: int,
    threshold: float = 0.2,
    least: float = 0.1,
) -> Season:
    """The season with the highest peak among the steps `begin` to `stop` of curves `(step, n)`.

    A peak is a value higher than the one before it and no lower than the one after. The lowest
    value within `reach` steps before it is the left minimum, that after it the right. The season
    starts where the curve last comes to the left minimum + `threshold` × (peak − left minimum)
    before the peak, and ends where it first falls to the same part of the right side: TIMESAT's
    definition, Jönsson & Eklundh (2004), https://doi.org/10.1016/j.cageo.2004.05.006. Between two
    steps the curve is taken as straight. There is no season where the peak lies less than `least`
    above one of the minima, as at an end of the curve.
    """
    length = len(curve)
    step = np.arange(length)[:, None]
    peak, height = _highest_peak(curve, begin, stop)
    before = (step < peak) & (step >= peak - reach)
    after = (step > peak) & (step <= peak + reach)
    left, right = (_lowest(curve, side) for side in (before, after))
    there = (height - left >= least) & (height - right >= least)
    rises = left + threshold * (height - left)
    falls = right + threshold * (height - right)
    with np.errstate(invalid="ignore"):
        low = np.where(before & (curve <= rises), step, -1).max(axis=0)
        high = np.where(after & (curve <= falls), step, length).min(axis=0)
    start = _crossing(curve, np.where(there, low, 0), 1, rises)
    end = _crossing(curve, np.where(there, high, length - 1), -1, falls)
    found = (start, peak.astype(np.float64), end, height - (left + right) / 2)
    return Season(*(np.where(there, one, np.nan) for one in found))


def _highest_peak(curve: Floats, begin: int, stop: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Step and height of the highest peak of each pixel, the first of equal ones; step -1 and
    height NaN where there is none."""
    with np.errstate(invalid="ignore"):
        is_peak = (curve[1:-1] > curve[:-2]) & (curve[1:-1] >= curve[2:])
    height = np.full(curve.shape, -np.inf)
    height[1:-1] = np.where(is_peak, curve[1:-1], -np.inf)
    height[: max(0, begin)] = height[max(0, stop) :] = -np.inf
    peak = height.argmax(axis=0)
    top = np.take_along_axis(height, peak[None], axis=0)[0]
    return np.where(np.isfinite(top), peak, -1), np.where(np.isfinite(top), top, np.nan)


def _lowest(curve: Floats, side: npt.NDArray[np.bool_]) -> Floats:
    """The lowest value on one side of the peak; infinite where nothing lies there."""
    lowest: Floats = np.where(side & ~np.isnan(curve), curve, np.inf).min(axis=0)
    return lowest


def _crossing(curve: Floats, at: npt.NDArray[np.intp], way: int, level: Floats) -> Floats:
    """Where between a step and its neighbour on the way to the peak the curve is at a level."""
    pixel = np.arange(curve.shape[1])
    here, there = curve[at, pixel], curve[np.clip(at + way, 0, len(curve) - 1), pixel]
    with np.errstate(divide="ignore", invalid="ignore"):
        return at + way * (level - here) / (there - here)
