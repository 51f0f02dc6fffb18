"""Exact sums of whole numbers over regions; `np.bincount` adds up in float64, which ends at 2⁵³."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_HALF = 24


def sum_exactly(
    groups: npt.NDArray[np.integer], values: npt.NDArray[np.integer], n: int
) -> npt.NDArray[np.int64]:
    """Sum `(n,)` of whole numbers in each of the groups 0 … n - 1, both arrays flat; exact for up
    to 2²⁹ numbers below 2⁴⁸, and while no sum reaches 2⁶³.

    Numbers are added up in halves of 24 bits.
    """
    values = values.astype(np.int64, copy=False)
    if not values.size or np.abs(values).max() < (1 << 53) // values.size:
        return np.bincount(groups, values, n).astype(np.int64)
    low = np.bincount(groups, values & ((1 << _HALF) - 1), n).astype(np.int64)
    high = np.bincount(groups, values >> _HALF, n).astype(np.int64)
    return low + (high << _HALF)


def sum_runs(start: npt.NDArray[np.intp], pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Sum of the whole numbers `(y, x)` in each run of pixels, given by the flat index of its
    first; the last one ends with the pixels."""
    if not start.size:
        return np.zeros(0, np.int64)
    sums: npt.NDArray[np.int64] = np.add.reduceat(pixels.ravel(), start, dtype=np.int64)
    return sums


def find_starts(rank: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Flat index of the first pixel of each run of one number in the rows of `(y, x)`."""
    begins = np.ones(rank.shape, bool)
    np.not_equal(rank[:, 1:], rank[:, :-1], out=begins[:, 1:])
    return np.flatnonzero(begins)
