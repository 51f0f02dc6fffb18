"""What a series holds, in a few figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.floating]
"""`(date, n)`: the values of n pixels, NaN where a date is not valid."""


class Summary(NamedTuple):
    """The series of n pixels in figures; NaN where no date is valid."""

    first: npt.NDArray[np.float64]
    """The day of the first valid date, in the numbers that the days were given in."""
    last: npt.NDArray[np.float64]
    minimum: Series
    maximum: Series
    looks: npt.NDArray[np.int64]
    """How many dates are valid."""

    @property
    def amplitude(self) -> Series:
        """How far the greatest value lies above the least."""
        return self.maximum - self.minimum


def summarise(values: Series, days: Sequence[int]) -> Summary:
    """The figures of a series whose dates ascend."""
    valid = ~np.isnan(values)
    looks = np.count_nonzero(valid, axis=0)
    when = np.asarray(days, np.float64)
    first = np.where(looks > 0, when[valid.argmax(axis=0)], np.nan)
    last = np.where(looks > 0, when[len(when) - 1 - valid[::-1].argmax(axis=0)], np.nan)
    lowest = np.fmin.reduce(values, axis=0)
    return Summary(first, last, lowest, np.fmax.reduce(values, axis=0), looks)
