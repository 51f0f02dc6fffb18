"""What became of each object: one rule for two days, from areas alone.

Every object of either day is in exactly one group. In this order:

1. **Split and merged.** An object is part of one of the other day where at least half of it lies in
   that. One of which two or more are part, that they cover by half at least, was split into them;
   or was merged from them, where the parts are the earlier ones. What lies besides the largest part
   has to be at least `difference` percent of the whole: a sliver splits nothing. Where groups share
   an object, the one that shares more area comes first, of equals the split, then the one of the
   lower number.
2. **The same object.** Of what is left two are one where their intersection over union is at least
   `overlap` percent: the pair of the highest first, of equals that of the lower number before, then
   now, and each object once. It grew or shrank where its area differs by `difference` percent of
   the earlier one or more; else it stayed.
3. What is left has vanished, or appeared.

A smallest change hides what is smaller: two that differ by less are the same size, less besides the
largest part splits and merges nothing, and what of less area has vanished or appeared is set aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flows.change.object_pairs import Longs, Overlaps
from tiling.classmaps.legend import LegendRow

KINDS: tuple[LegendRow, ...] = (
    (1, "stayed", "#bdbdbd"),
    (2, "grew", "#1b9e77"),
    (3, "shrank", "#e6ab02"),
    (4, "split", "#7570b3"),
    (5, "merged", "#e7298a"),
    (6, "appeared", "#1f78b4"),
    (7, "vanished", "#d95f02"),
)
"""What can become of objects: value, name, colour."""

STAYED, GREW, SHRANK, SPLIT, MERGED, APPEARED, VANISHED = (value for value, *_ in KINDS)

ASIDE = 0
"""The kind of what has vanished or appeared and is too small to be told of."""


class Fates(NamedTuple):
    """Groups of objects, later ones by their number first, then those that vanished."""

    kind: npt.NDArray[np.uint8]
    number_before: Longs
    """The earlier object, of several the one of which the later one has most; 0 = none."""
    number_after: Longs
    n_before: Longs
    """How many earlier objects there are."""
    n_after: Longs
    before: Longs
    """Units of area of the earlier objects, all of them."""
    after: Longs
    shared: Longs
    """Units where an earlier and a later object of the group are."""
    group_before: Longs
    """The group of each earlier object, in their order."""
    group_after: Longs

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of what was and what is."""
        return self.shared / (self.before + self.after - self.shared)


class _Group(NamedTuple):
    kind: int
    before: Longs
    """Places of its earlier objects among all, the one that leads first."""
    after: Longs
    shared: int


Groups = tuple[int | npt.NDArray[np.uint8], Longs, Longs, Longs | int]
"""Kinds of some groups of at most one object a day, the places of these, -1 = none, and what they
share."""


def tell_fates(
    found: Overlaps, *, overlap: float = 50.0, difference: float = 10.0, least: float = 0.0
) -> Fates:
    """The group of every object; `overlap` and `difference` are percents, `least` is the smallest
    change in units of area. Neither the cut into blocks nor their order has a say."""
    areas = found.before[:, 1], found.after[:, 1]
    one = np.searchsorted(found.before[:, 0], found.shared[:, 0])
    other = np.searchsorted(found.after[:, 0], found.shared[:, 1])
    shared = found.shared[:, 2]
    splits = _find_wholes(one, other, shared, areas, difference, least)
    merges = _find_wholes(other, one, shared, areas[::-1], difference, least)
    asked = [_Group(SPLIT, np.array([whole]), parts, both) for whole, parts, both in splits]
    asked += [_Group(MERGED, parts, np.array([whole]), both) for whole, parts, both in merges]
    asked.sort(key=lambda group: (-group.shared, group.kind, group.before[0], group.after[0]))
    free = np.ones(areas[0].size, bool), np.ones(areas[1].size, bool)
    several = []
    for group in asked:
        if free[0][group.before].all() and free[1][group.after].all():
            several.append(group)
            free[0][group.before], free[1][group.after] = False, False
    pairs = _match(one, other, shared, areas, free, overlap)
    a, b = one[pairs], other[pairs]
    free[0][a], free[1][b] = False, False
    grown = areas[1][b] - areas[0][a]
    small = (abs(grown) < difference / 100 * areas[0][a]) | (abs(grown) < least) | (grown == 0)
    kinds = np.where(small, STAYED, np.where(grown > 0, GREW, SHRANK)).astype(np.uint8)
    came, gone = np.flatnonzero(free[1]), np.flatnonzero(free[0])
    told = [
        np.where(area[places] < least, ASIDE, kind).astype(np.uint8)
        for kind, area, places in ((APPEARED, areas[1], came), (VANISHED, areas[0], gone))
    ]
    single: list[Groups] = [
        (kinds, a, b, shared[pairs]),
        (told[0], np.full(came.size, -1), came, 0),
        (told[1], gone, np.full(gone.size, -1), 0),
    ]
    return _as_table(several, single, found)


