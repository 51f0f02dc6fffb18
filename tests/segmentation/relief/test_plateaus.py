"""Level ground falls towards its rim, and basins are the minima then."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.relief.gradient import HIGHEST
from segmentation.relief.plateaus import fineness, make_fall
from tests.chance import chances
from tests.segmentation.relief.reach import measure_reach


def fall_slowly(heights: np.ndarray, valid: np.ndarray, most: int) -> np.ndarray:
    """The same, pixel by pixel: how far the rim is along the plateau, by walking from it."""
    away = np.zeros(heights.shape, int)

    def neighbours(y: int, x: int) -> list[tuple[int, int]]:
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        return [
            at
            for at in around
            if 0 <= at[0] < valid.shape[0] and 0 <= at[1] < valid.shape[1] and valid[at]
        ]

    places = [tuple(at) for at in np.argwhere(valid)]
    front = [at for at in places if any(heights[o] < heights[at] for o in neighbours(*at))]
    for step in range(1, most + 1):
        for at in front:
            away[at] = step
        front = [
            at
            for at in places
            if not away[at]
            and any(heights[o] == heights[at] and away[o] == step for o in neighbours(*at))
        ]
    return heights * (most + 2) + away


@pytest.mark.parametrize("most", [1, 3, 8])
def test_it_is_the_distance_to_the_lower_rim(most: int) -> None:
    for chance in chances(12):
        shape = tuple(chance.integers(1, 24, 2))
        heights = np.repeat(chance.integers(0, 4, shape), 5, 1)[:, : shape[1]].astype(np.uint32)
        valid = chance.random(shape) > chance.choice([0, 0.2])
        found = make_fall(heights, valid, most)
        expected = fall_slowly(heights, valid, most)
        np.testing.assert_array_equal(found[valid], expected[valid])


@pytest.mark.parametrize("most", [1, 2, 8])
def test_a_pixel_depends_on_those_in_reach_and_no_other(most: int) -> None:
    reach = measure_reach(
        lambda values, valid: np.where(
            valid, make_fall((values[0] % 2).astype(np.uint32), valid, most), 0
        ),
        levels=(2, 3, 50),
        trials=400,
        holes=(0, 0.02, 0.3),
    )
    assert reach <= most
    # The end of a corridor is as far from the rim as is looked.
    corridor = np.full((1, 20), 5, np.uint32)
    before = make_fall(corridor, np.ones((1, 20), bool), most)
    corridor[0, 0] = 0
    after = make_fall(corridor, np.ones((1, 20), bool), most)
    assert np.flatnonzero(before != after).max() == most


def test_order_and_bounds_of_heights_stay() -> None:
    heights = np.array([[0, 1, 1, 1, 2, HIGHEST]], np.uint32)
    fallen = make_fall(heights, np.ones((1, 6), bool), 2)
    assert fallen.max() <= HIGHEST
    np.testing.assert_array_equal(fallen[0, :5], [0, 5, 6, 4, 9])
    assert fineness(2) == 4
