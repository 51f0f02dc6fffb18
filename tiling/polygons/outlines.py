"""Outlines of labelled pixels: vertices found by a 2 × 2 stencil, connected into rings, written as
well-known binary.

A lattice point whose four pixels are neither alike nor on the two sides of a straight line is a
vertex of every region around it. So the edge that leaves a vertex ends at the next vertex in its
row or column, and outlines are walked without any search (`find_lines`). What leaves the pixels at
hand stays open. Sort the open ends of a region by row: the first and second belong to one edge, so
do the third and fourth, and so on; the same holds for columns (`connect`).

Two rules make the result a clean coverage, valid by OGC Simple Features and noded:

- Where the pixels of one region touch only diagonally, the outline turns around the *foreign*
  pixel: two rings meet in a point. The other way round one ring would cross itself.
- Where three regions meet, those whose outline runs straight on get a vertex too, so that
  neighbours share vertices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from tiling.grid.window import Window
from tiling.regions.components import OUTSIDE, Labels

NORTH, EAST, SOUTH, WEST = range(4)
CHANGED = (
    "the outline of a region does not close: did anything but this run touch its temporary files?"
)


class Lines(NamedTuple):
    """Stretches of outlines: closed rings, each from its first vertex by row, and lines that go on
    elsewhere."""

    region: npt.NDArray[np.integer]
    """`(n,)` the region on the left of each line."""
    comes: npt.NDArray[np.uint8]
    """`(n,)` the arm by which it comes in to its first vertex; `CLOSED` for a ring."""
    leaves: npt.NDArray[np.uint8]
    """`(n,)` the arm by which it leaves its last vertex."""
    offsets: npt.NDArray[np.int64]
    """`(n + 1,)` offsets of the lines in the vertices; a ring ends before its closing point."""
    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    node: npt.NDArray[np.bool_]
    """Whether three or four regions meet in a vertex, or it lies on the edge of what was
    labelled."""

    def where(self, chosen: npt.NDArray[np.int64]) -> Lines:
        """The lines that an index picks, with their vertices."""
        vertex = ragged_index(self.offsets, chosen)
        return Lines(
            self.region[chosen],
            self.comes[chosen],
            self.leaves[chosen],
            np.append(0, np.cumsum(np.diff(self.offsets)[chosen])),
            self.row[vertex],
            self.col[vertex],
            self.node[vertex],
        )


class Vertices(NamedTuple):
    """Vertices of outlines at lattice points; `point` and what comes after it are parallel
    arrays."""

    row: npt.NDArray[np.int32]
    """`(p,)` place of the lattice points in the window, in raster order."""
    col: npt.NDArray[np.int32]
    node: npt.NDArray[np.bool_]
    """`(p,)` see `Lines.node`."""
    point: npt.NDArray[np.int32]
    """At which point each vertex lies."""
    region: npt.NDArray[np.int32]
    comes: npt.NDArray[np.uint8]
    """The arm by which the outline comes in."""
    leaves: npt.NDArray[np.uint8]
    """The arm by which it leaves."""


def find_vertices(
    around: Labels,
    window: Window,
    shared: npt.NDArray[np.bool_] | None = None,
    *,
    last: tuple[bool, bool] = (True, True),
) -> Vertices:
    """The vertices within a window, from the regions `(y + 2, x + 2)` of its pixels and those
    around it.

    Four arms leave a lattice point, numbered clockwise from north; an arm is present where the
    pixels on its two sides differ. Quadrant k is the pixel between arms k and k + 1. The outline of
    its region, which is on the left, comes in by arm k and leaves by the next arm that is present:
    exteriors run counter-clockwise where north is up.

    Of regions that are `shared` with other windows, `(n,)`, vertices at the lower and right edges
    are those of the next window, unless this is the `last` one down or across.
    """
    height, width = window.shape
    across, down = around[:, 1:] != around[:, :-1], around[1:] != around[:-1]
    north, east, south, west = across[:-1], down[:, 1:], across[1:], down[:, :-1]
    # all but blank points and straight lines
    at = np.flatnonzero((north ^ south) | (east ^ west) | (north & east))
    line = at // (width + 1)
    row, col = line.astype(np.int32), (at - line * (width + 1)).astype(np.int32)
    corner, flat = at + line, around.ravel()
    quadrant = [flat[corner + step] for step in (1, width + 3, width + 2, 0)]
    arm = [quadrant[k] != quadrant[k - 1] for k in range(4)]
    inside = [region != OUTSIDE for region in quadrant]
    bits = [arm[k].view(np.uint8) for k in range(4)]
    arms = bits[0] + 2 * bits[1] + 4 * bits[2] + 8 * bits[3]
    surrounded = inside[0] & inside[1] & inside[2] & inside[3]
    node: npt.NDArray[np.bool_] = (_COUNT[arms] > 2) | ~surrounded

    comes_in = np.stack([arm[k] & inside[k] for k in range(4)], axis=1)
    if shared is not None:
        # Those of the next window, where the region is there too.
        beyond = (row == height) & (not last[0]) | (col == width) & (not last[1])
        for k in range(4):
            comes_in[:, k] &= ~(beyond & shared[quadrant[k]])
    end = np.flatnonzero(comes_in)  # 4 × point + arm
    point, comes = (end >> 2).astype(np.int32), (end & 3).astype(np.uint8)
    regions = np.stack(quadrant, axis=1).ravel()
    region, leaves = regions[end], _NEXT[arms[point] << 2 | comes]
    # Where a region touches itself, it turns round the pixel of another.
    full = np.flatnonzero(arms[point] == 15)
    full = full[region[full] == regions[end[full] ^ 2]]
    leaves[full] = (comes[full] + 3) & 3
    return Vertices(row, col, node, point, region, comes, leaves)


def find_lines(
    around: Labels,
    window: Window,
    shared: npt.NDArray[np.bool_] | None = None,
    *,
    last: tuple[bool, bool] = (True, True),
) -> Lines:
    """The outlines within a window; the arguments are those of `find_vertices`.

    All lattice points but blank ones and straight lines are vertices of all regions around them, so
    an outline that leaves a point by an arm comes to the next point in this direction: nothing
    needs to be searched.
    """
    row, col, node, point, region, comes, leaves = find_vertices(around, window, shared, last=last)
    # by point, and the arm by which the outline comes in
    vertex = np.full((row.size, 4), -1, np.int32)
    vertex.ravel()[4 * point + comes] = np.arange(point.size, dtype=np.int32)
    # the vertex it comes to, by point and the arm by which it leaves
    onwards = np.full((row.size, 4), -1, np.int32)
    beside = row[1:] == row[:-1]
    onwards[:-1, EAST] = np.where(beside, vertex[1:, WEST], -1)
    onwards[1:, WEST] = np.where(beside, vertex[:-1, EAST], -1)
    # numpy sorts 16 bits by radix; windows are smaller
    by_column = np.argsort(col.astype(np.uint16), kind="stable")
    one, other = by_column[:-1], by_column[1:]
    beside = col[one] == col[other]
    onwards[one, SOUTH] = np.where(beside, vertex[other, NORTH], -1)
    onwards[other, NORTH] = np.where(beside, vertex[one, SOUTH], -1)

    walk, offsets, closed = _walk_chains(onwards.ravel()[4 * point + leaves])
    first, final = walk[offsets[:-1]], walk[offsets[1:] - 1]
    point = point[walk]
    return Lines(
        region[first],
        np.where(closed, np.uint8(CLOSED), comes[first]),
        leaves[final],
        offsets,
        row[point] + np.int32(window.row),
        col[point] + np.int32(window.col),
        node[point],
    )


CLOSED = 4
_COUNT = np.array([arms.bit_count() for arms in range(16)], np.uint8)
_NEXT = np.array(
    [
        next((k + i) % 4 for i in (1, 2, 3, 4) if arms >> (k + i) % 4 & 1 or i == 4)
        for arms in range(16)
        for k in range(4)
    ],
    np.uint8,
)
"""`(4 × arms + k,)` the next arm present clockwise from arm k."""


def _walk_chains(
    successor: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Along the chains of what each is followed by, -1 for nothing: the members, the offsets of the
    chains, and whether each is closed. A closed chain begins with its smallest member."""
    n = successor.size
    if not n:
        return np.empty(0, np.intp), np.zeros(1, np.int64), np.empty(0, bool)
    starts = np.ones(n, bool)
    starts[successor[successor >= 0]] = False
    start = np.flatnonzero(starts)
    successor = successor.copy()
    successor[successor < 0] = (
        start  # the open chains, tied to one another in any way, are closed too
    )
    n_rings, ring = connected_components(_chain(successor), connection="strong")
    head = np.empty(n_rings, np.int32)
    # the last one written stays: the smallest, a start if there is one
    for some in (
        np.arange(n),
        start,
    ):
        head[ring[some[::-1]]] = some[::-1]
    head.sort()

    # Cut every ring before its head and tie its end to the next ring's head: one chain passes
    # through all members.
    before = np.empty(n, np.int32)
    before[successor] = np.arange(n, dtype=np.int32)
    tail = before[head]
    successor[tail] = np.append(head[1:], tail[-1])
    walk = breadth_first_order(_chain(successor), head[0], return_predecessors=False)
    begins = starts.copy()
    begins[head] = True
    offsets = np.flatnonzero(begins[walk])
    return walk, np.append(offsets, n), ~starts[walk[offsets]]


