"""Stairs of pixels become lines that cross the pixels' edges in their middles; what corners lose is
given back along the whole line, so areas stay.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiling.polygons.lines import Floats, Indices, Mask, Points, cross


def ease(xy: Floats, offsets: Indices, tolerance: Floats) -> tuple[Floats, Indices]:
    """Arcs of pixels' edges drawn from middle to middle of them, as far as the `(n,)` tolerances
    allow; areas stay.

    Where one edge of a corner is a step of one or two pixels, a straight cut leads from the middle
    of this edge to that of the other, or to a point on it that is near: so stairs of one slope
    become one line. Corners of longer edges stay, and so do rectangles. Of a closed arc the first
    corner is eased as well.
    """
    first, final = offsets[:-1], offsets[1:] - 1
    x, y = np.ascontiguousarray(xy.T)
    closed = (x[first] == x[final]) & (y[first] == y[final])
    corner = _corners(offsets, closed, tolerance > 0)
    onwards = np.arange(1, x.size + 1)
    onwards[final] = first + 1
    before, after = corner - 1, onwards[corner]

    ux, uy = x[corner] - x[before], y[corner] - y[before]
    vx, vy = x[after] - x[corner], y[after] - y[corner]
    u, v = abs(ux) + abs(uy), abs(vx) + abs(vy)
    limit = np.repeat(tolerance, np.diff(offsets))
    turn = np.zeros(x.size, np.int8)
    turn[corner] = np.sign(ux * vy - uy * vx)
    turn[first[closed]] = turn[final[closed]]
    cut, cut_u, cut_v = _cut_shares(
        u, v, turn[after] == -turn[corner], turn[before] == -turn[corner], limit[corner]
    )
    lost = np.zeros(x.size)
    lost[corner] = cut_u * cut_v * (ux * vy - uy * vx)

    # Each corner becomes two points, or one where the second is the first of the next corner. The
    # last of a closed arc is the first one too: that comes in its place.
    come, two = np.zeros(x.size), np.zeros(x.size, bool)
    come[corner] = cut_u * u
    come[first[closed]] = come[final[closed]]
    two[corner] = cut & (cut_v * v + come[after] < v)
    ins, outs = (x.copy(), y.copy()), (x.copy(), y.copy())
    for axis, (before_it, after_it) in enumerate(((ux, vx), (uy, vy))):
        ins[axis][corner] -= cut_u * before_it
        outs[axis][corner] += cut_v * after_it
    ring, end = first[closed], final[closed]
    for values in (*ins, *outs, two):
        values[ring] = values[end]
    two[end] = False
    starts = np.append(0, final + np.cumsum(two)[final] + 1)
    x, y, starts = _without_straight(*_in_pairs(ins, outs, two), starts)
    moved, kept = _give_back(x, y, starts, np.add.reduceat(lost, first), tolerance)
    if not kept.all():
        return ease(xy, offsets, np.where(kept, tolerance, 0))
    return moved, starts


def _corners(offsets: Indices, closed: Mask, allowed: Mask) -> npt.NDArray[np.intp]:
    """Vertices at which arcs may be eased: inner ones and, of closed arcs, the last; no square."""
    size = np.diff(offsets)
    eased = allowed & (size > 2) & ~(closed & (size == 5))
    turning = np.repeat(eased, size)
    turning[offsets[:-1]], turning[offsets[1:] - 1] = False, eased & closed
    return np.flatnonzero(turning)


def _cut_shares(
    u: Floats, v: Floats, back_after: Mask, back_before: Mask, limit: Floats
) -> tuple[Mask, Floats, Floats]:
    """Whether each corner is cut off, and how much of its edges, of lengths `u` and `v`, with it.

    `back_after` and `back_before` tell where the next corner and the one before turn the other way,
    as in stairs; `limit` is how far the line may move.
    """
    cut_u, cut_v = (
        np.minimum(mine / 2, np.where(other > 1, 1, np.where(back, 2, 0.5)))
        for mine, other, back in ((u, v, back_after), (v, u, back_before))
    )
    cut = (np.minimum(u, v) <= 2) & (
        np.square(cut_u * cut_v) <= limit**2 * (np.square(cut_u) + np.square(cut_v))
    )
    return cut, np.where(cut, cut_u / u, 0), np.where(cut, cut_v / v, 0)


def _in_pairs(ins: Points, outs: Points, two: Mask) -> Points:
    """Vertices one after the other: of each the one where a line comes in and, where it is `two`,
    the one where it goes out."""
    place = np.cumsum(two) + np.arange(two.size)
    x, y = np.empty(place[-1] + 1), np.empty(place[-1] + 1)
    x[place], y[place] = outs
    x[place - two], y[place - two] = ins
    return x, y


def _without_straight(x: Floats, y: Floats, offsets: Indices) -> tuple[Floats, Floats, Indices]:
    """Arcs without the vertices where they do not bend: exact, since all numbers are quarters."""
    step_x, step_y = np.diff(x), np.diff(y)
    bends = np.ones(x.size, bool)
    bends[1:-1] = step_x[:-1] * step_y[1:] != step_y[:-1] * step_x[1:]
    bends[offsets[:-1]] = bends[offsets[1:] - 1] = True
    kept = np.add.reduceat(bends, offsets[:-1], dtype=np.int64)
    return x[bends], y[bends], np.append(0, np.cumsum(kept))


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
