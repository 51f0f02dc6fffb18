"""Whether simplified lines leave every face a polygon that shares its whole boundary with its
neighbours.

Why a look at each face alone is enough says `tiling.polygons.simplify`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from affine import Affine

from tiling.polygons.lines import Floats, Indices, Mask, cross
from tiling.polygons.outlines import Rings
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
    import shapely

    original = on_the_map(rings.col, rings.row, affine)
    outlines = outlines._replace(xy=on_the_map(outlines.xy[:, 0], outlines.xy[:, 1], affine))
    turned = np.sign(_areas(outlines.xy, outlines.rings)) != np.sign(_areas(original, rings.rings))
    face_of_ring = np.repeat(np.arange(rings.regions.size - 1), np.diff(rings.regions))
    bad = ~shapely.is_valid(
        shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, outlines.xy, (outlines.rings, rings.regions)
        )
    )
    bad[face_of_ring[turned]] = True
    face = np.repeat(face_of_ring, np.diff(arcs.rings))
    free = levels < ORIGINAL
    suspect = np.flatnonzero((bad | _touching(outlines, rings, arcs, face))[face])
    guilty = np.zeros(arcs.key.size, bool)
    guilty[suspect[_crossing(_lines(outlines, arcs, suspect), face[suspect])]] = True
    guilty &= free
    bad[face[guilty]] = False
    return np.unique(arcs.key[guilty | (bad[face] & free)])


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
    xy, offsets = outlines.xy[place], np.append(0, np.cumsum(size))
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
    return shapely.from_ragged_array(shapely.GeometryType.LINESTRING, outlines.xy[place], offsets)


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
    x, y = (xy - np.repeat(xy[rings[:-1]], np.diff(rings), axis=0)).T
    return np.add.reduceat(np.append(cross((x[:-1], y[:-1]), (x[1:], y[1:])), 0), rings[:-1])
