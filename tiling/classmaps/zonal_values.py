"""How often each value stands in each zone: whole numbers, and weights by what a zone covers of a
pixel, so that it matters neither how the raster is cut nor in which order the parts come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.classmaps.zonal_areas import Covered, repeat_and_count
from tiling.grid.window import Window

WEIGHT = 1 << 20
"""Weight of a pixel that a zone covers whole."""

MISSING = int(np.iinfo(np.int32).min)
"""The value of a pixel that counts nowhere."""

AT_ONCE = 1 << 20
"""How many covered pixels are looked at together."""

_SHIFT = 40 - 20
_VALUE_BITS = 32
_LEAST = int(np.iinfo(np.int32).min)

Integers = npt.NDArray[np.int64]


class Tally(NamedTuple):
    """What weighs each value in each zone: parallel arrays, every pair of zone and value once, by
    zone and then by value."""

    key: Integers
    """Zone and value in one number."""
    weight: Integers

    @property
    def zone(self) -> Integers:
        return self.key >> _VALUE_BITS

    @property
    def value(self) -> Integers:
        return (self.key & (1 << _VALUE_BITS) - 1) + _LEAST

    @classmethod
    def sum(cls, parts: Iterable[Tally]) -> Tally:
        """Several tallies as one; the same whatever their order."""
        several = list(parts)
        if not several:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64))
        return _sum_up(*(np.concatenate(column) for column in zip(*several, strict=True)))


def tally(covered: Covered, window: Window, values: npt.NDArray[np.int32]) -> Tally:
    """The tally of the values `(y, x)` of a window in the zones that cover it."""
    ends = np.cumsum(covered.length)
    parts = []
    for some in np.split(np.arange(ends.size), np.flatnonzero(np.diff(ends // AT_ONCE)) + 1):
        run, col = repeat_and_count(covered.col[some], covered.length[some])
        run = some[run]
        found = values[covered.row[run] - window.row, col - window.col]
        weight = (covered.coverage[run] + (1 << _SHIFT - 1)) >> _SHIFT
        there = (found != MISSING) & (weight > 0)
        key = (covered.zone[run][there] << _VALUE_BITS) + (found[there].astype(np.int64) - _LEAST)
        parts.append(_sum_up(key, weight[there]))
    return Tally.sum(parts)


def _sum_up(key: Integers, weight: Integers) -> Tally:
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: key.size])
    if not key.size:
        return Tally(key, weight)
    return Tally(key[first], np.add.reduceat(weight[order], first))
