"""A polygon with right angles alone, near another one.

The direction of a building is that of the sides in which its outline, without the stairs of pixels,
is shortest when it is measured along two axes (the L1 length of a rectangle is least along its own
sides). In that frame each side of the outline lies along one axis or the other; sides of one axis
that follow each other are one, at their mean place; a side that is too short goes, and its two
neighbours become one. What is left alternates, and its corners are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

Points = npt.NDArray[np.float64]
"""`(n, 2)`."""

STAIRS = 0.75
"""How far from an outline of pixels, in pixels, the line lies that shows where its sides go."""
ALIKE = math.radians(12)
"""Sides this near the best direction have a say in it."""
SHORT = (2.0, 1.0, 0.5, 0.0)
"""How long a side has to be at least to stay, in tolerances: the plainest first."""
ROUND = 0.87
"""Intersection over union with the disc of its area and middle from which an object is round: discs
of 8 px and more reach it, squares of any size do not (200 drawn of each size, in any direction)."""
WORTH = 0.02
"""How much of intersection over union a plainer outline may cost."""


class Side(NamedTuple):
    """Part of an outline along one axis."""

    level: bool
    """Whether along the first axis."""
    at: float
    """Where on the other axis."""
    weight: float
    """How long what it stands for is."""


def regularise(polygon: shapely.Polygon, tolerance: float, pixel: float) -> shapely.Polygon | None:
    """A polygon of right angles whose outline, with that of its holes, is nowhere farther than
    `tolerance` from that of `polygon`, nor the other way round; None where none is found, and of
    what is round, such as a tank or a crown.

    Lengths are in the units of the coordinates; `pixel` is the side of the pixels that `polygon`
    follows.
    """
    origin = shapely.get_coordinates(polygon)[0]
    local = shapely.affinity.translate(polygon, -origin[0], -origin[1])
    if is_round(local):
        return None
    rings = [Outline.of(ring, pixel) for ring in (local.exterior, *local.interiors)]
    turn = find_direction(rings[0].points[rings[0].corners])
    cos, sin = math.cos(turn), math.sin(turn)
    frame = np.array([[cos, -sin], [sin, cos]])
    near, tried, kept = local.boundary.buffer(tolerance), [], []
    for share in SHORT:
        sides = [_sides(ring, frame, share * tolerance) for ring in rings]
        if any(len(ring) < 4 for ring in sides) or sides in tried:
            continue
        tried.append(sides)
        shell, *holes = (_corners(ring) @ frame.T for ring in sides)
        found = shapely.Polygon(shell, holes)
        if found.is_valid and _is_near(found, local, near, tolerance):
            both = shapely.area(shapely.intersection(found, local))
            kept.append((both / (found.area + local.area - both), found))
    best = max((alike for alike, _ in kept), default=0.0)
    plainest = next((found for alike, found in kept if alike >= best - WORTH), None)
    return plainest and shapely.affinity.translate(plainest, origin[0], origin[1])


def is_round(polygon: shapely.Polygon) -> bool:
    """Whether a polygon, its holes filled, is about a disc."""
    whole = shapely.Polygon(polygon.exterior)
    radius = math.sqrt(whole.area / math.pi)
    both = shapely.area(shapely.intersection(whole, whole.centroid.buffer(radius, quad_segs=32)))
    return bool(both >= ROUND * (2 * whole.area - both))


def _is_near(found: shapely.Polygon, polygon: shapely.Polygon, near: Any, tolerance: float) -> bool:
    """Whether no outline of two is farther than that from the other; `near` is all that is near the
    second. Buffers have sides in the place of arcs and lie within the true ones."""
    return bool(
        near.covers(found.boundary) and found.boundary.buffer(tolerance).covers(polygon.boundary)
    )


def find_direction(ring: Points) -> float:
    """Angle, from 0 to below π / 2, by which the axes are turned along which a closed line is
    shortest, from the directions of its own sides."""
    steps = np.diff(ring, axis=0)
    length = np.hypot(steps[:, 0], steps[:, 1])
    angle = np.arctan2(steps[:, 1], steps[:, 0]) % (math.pi / 2)
    away = angle[:, None] - np.arctan2(steps[:, 1], steps[:, 0])[None]
    total = ((np.abs(np.cos(away)) + np.abs(np.sin(away))) * length).sum(1)
    best = angle[int(np.argmin(total))]
    off = np.abs((angle - best + math.pi / 4) % (math.pi / 2) - math.pi / 4)
    weight = np.where(off < ALIKE, length, 0.0)
    mean = math.atan2((weight * np.sin(4 * angle)).sum(), (weight * np.cos(4 * angle)).sum())
    return (mean / 4) % (math.pi / 2)


class Outline(NamedTuple):
    """A closed line through the middles of the sides of pixels, where stairs are low, and which of
    its points are corners without them."""

    points: Points
    corners: npt.NDArray[np.intp]
    """Ascending; the first point again at the end."""

    @classmethod
    def of(cls, ring: Any, pixel: float) -> Outline:
        """The outline of a ring of pixels of this side."""
        ends = shapely.get_coordinates(shapely.segmentize(ring, pixel))
        middles = (ends[1:] + ends[:-1]) / 2
        points = np.append(middles, middles[:1], axis=0)
        line = shapely.simplify(shapely.LineString(points), STAIRS * pixel)
        kept = iter(map(tuple, shapely.get_coordinates(line).tolist()))
        corners, wanted = list[int](), next(kept)
        for place, point in enumerate(map(tuple, points.tolist())):
            if point == wanted:
                corners.append(place)
                wanted = next(kept, ())
        return cls(points, np.array(corners))


def _sides(ring: Outline, frame: Points, shortest: float) -> list[Side]:
    """The sides of an outline in turn along one axis and the other, none shorter than asked unless
    but four are left; none at all where it has no two axes.

    A side lies where it parts as much area as the stairs do.
    """
    points = ring.points @ frame
    step, middle = np.diff(points, axis=0), (points[1:] + points[:-1]) / 2
    parted = np.concatenate([np.zeros((1, 2)), np.cumsum(middle[:, ::-1] * step, axis=0)])
    whole = np.diff(points[ring.corners], axis=0)
    areas = np.diff(parted[ring.corners], axis=0)
    sides: list[Side] = []
    for (dx, dy), (over, beside) in zip(whole.tolist(), areas.tolist(), strict=True):
        level = abs(dx) >= abs(dy)
        one = Side(level, over / dx, abs(dx)) if level else Side(level, beside / dy, abs(dy))
        if sides and sides[-1].level == level:
            one = _unite(sides.pop(), one)
        sides.append(one)
    if len(sides) > 1 and sides[0].level == sides[-1].level:
        sides[0] = _unite(sides.pop(), sides[0])
    while len(sides) > 4:
        lengths = [abs(sides[n - 1].at - sides[(n + 1) % len(sides)].at) for n in range(len(sides))]
        least = min(range(len(sides)), key=lengths.__getitem__)
        if lengths[least] >= shortest:
            break
        sides = _without(sides, least)
    return sides if len(sides) % 2 == 0 else []


def _without(sides: Sequence[Side], gone: int) -> list[Side]:
    """Sides without one of them, its neighbours united."""
    turned = [*sides[gone:], *sides[:gone]]
    return [_unite(turned[-1], turned[1]), *turned[2:-1]]


def _unite(one: Side, other: Side) -> Side:
    """One side in the place of two along the same axis."""
    weight = one.weight + other.weight
    at = (one.at * one.weight + other.at * other.weight) / weight if weight else one.at
    return Side(one.level, at, weight)


def _corners(sides: Sequence[Side]) -> Points:
    """Where each side meets the next, as a closed line."""
    corners = []
    for one, other in zip(sides, [*sides[1:], sides[0]], strict=True):
        corners.append((other.at, one.at) if one.level else (one.at, other.at))
    return np.array([*corners, corners[0]])
