"""Shared boundaries simplified once: every arc is a pure function of itself, so neighbours agree
without meeting.

An *arc* is the part of a boundary between two nodes, the lattice points where three or more
outlines meet or where one meets the frame of the raster. It is the same row of vertices for the
regions on both its sides; each looks at it in one canonical direction and does the same arithmetic
with it. No table of arcs, no tile, no order of work enters.

Simplified lines may cross. Going once round every face, no data included, passes each arc once in
either direction; so the winding numbers of all faces add up to one everywhere within the frame,
whatever has become of the arcs. If every face is a valid polygon whose rings turn as before, each
winding number is zero or one: then there is neither gap nor overlap. Hence it is enough to look at
each face alone (`tiling.polygons.faces`), and to go back towards the original line with its arcs,
level by level, until all are valid; the original lines are, so this ends. A hole that touches
another ring of its face between two vertices leaves the face valid and the coverage not: such arcs
go back likewise.

First the stairs go (`_ease`): a line crosses the pixels' edges in their middles, and what its
corners lose is given back along its whole length. Then comes segment collapse (Kronenfeld,
Stanislawski, Buttenfield and Brockmeyer 2020, "Simplification of polylines by segment collapse:
minimizing areal displacement while preserving area", International Journal of Cartography 6(1)): a
segment BC in a line A B C D becomes one point E such that the area on either side stays. So every
region keeps the area of its pixels, and a small one cannot vanish. Collapse alone leaves single
steps beside long diagonals, and makes spikes of others; Douglas–Peucker picks the outermost corners
of a staircase.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.polygons.outlines import Rings, ragged_index

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Keys: TypeAlias = npt.NDArray[np.uint64]
Levels: TypeAlias = npt.NDArray[np.int8]
Mask: TypeAlias = npt.NDArray[np.bool_]

ORIGINAL = 3
"""The last level of an arc: level 0 has the whole tolerance, 1 a half, 2 a quarter, this one
nothing."""

EASING = 0.5
"""Pixels by which the middle of a step lies off its corners, about: what is left of a tolerance is
for collapse."""

REACH = 1.0
"""How far from a vertex smoothing cuts its corner off, in pixels: the corner of a large field stays
where it is."""


class Arcs(NamedTuple):
    """Rings cut at their nodes, in the order in which the rings pass them: what both neighbours see
    alike."""

    row: npt.NDArray[np.int32]
    """Vertices of all arcs, both ends included, in canonical direction: from the end that is first
    by row, then column. Where both ends are one point, the neighbour of the end decides in the same
    way."""
    col: npt.NDArray[np.int32]
    offsets: Indices
    """`(n + 1,)` offsets of the arcs in `row` and `col`."""
    key: Keys
    """`(n,)` first vertex and heading: no two arcs leave a lattice point along the same edge."""
    against: Mask
    """`(n,)` whether the ring passes the arc against its canonical direction."""
    rings: Indices
    """Offsets of the rings in the arcs."""


class Outlines(NamedTuple):
    """Simplified rings, each beginning with its first arc."""

    xy: Floats
    """`(n, 2)` column and row in pixels, counted from the outer corner of the first pixel; every
    ring is closed."""
    rings: Indices
    """Offsets of the rings in `xy`."""
    arcs: Indices
    """Where in `xy` each arc begins; it ends where the next begins, the last of a ring at the
    closing point."""


def arcs_of(rings: Rings) -> Arcs:
    """Cut rings at their nodes; a ring without any becomes one closed arc.

    Such a ring must start at its first vertex by row, then column, as `connect` leaves it.
    """
    size = np.diff(rings.rings) - 1  # without the closing point
    stop = np.cumsum(size)
    ring = np.repeat(np.arange(size.size), size)
    begins = rings.node[np.arange(ring.size) + ring]
    whole = ~np.logical_or.reduceat(begins, stop - size)
    begins[(stop - size)[whole]] = True
    start = np.flatnonzero(begins)
    per_ring = np.bincount(ring[start])
    last = np.cumsum(per_ring) - 1
    end = np.append(start[1:], 0)
    end[last] = start[last - per_ring + 1] + size

    offsets = np.append(0, np.cumsum(end - start + 1))
    place = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], np.diff(offsets))
    of = np.repeat(ring[start], np.diff(offsets))
    place -= np.where(place >= stop[of], size[of], 0)
    place += of

    code = rings.row[place].astype(np.int64) << 32 | rings.col[place]
    first, final = offsets[:-1], offsets[1:] - 1
    against = np.where(
        code[first] == code[final], code[first + 1] > code[final - 1], code[first] > code[final]
    )
    place = place[_vertex_order(offsets, np.arange(against.size), against)]
    row, col = rings.row[place], rings.col[place]
    down, across = row[first + 1] - row[first], col[first + 1] - col[first]
    heading = np.where(down == 0, across > 0, 2 + (down > 0)).astype(np.uint64)
    key = row[first].astype(np.uint64) << 33 | col[first].astype(np.uint64) << 2 | heading
    return Arcs(row, col, offsets, key, against, np.append(0, np.cumsum(per_ring)))


def _vertex_order(offsets: Indices, chosen: Indices, turned: Mask) -> Indices:
    """Index of the vertices of some arcs, one after the other, some of them turned round."""
    size = np.diff(offsets)[chosen]
    stop = np.cumsum(size)
    step = np.where(turned, -1, 1)
    start = np.where(turned, offsets[1:][chosen] - 1, offsets[:-1][chosen])
    return np.repeat(start - step * (stop - size), size) + np.repeat(step, size) * np.arange(
        size.sum()
    )


def simplify_arcs(arcs: Arcs, tolerance: float, levels: Levels, *, smooth: int = 0) -> Outlines:
    """The rings with simplified arcs; `tolerance` in pixels is how far a line may move where a
    segment collapses.

    That is a limit for each step, not for their sum: lines end up to about twice as far from the
    pixels. `levels (n,)` are those of the arcs: the higher, the closer one keeps to its original.
    `smooth` is how many times the corners of the simplified arcs are cut; their ends stay, areas
    change a little.
    """
    # Most arcs lie between two of the regions, and are passed by both.
    _, chosen, distinct = np.unique(arcs.key, return_index=True, return_inverse=True)
    level = levels[chosen]
    place = ragged_index(arcs.offsets, chosen)
    offsets = np.append(0, np.cumsum(np.diff(arcs.offsets)[chosen]))
    xy = np.stack([arcs.col[place], arcs.row[place]], axis=1).astype(np.float64)
    origin = xy[offsets[:-1]]
    xy -= np.repeat(origin, np.diff(offsets), axis=0)  # rounding errors grow with the numbers
    allowed = np.where(level < ORIGINAL, tolerance * 0.5**level, 0)
    xy, offsets = _ease(xy, offsets, allowed)
    xy, offsets = _collapse(xy, offsets, np.maximum(allowed - EASING, allowed / 3))
    for _ in range(smooth):
        xy, offsets = _cut_corners(xy, offsets, level < ORIGINAL)
    xy += np.repeat(origin, np.diff(offsets), axis=0)
    passed = np.append(0, np.cumsum(np.diff(offsets)[distinct]))
    return _join_arcs(xy[_vertex_order(offsets, distinct, arcs.against)], passed, arcs.rings)


def _join_arcs(xy: Floats, offsets: Indices, rings: Indices) -> Outlines:
    """Arcs that follow each other joined into rings: the end of all but the last of a ring is the
    start of the next."""
    joined = np.ones(offsets.size - 1, bool)
    joined[rings[1:] - 1] = False
    keep = np.ones(len(xy), bool)
    keep[offsets[1:][joined] - 1] = False
    starts = np.append(0, np.cumsum(np.diff(offsets) - joined))
    return Outlines(xy[keep], starts[rings], starts[:-1])


# --- one line -------------------------------------------------------------------------------------

NEVER = np.iinfo(np.int64).max

Points: TypeAlias = tuple[Floats, Floats]
"""x and y of each, apart: arithmetic on rows of two numbers takes several times as long."""


def _ease(xy: Floats, offsets: Indices, tolerance: Floats) -> tuple[Floats, Indices]:
    """Arcs of pixels' edges drawn from middle to middle of them, as far as the `(n,)` tolerances
    allow; areas stay.

    Where one edge of a corner is a step of one or two pixels, a straight cut leads from the middle
    of this edge to that of the other, or to a point on it that is near: so stairs of one slope
    become one line. Corners of longer edges stay, and so do rectangles. Of a closed arc the first
    corner is eased as well.
    """
    first, final = offsets[:-1], offsets[1:] - 1
    x, y = np.ascontiguousarray(xy.T)
    size = np.diff(offsets)
    closed = (x[first] == x[final]) & (y[first] == y[final])
    eased = (tolerance > 0) & (size > 2) & ~(closed & (size == 5))
    turning = np.repeat(eased, size)
    turning[first], turning[final] = False, eased & closed
    corner = np.flatnonzero(turning)
    onwards = np.arange(1, x.size + 1)
    onwards[final] = first + 1
    before, after = corner - 1, onwards[corner]

    ux, uy, vx, vy = (
        x[corner] - x[before],
        y[corner] - y[before],
        x[after] - x[corner],
        y[after] - y[corner],
    )
    u, v = abs(ux) + abs(uy), abs(vx) + abs(vy)
    turn = np.zeros(x.size, np.int8)
    turn[corner] = np.sign(ux * vy - uy * vx)
    turn[first[closed]] = turn[final[closed]]
    cut_u, cut_v = (
        np.minimum(mine / 2, np.where(other > 1, 1, np.where(turn[far] == -turn[corner], 2, 0.5)))
        for mine, other, far in ((u, v, after), (v, u, before))
    )
    limit = np.repeat(tolerance, size)[corner]
    cut = (np.minimum(u, v) <= 2) & (
        np.square(cut_u * cut_v) <= limit**2 * (np.square(cut_u) + np.square(cut_v))
    )
    cut_u, cut_v = np.where(cut, cut_u / u, 0), np.where(cut, cut_v / v, 0)
    lost = np.zeros(x.size)
    lost[corner] = cut_u * cut_v * (ux * vy - uy * vx)

    # Each corner becomes two points, or one where the second is the first of the next corner. The
    # last of a closed arc is the first one too: that comes in its place.
    come, two = np.zeros(x.size), np.zeros(x.size, bool)
    come[corner] = cut_u * u
    come[first[closed]] = come[final[closed]]
    two[corner] = cut & (cut_v * v + come[after] < v)
    x_in, y_in, x_out, y_out = x.copy(), y.copy(), x.copy(), y.copy()
    x_in[corner] -= cut_u * ux
    y_in[corner] -= cut_u * uy
    x_out[corner] += cut_v * vx
    y_out[corner] += cut_v * vy
    ring, end = first[closed], final[closed]
    for values in (x_in, y_in, x_out, y_out, two):
        values[ring] = values[end]
    two[end] = False
    place = np.cumsum(two) + np.arange(x.size)
    new_x, new_y = np.empty(place[-1] + 1), np.empty(place[-1] + 1)
    new_x[place], new_y[place] = x_out, y_out
    new_x[place - two], new_y[place - two] = x_in, y_in
    starts = np.append(0, place[final] + 1)

    # Stairs are straight now: all of these numbers are quarters, and exact.
    step_x, step_y = np.diff(new_x), np.diff(new_y)
    bends = np.ones(new_x.size, bool)
    bends[1:-1] = step_x[:-1] * step_y[1:] != step_y[:-1] * step_x[1:]
    bends[starts[:-1]] = bends[starts[1:] - 1] = True
    starts = np.append(0, np.cumsum(np.add.reduceat(bends, starts[:-1], dtype=np.int64)))
    moved, kept = _give_back(
        new_x[bends], new_y[bends], starts, np.add.reduceat(lost, first), tolerance
    )
    if not kept.all():
        return _ease(xy, offsets, np.where(kept, tolerance, 0))
    return moved, starts


def _give_back(
    x: Floats, y: Floats, offsets: Indices, lost: Floats, tolerance: Floats
) -> tuple[Floats, Mask]:
    """Arcs moved sideways such that each has so much more, `(n,)`, on its left, twice the area, and
    whether each can.

    Every inner vertex moves across the line from the vertex before it to the one after, in
    proportion to its length: that is where area is had for the least movement. Only those arcs can
    of which none has to move far.
    """
    first, final = offsets[:-1], offsets[1:] - 1
    across_x, across_y = np.zeros(x.size), np.zeros(x.size)
    across_x[1:-1], across_y[1:-1] = y[2:] - y[:-2], x[:-2] - x[2:]
    for ends in (first, final):
        across_x[ends] = across_y[ends] = 0
    squares = np.square(across_x) + np.square(across_y)
    turned = np.append(cross((across_x[:-1], across_y[:-1]), (across_x[1:], across_y[1:])), 0)
    linear, quadratic = np.add.reduceat(squares, first), np.add.reduceat(turned, first)
    root = np.square(linear) + 4 * quadratic * lost
    step = 2 * lost / np.where(lost == 0, 1, linear + np.sqrt(np.maximum(root, 0)))
    far = np.square(step) * np.maximum.reduceat(squares, first) > np.square(tolerance / 2)
    step = np.repeat(step, np.diff(offsets))
    return np.stack([x + step * across_x, y + step * across_y], axis=1), (lost == 0) | (
        (root >= 0) & ~far
    )


def _collapse(xy: Floats, offsets: Indices, tolerance: Floats) -> tuple[Floats, Indices]:
    """Arcs with their segments collapsed, cheapest of its surroundings first, as long as the `(n,)`
    tolerances allow.

    The arcs are linked lists; a segment is known by its first vertex. In each round those segments
    collapse that cost less than the two on either side, which share vertices with them: so all can
    be done at once, and what becomes of an arc depends on no other.
    """
    size = np.diff(offsets)
    n = len(xy)
    x, y = np.ascontiguousarray(xy.T)
    inner = np.ones(n, bool)
    inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
    following, previous = np.arange(n) + 1, np.arange(n) - 1
    following[offsets[1:] - 1] -= 1
    previous[offsets[:-1]] += 1
    alive = np.ones(n, bool)
    limit = np.repeat(tolerance, size)
    # Equal costs are common on a lattice. A hash of the place decides, lest long staircases be
    # worked off one by one.
    place = np.arange(n) - np.repeat(offsets[:-1], size)
    lot = (place * 2654435761) & 0xFFFFFFFF
    cost, drop = np.full(n, NEVER), np.zeros(n, bool)
    target_x, target_y = np.empty_like(x), np.empty_like(y)

    marked, queued = inner & inner[following] & (limit > 0), np.zeros(n, bool)
    waiting = np.empty(0, np.intp)
    while (changed := np.flatnonzero(marked)).size or waiting.size:
        marked[changed] = False
        new = changed[~queued[changed]]
        queued[new] = True
        waiting = np.concatenate([waiting, new])

        b, c = changed, following[changed]
        a, d = previous[b], following[c]
        away, target_x[b], target_y[b], drop[b] = _collapse_cost(
            (x[a], y[a]), (x[b], y[b]), (x[c], y[c]), (x[d], y[d])
        )
        cost[b] = NEVER
        possible = np.flatnonzero(away <= limit[b])
        a, b, d, away = a[possible], b[possible], d[possible], away[possible]
        # A closed arc keeps four corners: a field of pixels is no triangle.
        before, after = previous[a], following[d]
        last = (x[before] == x[d]) & (y[before] == y[d]) | (x[a] == x[after]) & (y[a] == y[after])
        cost[b] = np.where(last, NEVER, np.rint(away * 256).astype(np.int64) << 32 | lot[b])

        kept = cost[waiting] != NEVER
        queued[waiting[~kept]] = False
        waiting = waiting[kept]
        a, c = previous[waiting], following[waiting]
        beside = np.minimum(
            np.minimum(cost[a], cost[previous[a]]), np.minimum(cost[c], cost[following[c]])
        )
        b = waiting[cost[waiting] < beside]
        a, c = previous[b], following[b]
        d = following[c]
        gone = drop[b]
        stays = b[~gone]
        alive[c] = alive[b[gone]] = False
        cost[a] = cost[b] = cost[c] = cost[d] = NEVER
        x[stays], y[stays] = target_x[stays], target_y[stays]
        following[b], previous[d] = d, b
        following[a[gone]], previous[d[gone]] = d[gone], a[gone]

        for some in (previous[a], a, stays, d):
            marked[some] = inner[some] & inner[following[some]]
    kept = np.add.reduceat(alive, offsets[:-1], dtype=np.int64)
    return np.stack([x[alive], y[alive]], axis=1), np.append(0, np.cumsum(kept))


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


def cross(one: Points, other: Points) -> Floats:
    return one[0] * other[1] - one[1] * other[0]


def _distance(point: Points, start: Points, end: Points) -> Floats:
    """From points to segments."""
    along, to = _minus(end, start), _minus(point, start)
    length = np.square(along[0]) + np.square(along[1])
    t = np.clip((along[0] * to[0] + along[1] * to[1]) / np.where(length > 0, length, 1), 0, 1)
    return np.sqrt(np.square(to[0] - t * along[0]) + np.square(to[1] - t * along[1]))


def _cut_corners(xy: Floats, offsets: Indices, chosen: Mask) -> tuple[Floats, Indices]:
    """Chaikin's corner cutting (1974), once: two points, a quarter of the way on, in place of each
    inner vertex."""
    inner = np.repeat(chosen, np.diff(offsets))
    inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
    copies = 1 + inner
    new = np.repeat(xy, copies, axis=0)
    vertex = np.flatnonzero(inner)
    place = (np.cumsum(copies) - copies)[vertex]
    for shift, neighbour in enumerate((vertex - 1, vertex + 1)):
        step = xy[neighbour] - xy[vertex]
        length = np.sqrt(np.square(step[:, 0]) + np.square(step[:, 1]))
        new[place + shift] += step * np.minimum(0.25, REACH / length)[:, None]
    return new, np.append(0, np.cumsum(np.add.reduceat(copies, offsets[:-1])))
