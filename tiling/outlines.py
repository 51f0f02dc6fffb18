"""Outlines of labelled pixels: vertices found by a 2 × 2 stencil, connected into rings, written as well-known binary.

A region made of pixels is fully described by the corners of its outline. Sort them by row: the first and second are
joined by an edge, so are the third and fourth, and so on. Sort them by column: the same holds for the vertical edges.
Every corner ends one edge of either kind, so stepping from edge to edge walks round each ring.

Two rules make the result a clean coverage, valid by OGC Simple Features and noded:

- Where the pixels of one region touch only diagonally, the outline turns around the *foreign* pixel: two rings meet in
  a point. The other way round one ring would cross itself.
- Where three regions meet, those whose outline runs straight on get a vertex too, so that neighbours share vertices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from affine import Affine
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from tiling.regions import OUTSIDE, Labels
from tiling.window import Window

NORTH, EAST, SOUTH, WEST = range(4)
CHANGED = "corners of a region do not pair up: did the raster change while it was read?"


class Vertices(NamedTuple):
    """Vertices of outlines, in any order: parallel arrays."""

    region: npt.NDArray[np.integer]
    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    turn: npt.NDArray[np.uint8]
    """The arm by which the ring comes in, and 4 × the arm by which it leaves: see `find_vertices`."""
    node: npt.NDArray[np.bool_]
    """Whether three or four regions meet here, or the vertex lies on the edge of what was labelled."""

    def where(self, chosen: npt.NDArray[Any] | slice) -> Vertices:
        """Those chosen by a mask, by index or by a slice."""
        return Vertices(self.region[chosen], self.row[chosen], self.col[chosen], self.turn[chosen], self.node[chosen])


def find_vertices(around: Labels, window: Window) -> Vertices:
    """Vertices at the lattice points of a window, from the regions `(y + 2, x + 2)` of its pixels and those around it.

    Four arms leave a lattice point, numbered clockwise from north; an arm is present where the pixels on its two sides
    differ. Quadrant k is the pixel between arms k and k + 1. A region that fills one, two or three quadrants clockwise
    from k has an outline which comes in by arm k and leaves by arm k + 1, k + 2 or k + 3: a convex corner, a straight
    line, a concave corner. Its interior lies on the left, so exteriors run counter-clockwise where north is up.
    """
    across, down = around[:, 1:] != around[:, :-1], around[1:] != around[:-1]
    present = across[:-1], down[:, 1:], across[1:], down[:, :-1]
    north, east, south, west = present
    at = np.flatnonzero((north ^ south) | (east ^ west) | (north & east))  # all but blank points and straight lines
    row, col = np.divmod(at, window.width + 1)
    arm = [side[row, col] for side in present]
    quadrant = [around[row, col + 1], around[row + 1, col + 1], around[row + 1, col], around[row, col]]
    node = np.stack(arm).sum(0) > 2
    for region in quadrant:
        node |= region == OUTSIDE
    row, col = (row + window.row).astype(np.int32), (col + window.col).astype(np.int32)

    found: list[Vertices] = []

    def add(chosen: npt.NDArray[np.bool_], region: Labels, comes: int, leaves: int) -> None:
        index = np.flatnonzero(chosen & (region != OUTSIDE))
        turn = np.full(index.size, comes % 4 + 4 * (leaves % 4), np.uint8)
        found.append(Vertices(region[index], row[index], col[index], turn, node[index]))

    for k in range(4):
        after, opposite, before = (k + 1) % 4, (k + 2) % 4, (k + 3) % 4
        corner = arm[k] & arm[after]
        add(corner & (quadrant[k] != quadrant[opposite]), quadrant[k], k, k + 1)
        add(corner & (quadrant[after] == quadrant[before]), quadrant[after], k + 1, k)
        # Two other regions meet on the far side of a straight line.
        add(arm[k] & ~arm[after] & arm[opposite] & arm[before], quadrant[k], k, k + 2)
    return Vertices(*map(np.concatenate, zip(*found, strict=True)))


class Rings(NamedTuple):
    """Closed rings of regions, in order of region; the first of a region is its exterior."""

    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    rings: npt.NDArray[np.int64]
    """Offsets of the rings in `row` and `col`."""
    regions: npt.NDArray[np.int64]
    """Offsets of the regions in `rings`."""
    node: npt.NDArray[np.bool_]
    """`Vertices.node` of each vertex."""


def connect(vertices: Vertices) -> Rings:
    """Rings through all vertices of some regions, numbered 0 … n - 1; each ring starts at its first vertex by row.

    The first vertex of a region lies on its exterior, since every hole has some of the region above it.
    """
    vertices = vertices.where(_sorted(vertices, EAST))
    by_column = _sorted(vertices, SOUTH)
    n = vertices.region.size
    successor, predecessor = np.full((2, n), -1, np.int32)
    _link(successor, np.arange(n), vertices, EAST)
    _link(successor, by_column, vertices, SOUTH)
    predecessor[successor] = np.arange(n, dtype=np.int32)
    if (predecessor < 0).any():
        raise RuntimeError(CHANGED)

    n_rings, ring = connected_components(_chain(successor), connection="strong")
    head = np.full(n_rings, n)
    np.minimum.at(head, ring, np.arange(n))
    size = np.bincount(ring)
    head_order = np.argsort(head)
    head, size = head[head_order], size[head_order]

    # Cut every ring before its head and tie its end to the next ring's head: one chain passes through all vertices.
    tail = predecessor[head]
    successor[tail] = np.append(head[1:], tail[-1])
    walk = breadth_first_order(_chain(successor), head[0], return_predecessors=False)

    closed = np.insert(walk, np.cumsum(size), head)
    _, first_ring = np.unique(vertices.region[head], return_index=True)
    return Rings(
        vertices.row[closed],
        vertices.col[closed],
        rings=np.append(0, np.cumsum(size + 1)),
        regions=np.append(first_ring, n_rings),
        node=vertices.node[closed],
    )


def _sorted(vertices: Vertices, opening: int) -> npt.NDArray[np.intp]:
    """Order along the rows (EAST) or columns (SOUTH) of each region; an edge that ends comes before one that opens."""
    line, along = (vertices.row, vertices.col) if opening == EAST else (vertices.col, vertices.row)
    key = vertices.region.astype(np.int64)
    for part, bits in ((line, int(line.max()).bit_length()), (along, int(along.max()).bit_length())):
        key = key << bits | part
    comes, leaves = vertices.turn & 3, vertices.turn >> 2
    return np.argsort(key << 1 | (comes == opening) | (leaves == opening))


def _link(successor: npt.NDArray[np.int32], order: npt.NDArray[np.intp], vertices: Vertices, opening: int) -> None:
    """Note each vertex's next one along the edges that open towards `opening`: consecutive pairs in `order`."""
    comes, leaves = vertices.turn & 3, vertices.turn >> 2
    n_edges = 2 - ((comes ^ opening) & 1) - ((leaves ^ opening) & 1)  # how many of a vertex's arms lie in this line
    ends = np.repeat(order, n_edges[order])
    first, second = ends[0::2], ends[1::2]
    line = vertices.row if opening == EAST else vertices.col
    if not all(np.array_equal(column[first], column[second]) for column in (vertices.region, line)):
        raise RuntimeError(CHANGED)
    onwards = leaves[first] == opening
    successor[np.where(onwards, first, second)] = np.where(onwards, second, first)


