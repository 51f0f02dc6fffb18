"""Whether simplified lines leave every face a polygon that shares its whole boundary with its
neighbours.

Why a look at each face alone is enough says `tiling.polygons.simplify`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from affine import Affine

from tiling.polygons.lines import Floats, Indices, Mask, Points, cross
from tiling.polygons.outlines import Rings, ragged_index
from tiling.polygons.simplify import ORIGINAL, Arcs, Keys, Levels, Outlines
from tiling.polygons.wkb import on_the_map

PIXELS = Affine.identity()


def failing(
    outlines: Outlines, rings: Rings, arcs: Arcs, levels: Levels, affine: Affine = PIXELS
) -> Keys:
    """Distinct keys of the arcs that have to come closer to their originals, by a level, for the
    faces to become valid.

    These are the arcs of a face that cross or touch themselves or each other or, where none does,
    all arcs of the face. What is found depends on the face alone, so faces may be looked at in any
    company. Faces are judged as they are written, in map coordinates: a vertex that just touches a
    line in pixels may lie beyond it once `affine` has rounded both.
    """
    outlines = outlines._replace(xy=on_the_map(outlines.xy[:, 0], outlines.xy[:, 1], affine))
    exterior = np.zeros(rings.rings.size - 1, bool)
    exterior[rings.regions[:-1]] = True
    # Exteriors run counter-clockwise where north is up: from row to column, in pixels.
    turns = np.where(exterior, -1, 1) * np.sign(affine.determinant)
    turned = np.sign(_areas(outlines.xy, outlines.rings)) != turns
    face_of_ring = np.repeat(np.arange(rings.regions.size - 1), np.diff(rings.regions))
    face = np.repeat(face_of_ring, np.diff(arcs.rings))
    touching = _touching(outlines, rings, arcs, face)
    bad = _invalid(outlines, rings, touching)
    bad[face_of_ring[turned]] = True
    free = levels < ORIGINAL
    suspect = np.flatnonzero((bad | touching)[face])
    guilty = np.zeros(arcs.key.size, bool)
    guilty[suspect[_crossing(_lines(outlines, arcs, suspect), face[suspect])]] = True
    guilty &= free
    bad[face[guilty]] = False
    return np.unique(arcs.key[guilty | (bad[face] & free)])


def _invalid(outlines: Outlines, rings: Rings, touching: Mask) -> Mask:
    """Which faces are no valid polygons.

    A face of one ring is valid where the ring does not meet itself, one of many where each hole
    lies in the exterior, and in no other hole, unless its rings are `touching (n,)`. GEOS looks at
    those of which this is not certain: of many holes it compares each with all of the exterior.
    """
    import shapely

    n_rings = np.diff(rings.regions)
    single, pierced = np.flatnonzero(n_rings == 1), np.flatnonzero(~touching & (n_rings > HOLES))
    invalid = np.ones(n_rings.size, bool)
    ring = rings.regions[:-1][single]
    invalid[single] = ~_certainly_simple(outlines.xy, outlines.rings, ring)
    invalid[pierced] = ~_certainly_pierced(outlines, rings, pierced)
    rest = np.flatnonzero(invalid)
    ring = ragged_index(rings.regions, rest)
    regions = np.append(0, np.cumsum(n_rings[rest]))
    invalid[rest] = ~shapely.is_valid(_polygons(outlines, ring, regions))
    return invalid


HOLES = 8
"""Fewer GEOS looks at itself as fast."""


def _polygons(
    outlines: Outlines, ring: npt.NDArray[np.intp], regions: Indices
) -> npt.NDArray[np.object_]:
    """Polygons of some rings, each of those between two of the offsets `regions`."""
    import shapely

    xy = outlines.xy.take(ragged_index(outlines.rings, ring), axis=0)
    offsets = np.append(0, np.cumsum(np.diff(outlines.rings)[ring]))
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (offsets, regions))


def _certainly_pierced(outlines: Outlines, rings: Rings, faces: npt.NDArray[np.intp]) -> Mask:
    """Of faces whose arcs meet at their ends only, in which each hole certainly lies in the
    exterior and in no other hole.

    Their rings meet where they met as pixels' edges. So no two have more than a point in common,
    where they cannot cross, and of two vertices of a ring at least one tells on which side of
    another ring all of it lies; nor do holes cut the inside in two, which they did not either.
    """
    import shapely

    n_holes = np.diff(rings.regions)[faces] - 1
    of = np.repeat(np.arange(faces.size), n_holes)
    exterior = rings.regions[:-1][faces]
    hole = np.repeat(exterior + 1 - np.cumsum(n_holes) + n_holes, n_holes) + np.arange(of.size)
    shells, holes = (
        _polygons(outlines, ring, np.arange(ring.size + 1)) for ring in (exterior, hole)
    )
    shapely.prepare(shells)
    start = outlines.rings[:-1][hole]
    vertex = np.asarray([shapely.points(outlines.xy[start + k]) for k in (0, 1)])
    inside = shapely.contains_properly(shells[of], vertex).any(0)
    inside &= (outlines.xy[start] != outlines.xy[start + 1]).any(1)
    one, other = shapely.STRtree(holes).query(vertex[0])
    pairs = (one != other) & (of[one] == of[other])
    one, other = one[pairs], other[pairs]
    shapely.prepare(holes[np.unique(other)])
    nested = [shapely.contains_properly(holes[other], points[one]) for points in vertex]
    inside[one[np.any(nested, axis=0)]] = False
    certain = np.ones(faces.size, bool)
    certain[of[~inside]] = False
    return certain


def _certainly_simple(xy: Floats, offsets: Indices, chosen: npt.NDArray[np.intp]) -> Mask:
    """Of some closed rings, which certainly do not meet themselves; those of many sides, or of a
    number of sides that few have, are not looked at."""
    found = np.zeros(chosen.size, bool)
    sides = np.diff(offsets)[chosen] - 1
    order = np.argsort(sides, kind="stable")
    all_x, all_y = np.ascontiguousarray(xy.T)
    for n in range(3, LONG + 1):
        alike = order[slice(*np.searchsorted(sides[order], [n, n + 1]))]
        if alike.size < FEW:
            continue
        for begin in range(0, alike.size, AT_ONCE):
            some = alike[begin : begin + AT_ONCE]
            # twice around, so that each side finds those after it without a search
            place = offsets[chosen[some]] + (np.arange(2 * n + 1) % n)[:, None]
            found[some] = _simple(all_x.take(place), all_y.take(place), n)
    return found


LONG = 32
"""How many sides a ring has at most of which all pairs are compared."""

FEW = 64
"""As many rings of a length GEOS looks at in the time that it takes to call NumPy for them."""

AT_ONCE = 2048
"""Rings compared together: their numbers stay in the processor's cache."""


