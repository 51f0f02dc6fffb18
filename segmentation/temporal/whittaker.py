"""A series with gaps as a smooth curve on even steps: Whittaker's smoother."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Series = npt.NDArray[np.floating]
"""`(date, n)`: the values of n pixels, NaN where a date is not valid."""

_BLOCK = 1 << 20
"""Numbers of an array of the solver: with this many it stays near the processor."""


@dataclass(frozen=True)
class TimeAxis:
    """Days at even steps, from the first date to the last or beyond it by half a step at most."""

    first: datetime.date
    step: int
    """Days from one to the next."""
    length: int

    @classmethod
    def over(cls, dates: Sequence[datetime.date], step: int) -> TimeAxis:
        """The axis of some dates, of which there is one at least."""
        first, last = min(dates), max(dates)
        return cls(first, step, _nearest((last - first).days, step) + 1)

    @property
    def dates(self) -> list[datetime.date]:
        """The day of each step."""
        return [self.first + datetime.timedelta(self.step * at) for at in range(self.length)]

    def places(self, dates: Sequence[datetime.date]) -> list[int]:
        """The step that is nearest to each date; of two the later."""
        return [_nearest((date - self.first).days, self.step) for date in dates]


def _nearest(days: int, step: int) -> int:
    return (2 * days + step) // (2 * step)


def smooth(values: Series, places: Sequence[int], length: int, penalty: float) -> Floats:
    """`(length, n)`: the curve of each pixel of a series, from the step of its first valid date to
    that of its last; NaN outside.

    The date at `places[i]` stands at that step. The curve z makes Σ (y − z)² over the valid dates
    plus `penalty` × Σ (z[k] − 2 z[k + 1] + z[k + 2])² as small as can be: a gap has no weight, and
    dates of one step weigh as many as they are. With one valid step it is that step's mean alone.

    Whittaker (1923), https://doi.org/10.1017/S0013091500077853; Eilers (2003), "A perfect
    smoother", https://doi.org/10.1021/ac034173t. The band matrix of each pixel is factored into
    L D Lᵀ without pivots: it is symmetric and positive definite.
    """
    weight, total = _on_steps(values, places, length)
    curve = np.empty(weight.shape)
    block = max(1, _BLOCK // max(1, length))
    for start in range(0, weight.shape[1], block):
        some = np.s_[:, start : start + block]
        curve[some] = _solve(weight[some], total[some], penalty)
    return curve


def _on_steps(values: Series, places: Sequence[int], length: int) -> tuple[Floats, Floats]:
    """`(length, n)`: how many dates are valid at each step, and their sum."""
    weight, total = np.zeros((2, length, values.shape[1]))
    for place, date in zip(places, values, strict=True):
        valid = ~np.isnan(date)
        weight[place] += valid
        total[place] += np.where(valid, date, 0.0)
    return weight, total


def _solve(weight: Floats, total: Floats, penalty: float) -> Floats:
    length, n = weight.shape
    there = weight > 0
    inside = np.logical_or.accumulate(there) & np.logical_or.accumulate(there[::-1])[::-1]
    # Beyond the first and the last valid step nothing is asked: there each step is alone, so that
    # no rounding of a long way comes in.
    bent = np.zeros((length, n))
    bent[: max(0, length - 2)] = penalty * (inside[:-2] & inside[2:])
    middle = np.where(inside, weight, 1.0) + bent
    middle[1:] += 4 * bent[:-1]
    middle[2:] += bent[:-2]
    beside = -2 * bent
    beside[1:] -= 2 * bent[:-1]
    # L has the subdiagonals `near` and `far`; `bent` is the matrix's second, `beside` its first.
    near, far = np.zeros((length, n)), np.zeros((length, n))
    curve = total.copy()
    for k in range(length):
        if k:
            middle[k] -= near[k - 1] ** 2 * middle[k - 1]
            curve[k] -= near[k - 1] * curve[k - 1]
            beside[k] -= near[k - 1] * middle[k - 1] * far[k - 1]
        if k > 1:
            middle[k] -= far[k - 2] ** 2 * middle[k - 2]
            curve[k] -= far[k - 2] * curve[k - 2]
        near[k] = beside[k] / middle[k]
        far[k] = bent[k] / middle[k]
    curve /= middle
    for k in range(length - 2, -1, -1):
        curve[k] -= near[k] * curve[k + 1]
        if k + 2 < length:
            curve[k] -= far[k] * curve[k + 2]
    curve[~inside] = np.nan
    return curve