class Rings(NamedTuple):
    """Closed rings of regions, in order of region; the first of a region is its exterior."""

    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    rings: npt.NDArray[np.int64]
    """Offsets of the rings in `row` and `col`."""
    regions: npt.NDArray[np.int64]
    """Offsets of the regions in `rings`."""
    node: npt.NDArray[np.bool_]
    """`Lines.node` of each vertex."""

    def where(self, chosen: npt.NDArray[np.int64]) -> Rings:
        """Some regions, by index."""
        ring = ragged_index(self.regions, chosen)
        vertex = ragged_index(self.rings, ring)
        return Rings(
            self.row[vertex],
            self.col[vertex],
            np.append(0, np.cumsum(np.diff(self.rings)[ring])),
            np.append(0, np.cumsum(np.diff(self.regions)[chosen])),
            self.node[vertex],
        )


def ragged_index(
    offsets: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Index of the members of some groups, one group after the other; the groups are given by their
    offsets."""
    size = np.diff(offsets)[chosen]
    stop = np.cumsum(size)
    return np.arange(size.sum()) + np.repeat(offsets[:-1][chosen] - stop + size, size)


def connect(lines: Lines) -> Rings:
    """Rings of some regions, numbered 0 … n - 1, from all their lines; each ring starts at its
    first vertex by row.

    The first vertex of a region lies on its exterior, since every hole has some of the region above
    it.
    """
    chain, offsets, closed = _walk_chains(_followers(lines))
    if not closed.all():
        raise RuntimeError(CHANGED)
    ring_of = lines.region[chain[offsets[:-1]]]
    vertex = ragged_index(lines.offsets, chain)
    stops = np.cumsum(np.diff(lines.offsets)[chain])[offsets[1:] - 1]
    size = np.diff(stops, prepend=0)
    starts = stops - size
    # A ring passes its first vertex once: the region can touch itself only where it goes on
    # upwards.
    place = lines.row[vertex].astype(np.int64) << 32 | lines.col[vertex]
    first = np.minimum.reduceat(place, starts)
    head = np.flatnonzero(place == np.repeat(first, size))
    order = np.lexsort((first, ring_of))
    ring_of, starts, size, head = ring_of[order], starts[order], size[order], head[order]

    rings = np.append(0, np.cumsum(size + 1))
    place = np.arange(rings[-1]) + np.repeat(head - rings[:-1], size + 1)
    place -= np.where(place >= np.repeat(starts + size, size + 1), np.repeat(size, size + 1), 0)
    closed_walk = vertex[place]
    return Rings(
        lines.row[closed_walk],
        lines.col[closed_walk],
        rings,
        regions=np.append(np.flatnonzero(np.diff(ring_of, prepend=-1)), ring_of.size),
        node=lines.node[closed_walk],
    )


def _followers(lines: Lines) -> npt.NDArray[np.int32]:
    """The line that goes on where each one ends; itself for a ring.

    An edge joins the end of one to the start of another. The ends of a region in one row, or
    column, of the lattice are those of its edges there, one after the other.
    """
    followers = np.arange(lines.region.size, dtype=np.int32)
    open_ = np.flatnonzero(lines.comes != CLOSED)
    for opening in (EAST, SOUTH):
        ends = []
        for vertex, arm, away in (
            (lines.offsets[:-1][open_], lines.comes[open_], False),
            (lines.offsets[1:][open_] - 1, lines.leaves[open_], True),
        ):
            here = (arm & 1) == (opening & 1)
            row, col = lines.row[vertex], lines.col[vertex]
            across, along = (row, col) if opening == EAST else (col, row)
            rows = (
                lines.region[open_],
                across,
                along,
                arm == opening,
                np.full(arm.size, away),
                open_,
            )
            ends.append(np.stack([column[here] for column in rows]).astype(np.int64))
        region, across, along, opens, leaves, line = np.concatenate(ends, axis=1)
        # Where two edges meet in a point, the one that ends comes before the one that opens.
        order = np.lexsort((opens, along, across, region))
        one, other = order[0::2], order[1::2]
        pairs = one.size == other.size and (
            (region[one] == region[other]) & (across[one] == across[other])
            & (opens[one] > opens[other]) & (leaves[one] != leaves[other])
        ).all()  # fmt: skip
        if not pairs:
            raise RuntimeError(CHANGED)
        forth = leaves[one] == 1
        followers[np.where(forth, line[one], line[other])] = np.where(forth, line[other], line[one])
    return followers


def _chain(successor: npt.NDArray[np.int32]) -> csr_array:
    """The graph with one edge from each vertex to the next."""
    n = successor.size
    return csr_array((np.ones(n), successor, np.arange(n + 1, dtype=np.int32)), shape=(n, n))