def _chain(successor: npt.NDArray[np.int32]) -> csr_array:
    """The graph with one edge from each vertex to the next."""
    n = successor.size
    return csr_array((np.ones(n), successor, np.arange(n + 1, dtype=np.int32)), shape=(n, n))


def on_the_map(col: npt.NDArray[Any], row: npt.NDArray[Any], affine: Affine) -> npt.NDArray[np.float64]:
    """`(n, 2)` lattice points, or points between, in map coordinates; the one arithmetic for all who need them."""
    a, b, c, d, e, f = affine[:6]
    return np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)


def wkb(
    points: npt.NDArray[np.float64],
    rings: npt.NDArray[np.int64],
    polygons: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
) -> pa.Array:
    """Well-known binary of polygons, or of the multipolygons that `groups` makes of them.

    `points (n, 2)` are cut into closed rings by the offsets `rings`, these into polygons by `polygons`, and these into
    multipolygons by `groups`. OGC 06-103r4, 8.2: a polygon is its byte order, its type and the number of its rings; a
    ring is the number of its points and the points; a multipolygon has the head of a polygon and whole polygons for
    rings. Written straight into one buffer: as many geometry objects would take half of the time.
    """
    n_points, n_rings = np.diff(rings), np.diff(polygons)
    polygon = np.repeat(np.arange(n_rings.size), n_rings)
    ring_at = _HEAD.itemsize * (polygon + 1) + 4 * np.arange(n_points.size) + 16 * rings[:-1]
    if groups is not None:
        group = np.repeat(np.arange(groups.size - 1), np.diff(groups))
        ring_at += _HEAD.itemsize * (group[polygon] + 1)
    point_at = np.repeat(ring_at + 4 - 16 * rings[:-1], n_points) + 16 * np.arange(len(points))
    begin = ring_at[polygons[:-1]] - _HEAD.itemsize
    out = np.empty(point_at[-1] + 16, np.uint8)

    def put(at: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        # Element i of this view is the value that would begin at byte i: records of any size at any place.
        np.ndarray(out.size - values.itemsize + 1, values.dtype, out.data, strides=(1,))[at] = values

    put(begin, _heads(_POLYGON, n_rings))
    put(ring_at, n_points.astype("<u4"))
    put(point_at, points.astype("<f8").view("V16")[:, 0])
    if groups is not None:
        begin = begin[groups[:-1]] - _HEAD.itemsize
        put(begin, _heads(_MULTIPOLYGON, np.diff(groups)))
    offsets = np.append(begin, out.size)
    return pa.Array.from_buffers(pa.large_binary(), begin.size, [None, pa.py_buffer(offsets), pa.py_buffer(out)])


_POLYGON, _MULTIPOLYGON = 3, 6
_HEAD = np.dtype([("order", "u1"), ("type", "<u4"), ("members", "<u4")])


def _heads(kind: int, members: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    heads = np.empty(members.size, _HEAD)
    heads["order"], heads["type"], heads["members"] = 1, kind, members
    return heads