def _simple(x: Floats, y: Floats, n: int) -> Mask:
    """Which rings of `n` sides are certainly simple; `(2 n + 1, rings)` vertices, twice around."""
    step_x, step_y = np.diff(x[: n + 2], axis=0), np.diff(y[: n + 2], axis=0)
    (ax, bx), (ay, by) = (step_x[:-1], step_x[1:]), (step_y[:-1], step_y[1:])
    # At no vertex does a ring turn back on itself: it bends, or goes on.
    simple = ((_sign(ax * by, ay * bx) != 0) | (_sign(ax * bx, -ay * by) > 0)).all(0)
    left, right = np.minimum(x[:-1], x[1:]), np.maximum(x[:-1], x[1:])
    low, high = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
    for apart in range(2, n // 2 + 1):
        other = slice(apart, apart + n)
        near = (right[:n] >= left[other]) & (left[:n] <= right[other])
        near &= (high[:n] >= low[other]) & (low[:n] <= high[other])
        side, ring = np.nonzero(near)
        points = [
            (x[at, ring], y[at, ring]) for at in (side, side + 1, side + apart, side + apart + 1)
        ]
        simple[ring[~_apart(*points)]] = False
    return simple


def _apart(a: Points, b: Points, c: Points, d: Points) -> Mask:
    """Whether segments AB and CD certainly do not meet: one lies on one side of the other."""
    beside_ab = _turn(a, b, c) * _turn(a, b, d) > 0
    beside_cd = _turn(c, d, a) * _turn(c, d, b) > 0
    return beside_ab | beside_cd


def _turn(a: Points, b: Points, c: Points) -> Floats:
    """1 where A, B and C turn from x to y, -1 where the other way, 0 where rounding leaves that
    open."""
    return _sign((a[0] - c[0]) * (b[1] - c[1]), (a[1] - c[1]) * (b[0] - c[0]))


def _sign(one: Floats, other: Floats) -> Floats:
    """Sign of `one - other`, products of differences of coordinates; 0 where rounding leaves that
    open.

    Shewchuk (1997), "Adaptive precision floating-point arithmetic and fast robust geometric
    predicates", Discrete & Computational Geometry 18(3): the bound A of orient2d, (3 + 16 ε) ε.
    """
    difference = one - other
    certain = abs(difference) > 3.3306690738754716e-16 * (abs(one) + abs(other))
    return np.where(certain, np.sign(difference), 0)


def _touching(outlines: Outlines, rings: Rings, arcs: Arcs, face: npt.NDArray[np.intp]) -> Mask:
    """Which faces of several rings have arcs that meet elsewhere than at ends of both, and a few
    that have none.

    GEOS takes the end of a closed line for a place between. So a closed arc in whose end others may
    rightly end is cut in two: where all parts meet at their ends only, so do the arcs, unless the
    cut itself lies at an end of others.
    """
    import shapely

    touching = np.diff(rings.regions) > 1
    chosen = np.flatnonzero(touching[face])
    place, size = _places(outlines, arcs, chosen)
    closed = np.diff(arcs.rings) == 1
    ends_in_node = np.zeros(arcs.key.size, bool)
    ends_in_node[arcs.rings[:-1][closed]] = np.logical_or.reduceat(rings.node, rings.rings[:-1])[
        closed
    ]
    cut = ends_in_node[chosen] & (size > 3)
    middle = (np.cumsum(size) - size + size // 2)[cut]
    place = np.insert(place, middle, place[middle])  # a part ends where the next begins
    first = np.flatnonzero(cut) + np.arange(middle.size)  # the first part of each that is cut
    size = np.repeat(size, 1 + cut)
    size[first], size[first + 1] = size[first] // 2 + 1, size[first] - size[first] // 2
    xy, offsets = outlines.xy.take(place, axis=0), np.append(0, np.cumsum(size))
    part_of = np.repeat(face[chosen], 1 + cut)
    groups = np.append(0, np.cumsum(np.bincount(part_of, minlength=touching.size)[touching]))
    lines = shapely.from_ragged_array(shapely.GeometryType.MULTILINESTRING, xy, (offsets, groups))
    touching[touching] = ~shapely.is_simple(lines)
    touching[_crowded(xy, offsets, part_of, first)] = True
    return touching


def _crowded(
    xy: Floats, offsets: Indices, face: npt.NDArray[np.intp], first: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Faces in which another line ends where one is cut, between the part `first` and the next."""
    ends = np.concatenate([offsets[:-1], offsets[1:] - 1])
    at_cut = np.zeros(ends.size, bool)
    at_cut[first + 1] = at_cut[first + face.size] = True
    face, (x, y) = np.tile(face, 2), xy[ends].T
    order = np.lexsort((y, x, face))
    begins = np.append(True, np.any([np.diff(v[order]) != 0 for v in (face, x, y)], axis=0))
    place = np.cumsum(begins) - 1
    crowded = at_cut[order] & (np.bincount(place) > 2)[place]
    return face[order[crowded]]


def _lines(outlines: Outlines, arcs: Arcs, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.object_]:
    """Arcs as they are in the outlines."""
    import shapely

    place, size = _places(outlines, arcs, chosen)
    offsets = (np.append(0, np.cumsum(size)),)
    xy = outlines.xy.take(place, axis=0)
    return shapely.from_ragged_array(shapely.GeometryType.LINESTRING, xy, offsets)


def _places(
    outlines: Outlines, arcs: Arcs, chosen: npt.NDArray[np.intp]
) -> tuple[Indices, Indices]:
    """Where in the outlines the vertices of some arcs lie, one arc after the other, and how many
    each has."""
    stop = np.append(outlines.arcs[1:], len(outlines.xy)) + 1
    stop[arcs.rings[1:] - 1] -= (
        1  # the last one of a ring ends at the closing point, which nobody else has
    )
    size = (stop - outlines.arcs)[chosen]
    return np.arange(size.sum()) + np.repeat(
        outlines.arcs[chosen] - np.cumsum(size) + size, size
    ), size


def _crossing(lines: npt.NDArray[np.object_], face: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Which lines meet themselves, or another one of their face elsewhere than at the ends that
    both have."""
    import shapely

    one, other = shapely.STRtree(lines).query(lines, predicate="intersects")
    pairs = (one < other) & (face[one] == face[other])
    one, other = one[pairs], other[pairs]
    ends = np.stack([shapely.get_point(lines, 0), shapely.get_point(lines, -1)], axis=1)
    first, last = (shapely.intersects(ends[one, k, None], ends[other]).any(1) for k in (0, 1))
    shared = first.astype(int) + (last & ~shapely.is_closed(lines[one]))
    meeting = shapely.intersection(lines[one], lines[other])
    # rounding may lose the one at which they do
    points = np.maximum(shapely.get_num_coordinates(meeting), 1)
    cross = (shapely.get_dimensions(meeting) > 0) | (points > shared)
    return np.concatenate([np.flatnonzero(~shapely.is_simple(lines)), one[cross], other[cross]])


def _areas(xy: Floats, rings: Indices) -> Floats:
    """Signed, twice; positive where the ring turns from column to row."""
    size = np.diff(rings)
    x, y = (line - np.repeat(line[rings[:-1]], size) for line in xy.T)
    return np.add.reduceat(np.append(cross((x[:-1], y[:-1]), (x[1:], y[1:])), 0), rings[:-1])
