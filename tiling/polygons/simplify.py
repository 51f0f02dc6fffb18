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

First the stairs go (`tiling.polygons.easing`), then segments collapse
(`tiling.polygons.segment_collapse`). Collapse alone leaves single steps beside long diagonals, and
makes spikes of others; Douglas–Peucker picks the outermost corners of a staircase.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.polygons.easing import ease
from tiling.polygons.lines import Floats, Indices, Mask
from tiling.polygons.outlines import Rings, ragged_index
from tiling.polygons.segment_collapse import collapse

Keys: TypeAlias = npt.NDArray[np.uint64]
Levels: TypeAlias = npt.NDArray[np.int8]

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
    of = ring[start]
    # In `rings` each ring has a closing point; the last arc of one goes on from its second vertex.
    start, end, stop = start + of, end + of, (stop + np.arange(stop.size))[of]
    ends = start, start + 1, end - 1, end
    places = (np.where(place > stop, place - size[of], place) for place in ends)
    one, two, last_but_one, final = (
        rings.row[place].astype(np.int64) << 32 | rings.col[place] for place in places
    )
    against = np.where(one == final, two > last_but_one, one > final)
    place = _walk(np.where(against, end, start), np.diff(offsets), against)
    beyond = np.flatnonzero(end > stop)
    some = ragged_index(offsets, beyond)
    far = place[some] > np.repeat(stop[beyond], np.diff(offsets)[beyond])
    place[some] -= np.where(far, np.repeat(size[of[beyond]], np.diff(offsets)[beyond]), 0)
    first = offsets[:-1]
    row, col = rings.row[place], rings.col[place]
    down, across = row[first + 1] - row[first], col[first + 1] - col[first]
    heading = np.where(down == 0, across > 0, 2 + (down > 0)).astype(np.uint64)
    key = row[first].astype(np.uint64) << 33 | col[first].astype(np.uint64) << 2 | heading
    return Arcs(row, col, offsets, key, against, np.append(0, np.cumsum(per_ring)))


def _vertex_order(offsets: Indices, chosen: Indices, turned: Mask) -> Indices:
    """Index of the vertices of some arcs, one after the other, some of them turned round."""
    start = np.where(turned, offsets[1:][chosen] - 1, offsets[:-1][chosen])
    return _walk(start, np.diff(offsets)[chosen], turned)


def _walk(start: Indices, size: Indices, backwards: Mask) -> Indices:
    """So many numbers, at least one, from each start on, one after the other; some backwards."""
    step = np.where(backwards, -1, 1)
    steps = np.repeat(step, size)
    first = np.cumsum(size) - size
    steps[first] = start
    steps[first[1:]] -= (start + step * (size - 1))[:-1]
    return np.cumsum(steps)


def simplify_arcs(arcs: Arcs, tolerance: float, levels: Levels, *, smooth: int = 0) -> Outlines:
    """The rings with simplified arcs; `tolerance` in pixels is how far a line may move where a
    segment collapses.

    That is a limit for each step, not for their sum: lines end up to about twice as far from the
    pixels. `levels (n,)` are those of the arcs: the higher, the closer one keeps to its original.
    `smooth` is how many times the corners of the simplified arcs are cut; their ends stay, areas
    change a little.
    """
    # Most arcs lie between two of the regions, and are passed by both. Straight ones are done.
    _, chosen, distinct = np.unique(arcs.key, return_index=True, return_inverse=True)
    bent = np.diff(arcs.offsets)[chosen] > 2
    order = np.concatenate([np.flatnonzero(bent), np.flatnonzero(~bent)])
    rank = np.empty(order.size, np.intp)
    rank[order] = np.arange(order.size)
    chosen, distinct = chosen[order], rank[distinct]
    place = ragged_index(arcs.offsets, chosen)
    offsets = np.append(0, np.cumsum(np.diff(arcs.offsets)[chosen]))
    xy = np.stack([arcs.col[place], arcs.row[place]], axis=1).astype(np.float64)
    n = np.count_nonzero(bent)
    if n:
        straight = xy[offsets[n] :]
        xy, offsets = _redraw_in_turn(
            xy[: offsets[n]], offsets[: n + 1], tolerance, levels[chosen[:n]], smooth
        )
        xy = np.concatenate([xy, straight])
        offsets = np.append(offsets, offsets[-1] + 2 * np.arange(1, order.size - n + 1))
    passed = np.append(0, np.cumsum(np.diff(offsets)[distinct]))
    order = _vertex_order(offsets, distinct, arcs.against)
    return _join_arcs(xy.take(order, axis=0), passed, arcs.rings)


AT_ONCE = 32_768
"""Vertices of arcs that are redrawn together, about: some twenty columns of as many numbers stay in
the processor's cache, and calls of NumPy do not tell yet."""


def _redraw_in_turn(
    xy: Floats, offsets: Indices, tolerance: float, level: Levels, smooth: int
) -> tuple[Floats, Indices]:
    """Arcs redrawn, `AT_ONCE` vertices or one arc at a time: no arc looks at another."""
    first = np.searchsorted(offsets, np.arange(0, offsets[-1], AT_ONCE))
    drawn, sizes = [], []
    for start, stop in pairwise(np.unique(np.append(first, level.size))):
        vertices = slice(offsets[start], offsets[stop])
        some = offsets[start : stop + 1] - offsets[start]
        lines, ends = _redraw(xy[vertices], some, tolerance, level[start:stop], smooth)
        drawn.append(lines)
        sizes.append(np.diff(ends))
    return np.concatenate(drawn), np.append(0, np.cumsum(np.concatenate(sizes)))


def _redraw(
    xy: Floats, offsets: Indices, tolerance: float, level: Levels, smooth: int
) -> tuple[Floats, Indices]:
    """Arcs eased, collapsed and smoothed, each as far as its level allows."""
    origin = xy[offsets[:-1]]
    # rounding errors grow with the numbers
    xy = xy - np.repeat(origin, np.diff(offsets), axis=0)
    allowed = np.where(level < ORIGINAL, tolerance * 0.5**level, 0)
    xy, offsets = ease(xy, offsets, allowed)
    xy, offsets = collapse(xy, offsets, np.maximum(allowed - EASING, allowed / 3))
    for _ in range(smooth):
        xy, offsets = _cut_corners(xy, offsets, level < ORIGINAL)
    xy += np.repeat(origin, np.diff(offsets), axis=0)
    return xy, offsets


def _join_arcs(xy: Floats, offsets: Indices, rings: Indices) -> Outlines:
    """Arcs that follow each other joined into rings: the end of all but the last of a ring is the
    start of the next."""
    joined = np.ones(offsets.size - 1, bool)
    joined[rings[1:] - 1] = False
    keep = np.ones(len(xy), bool)
    keep[offsets[1:][joined] - 1] = False
    starts = np.append(0, np.cumsum(np.diff(offsets) - joined))
    return Outlines(xy.compress(keep, axis=0), starts[rings], starts[:-1])


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
