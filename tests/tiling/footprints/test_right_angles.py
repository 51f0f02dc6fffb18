"""Facts about outlines with right angles: near the pixels, square, and like the building."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from rasterio import features
from rasterio.transform import from_origin

from tests.chance import chances
from tiling.footprints.right_angles import find_direction, is_round, regularise

SIDE = 70


def pixels_of(building: Any) -> Any:
    """The outline of the pixels whose middles lie in a building, the largest piece."""
    grid = from_origin(0, SIDE, 1, 1)
    mask = features.rasterize([building], (SIDE, SIDE), transform=grid).astype(np.uint8)
    pieces = [shapely.geometry.shape(s) for s, v in features.shapes(mask, transform=grid) if v]
    return max(pieces, key=shapely.area)


def building(kind: str, turn: float) -> Any:
    plain: Any = shapely.box(-18, -10, 18, 10)
    if kind == "L":
        plain = plain.difference(shapely.box(0, 0, 18, 10))
    if kind == "court":
        plain = plain.difference(shapely.box(-9, -4, 7, 4))
    return shapely.affinity.translate(shapely.affinity.rotate(plain, turn, (0, 0)), 35, 35)


def angles(polygon: Any) -> np.ndarray:
    """Cosines of the corners of a polygon."""
    cosines = []
    for ring in (polygon.exterior, *polygon.interiors):
        steps = np.diff(shapely.get_coordinates(ring), axis=0)
        steps /= np.hypot(*steps.T)[:, None]
        cosines.append((steps * np.roll(steps, -1, axis=0)).sum(1))
    return np.concatenate(cosines)


def alike(one: Any, other: Any) -> float:
    return float(one.intersection(other).area / one.union(other).area)


@pytest.mark.parametrize("kind", ["box", "L", "court"])
@pytest.mark.parametrize("turn", [0, 17, 45, 70.5])
def test_a_building_gets_its_corners_back(kind: str, turn: float) -> None:
    true = building(kind, turn)
    found = regularise(pixels_of(true), 2.0, 1.0)
    assert found is not None
    assert np.abs(angles(found)).max() < 1e-9
    corners = {"box": 4, "L": 6, "court": 8}[kind]
    assert shapely.get_num_coordinates(found) - len(found.interiors) - 1 == corners
    assert alike(found, true) > 0.93


def test_no_outline_is_farther_than_the_tolerance() -> None:
    made = 0
    for random in chances(25):
        blob: Any = shapely.union_all(
            [shapely.box(*(p := random.uniform(15, 40, 2)), *(p + random.uniform(5, 20, 2)))
             for _ in range(3)]
        )  # fmt: skip
        blob = shapely.affinity.rotate(blob, random.uniform(0, 90))
        outline = pixels_of(blob)
        found = regularise(outline, 1.5, 1.0)
        if found is None:
            continue
        made += 1
        assert found.is_valid
        assert np.abs(angles(found)).max() < 1e-9
        lines = found.boundary, outline.boundary
        assert shapely.hausdorff_distance(*lines, densify=0.02) <= 1.5
    assert made > 5


def test_what_is_round_stays_plain() -> None:
    """Also where right angles would be near enough, and squares of that size have them."""
    for random in chances(12):
        place = random.random(3)
        middle, turn = 30 + place[:2], float(90 * place[2])
        disc = shapely.Point(middle).buffer(4)
        assert regularise(pixels_of(disc), 2.0, 1.0) is None
        square = shapely.affinity.rotate(shapely.box(-4, -4, 4, 4), turn, (0, 0))
        assert not is_round(pixels_of(shapely.affinity.translate(square, *middle)))


def test_the_direction_is_that_of_the_sides() -> None:
    for turn in (3.0, 30.0, 88.0):
        ring = shapely.get_coordinates(building("L", turn))
        assert math.degrees(find_direction(ring)) == pytest.approx(turn)
