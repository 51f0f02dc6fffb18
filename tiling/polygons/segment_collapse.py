"""Segments that collapse to a point such that the area on either side stays.

Kronenfeld, Stanislawski, Buttenfield and Brockmeyer (2020), "Simplification of polylines by segment
collapse: minimizing areal displacement while preserving area", International Journal of Cartography
6(1): a segment BC in a line A B C D becomes one point E. So every region keeps the area of its
pixels, and a small one cannot vanish.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiling.polygons.lines import Floats, Indices, Mask, Points, cross

NEVER = np.iinfo(np.int64).max


def collapse(xy: Floats, offsets: Indices, tolerance: Floats) -> tuple[Floats, Indices]:
    """Arcs with their segments collapsed, cheapest of its surroundings first, as long as the `(n,)`
    tolerances allow.

    In each round those segments collapse that cost less than the two on either side, which share
    vertices with them: so all can be done at once, and what becomes of an arc depends on no other.
    """
    lines = _Lines(xy, offsets, np.repeat(tolerance, np.diff(offsets)))
    queued = np.zeros(len(xy), bool)
    waiting = np.empty(0, np.intp)
    while (changed := np.flatnonzero(lines.changed)).size or waiting.size:
        lines.changed[changed] = False
        new = changed[~queued[changed]]
        queued[new] = True
        waiting = np.concatenate([waiting, new])
        lines.price(changed)
        possible = lines.cost[waiting] != NEVER
        queued[waiting[~possible]] = False
        waiting = waiting[possible]
        lines.collapse(lines.cheapest(waiting))
    alive = lines.alive
    kept = np.add.reduceat(alive, offsets[:-1], dtype=np.int64)
    return np.stack([lines.x[alive], lines.y[alive]], axis=1), np.append(0, np.cumsum(kept))


class _Lines:
    """Arcs as linked lists of vertices, and what it costs to collapse a segment, which is known by
    its first vertex."""

    def __init__(self, xy: Floats, offsets: Indices, limit: Floats) -> None:
        n = len(xy)
        self.x, self.y = np.ascontiguousarray(xy.T)
        self.alive = np.ones(n, bool)
        self.cost = np.full(n, NEVER)
        self._limit = limit
        self._inner = np.ones(n, bool)
        self._inner[offsets[:-1]] = self._inner[offsets[1:] - 1] = False
        self._following, self._previous = np.arange(n) + 1, np.arange(n) - 1
        self._following[offsets[1:] - 1] -= 1
        self._previous[offsets[:-1]] += 1
        # Equal costs are common on a lattice. A hash of the place decides, lest long staircases be
        # worked off one by one.
        place = np.arange(n) - np.repeat(offsets[:-1], np.diff(offsets))
        self._lot = (place * 2654435761) & 0xFFFFFFFF
        self._drop = np.zeros(n, bool)
        self._target = np.empty_like(self.x), np.empty_like(self.y)
        self.changed = self._inner & self._inner[self._following] & (limit > 0)
        """Segments whose cost is not known yet."""

    def price(self, b: npt.NDArray[np.intp]) -> None:
        """What these segments cost, `NEVER` where they may not collapse, and what they become."""
        x, y, cost = self.x, self.y, self.cost
        c = self._following[b]
        a, d = self._previous[b], self._following[c]
        away, self._target[0][b], self._target[1][b], self._drop[b] = _collapse_cost(
            (x[a], y[a]), (x[b], y[b]), (x[c], y[c]), (x[d], y[d])
        )
        cost[b] = NEVER
        possible = np.flatnonzero(away <= self._limit[b])
        a, b, d, away = a[possible], b[possible], d[possible], away[possible]
        # A closed arc keeps four corners: a field of pixels is no triangle.
        before, after = self._previous[a], self._following[d]
        last = (x[before] == x[d]) & (y[before] == y[d]) | (x[a] == x[after]) & (y[a] == y[after])
        cost[b] = np.where(last, NEVER, np.rint(away * 256).astype(np.int64) << 32 | self._lot[b])

    def cheapest(self, b: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Those of the segments that cost less than the two on either side."""
        cost, a, c = self.cost, self._previous[b], self._following[b]
        before = np.minimum(cost[a], cost[self._previous[a]])
        after = np.minimum(cost[c], cost[self._following[c]])
        chosen: npt.NDArray[np.intp] = b[cost[b] < np.minimum(before, after)]
        return chosen

    def collapse(self, b: npt.NDArray[np.intp]) -> None:
        """Make one vertex, or none, of the two of each segment; their neighbours have changed."""
        cost, following, previous = self.cost, self._following, self._previous
        a, c = previous[b], following[b]
        d = following[c]
        gone = self._drop[b]
        stays = b[~gone]
        self.alive[c] = self.alive[b[gone]] = False
        cost[a] = cost[b] = cost[c] = cost[d] = NEVER
        self.x[stays], self.y[stays] = self._target[0][stays], self._target[1][stays]
        following[b], previous[d] = d, b
        following[a[gone]], previous[d[gone]] = d[gone], a[gone]
        for some in (previous[a], a, stays, d):
            self.changed[some] = self._inner[some] & self._inner[following[some]]


def _collapse_cost(
    a: Points, b: Points, c: Points, d: Points
) -> tuple[Floats, Floats, Floats, Mask]:
    """For lines A B C D: how far the line moves if BC becomes a point E, E's x and y, and whether E
    is not needed.

    E lies on the parallel to AD that keeps the area, where it meets AB or CD, whichever moves less.
    """
    base, side = _minus(d, a), _minus(b, a)
    across = _minus(c, a)
    height_b, height_c = cross(base, side), cross(base, across)
    height = height_c - cross(side, across)
    on_ab = np.where(height_b * height_c > 0, abs(height_b) > abs(height_c), height * height_b > 0)
    # Seen from the end whose segment E prolongs or shortens, both cases are one.
    a, b, c, d = (
        _either(on_ab, a, d),
        _either(on_ab, b, c),
        _either(on_ab, c, b),
        _either(on_ab, d, a),
    )
    needless = abs(height) < 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(needless, 0, height / np.where(on_ab, height_b, height_c))
        e = a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])
        beyond = t > 1
        one = _distance(_either(beyond, e, b), _either(beyond, b, e), _either(beyond, c, d))
        away = np.maximum(one, _distance(c, e, d))
    return away, *e, needless


def _minus(one: Points, other: Points) -> Points:
    return one[0] - other[0], one[1] - other[1]


def _either(chosen: Mask, one: Points, other: Points) -> Points:
    return np.where(chosen, one[0], other[0]), np.where(chosen, one[1], other[1])


def _distance(point: Points, start: Points, end: Points) -> Floats:
    """From points to segments."""
    along, to = _minus(end, start), _minus(point, start)
    length = np.square(along[0]) + np.square(along[1])
    t = np.clip((along[0] * to[0] + along[1] * to[1]) / np.where(length > 0, length, 1), 0, 1)
    return np.sqrt(np.square(to[0] - t * along[0]) + np.square(to[1] - t * along[1]))
