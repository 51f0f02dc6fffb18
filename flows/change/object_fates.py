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


def tell_fates(found: Overlaps, *, overlap: float = 50.0, difference: float = 10.0) -> Fates:
    """The group of every object; `overlap` and `difference` are percents. Neither the cut into
    blocks nor their order has a say."""
    areas = found.before[:, 1], found.after[:, 1]
    one = np.searchsorted(found.before[:, 0], found.shared[:, 0])
    other = np.searchsorted(found.after[:, 0], found.shared[:, 1])
    shared = found.shared[:, 2]
    splits = _find_wholes(one, other, shared, areas, difference)
    merges = _find_wholes(other, one, shared, areas[::-1], difference)
    asked = [_Group(SPLIT, np.array([whole]), parts, both) for whole, parts, both in splits]
    asked += [_Group(MERGED, parts, np.array([whole]), both) for whole, parts, both in merges]
    asked.sort(key=lambda group: (-group.shared, group.kind, group.before[0], group.after[0]))
    free = np.ones(areas[0].size, bool), np.ones(areas[1].size, bool)
    groups = []
    for group in asked:
        if free[0][group.before].all() and free[1][group.after].all():
            groups.append(group)
            free[0][group.before], free[1][group.after] = False, False
    for a, b, both in _match(one, other, shared, areas, free, overlap):
        grown, least = int(areas[1][b] - areas[0][a]), difference / 100 * int(areas[0][a])
        kind = STAYED if not grown or abs(grown) < least else GREW if grown > 0 else SHRANK
        groups.append(_Group(kind, np.array([a]), np.array([b]), both))
        free[0][a], free[1][b] = False, False
    none = np.empty(0, np.int64)
    groups += [_Group(APPEARED, none, np.array([b]), 0) for b in np.flatnonzero(free[1])]
    groups += [_Group(VANISHED, np.array([a]), none, 0) for a in np.flatnonzero(free[0])]
    return _as_table(groups, found)


def _find_wholes(
    one: Longs, other: Longs, shared: Longs, areas: tuple[Longs, Longs], difference: float
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
        if 2 * both >= area and besides >= difference / 100 * area:
            yield int(whole), other[pairs], both


def _match(
    one: Longs,
    other: Longs,
    shared: Longs,
    areas: tuple[Longs, Longs],
    free: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    overlap: float,
) -> Iterator[tuple[int, int, int]]:
    """Pairs of free objects that are one, each object once, and what they share."""
    iou = shared / (areas[0][one] + areas[1][other] - shared)
    asked = np.flatnonzero(free[0][one] & free[1][other] & (iou >= overlap / 100))
    taken: tuple[set[int], set[int]] = set(), set()
    for place in asked[np.lexsort((other[asked], one[asked], -iou[asked]))].tolist():
        a, b = int(one[place]), int(other[place])
        if a not in taken[0] and b not in taken[1]:
            taken[0].add(a)
            taken[1].add(b)
            yield a, b, int(shared[place])


def _as_table(groups: list[_Group], found: Overlaps) -> Fates:
    """Groups in their order, and who is in which."""
    (before, areas), (after, areas_now) = found.before.T, found.after.T
    last = 1 + max((int(side.max()) for side in (before, after) if side.size), default=0)

    def lead(numbers: Longs, places: Longs) -> int:
        return int(numbers[places[0]]) if places.size else 0

    def place(group: _Group) -> tuple[int, int]:
        first = int(after[group.after].min()) if group.after.size else last
        return first, lead(before, group.before)

    groups = sorted(groups, key=place)
    of = np.zeros(before.size, np.int64), np.zeros(after.size, np.int64)
    for number, group in enumerate(groups):
        of[0][group.before], of[1][group.after] = number, number
    rows = np.array(
        [
            (
                lead(before, one.before),
                lead(after, one.after),
                one.before.size,
                one.after.size,
                areas[one.before].sum(),
                areas_now[one.after].sum(),
                one.shared,
            )
            for one in groups
        ],
        np.int64,
    ).reshape(-1, 7)
    columns: list[Longs] = [*rows.T, *of]
    kind = np.array([one.kind for one in groups], np.uint8)
    return Fates(kind, *columns)