def _find_wholes(
    one: Longs,
    other: Longs,
    shared: Longs,
    areas: tuple[Longs, Longs],
    difference: float,
    least: float,
) -> Iterator[tuple[int, Longs, int]]:
    """Objects of one day of which several of the other day are part: the place of the whole, those
    of its parts with the largest first, and what they share."""
    # of each part the pair that shares most, of equals the first whole: at least half of it
    order = np.lexsort((one, -shared, other))
    first = np.unique(other[order], return_index=True)[1]
    best = order[first]
    best = best[2 * shared[best] >= areas[1][other[best]]]
    best = best[np.lexsort((other[best], -shared[best], one[best]))]
    wholes, starts, counts = np.unique(one[best], return_index=True, return_counts=True)
    for whole, start, count in zip(
        wholes[counts > 1], starts[counts > 1], counts[counts > 1], strict=True
    ):
        pairs = best[start : start + count]
        both, area = int(shared[pairs].sum()), int(areas[0][whole])
        besides = both - int(shared[pairs[0]])
        if 2 * both >= area and besides >= max(difference / 100 * area, least):
            yield int(whole), other[pairs], both


def _match(
    one: Longs,
    other: Longs,
    shared: Longs,
    areas: tuple[Longs, Longs],
    free: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    overlap: float,
) -> Longs:
    """Places among the pairs of those of free objects that are one, each object once."""
    iou = shared / (areas[0][one] + areas[1][other] - shared)
    asked = np.flatnonzero(free[0][one] & free[1][other] & (iou >= overlap / 100))
    taken, pairs = (~free[0], ~free[1]), []
    for place in asked[np.lexsort((other[asked], one[asked], -iou[asked]))].tolist():
        a, b = one[place], other[place]
        if not taken[0][a] and not taken[1][b]:
            taken[0][a] = taken[1][b] = True
            pairs.append(place)
    return np.array(pairs, np.int64)


def _as_table(several: list[_Group], single: list[Groups], found: Overlaps) -> Fates:
    """Groups in their order, and who is in which: `several` of more than one object on a day, and
    the others."""
    (before, areas), (after, areas_now) = found.before.T, found.after.T
    last = 1 + max((int(side.max()) for side in (before, after) if side.size), default=0)
    rows = np.array(
        [
            (
                one.kind,
                before[one.before[0]],
                after[one.after[0]],
                one.before.size,
                one.after.size,
                areas[one.before].sum(),
                areas_now[one.after].sum(),
                one.shared,
                after[one.after].min(),
            )
            for one in several
        ],
        np.int64,
    ).reshape(-1, 9)
    tables, of = [rows], (np.zeros(before.size, np.int64), np.zeros(after.size, np.int64))
    for number, group in enumerate(several):
        of[0][group.before], of[1][group.after] = number, number
    start = len(several)
    for kind, was, now, shared in single:
        there = was >= 0, now >= 0
        numbers = np.arange(start, start + was.size)
        of[0][was[there[0]]], of[1][now[there[1]]] = numbers[there[0]], numbers[there[1]]
        start += was.size
        own = np.zeros((was.size, 9), np.int64)
        own[:, 0], own[:, 3], own[:, 4], own[:, 7], own[:, 8] = kind, *there, shared, last
        own[there[0], 1], own[there[0], 5] = before[was[there[0]]], areas[was[there[0]]]
        own[there[1], 2], own[there[1], 6] = after[now[there[1]]], areas_now[now[there[1]]]
        own[there[1], 8] = own[there[1], 2]
        tables.append(own)
    rows = np.concatenate(tables)
    order = np.lexsort((rows[:, 1], rows[:, 8]))
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    rows = rows[order]
    columns = [*(np.ascontiguousarray(column) for column in rows.T[1:8]), *(place[o] for o in of)]
    return Fates(rows[:, 0].astype(np.uint8), *columns)
