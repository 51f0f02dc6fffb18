"""Each cell has one marker, the lowest of it, and the ground rises between markers."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.relief.gradient import HIGHEST
from segmentation.relief.waterpixels import mark_cells, raise_between, reach_of_cells
from tests.chance import chances
from tests.segmentation.relief.reach import measure_reach

STEPS = [1, 2, 3, 4, 5, 6, 7, 13]


def surface_of(heights: np.ndarray, valid: np.ndarray, step: int) -> np.ndarray:
    markers = mark_cells(heights, valid, step, 0, 0)
    return raise_between(heights, valid, markers, step, 10_000.0 * step)


@pytest.mark.parametrize("step", STEPS)
def test_a_marker_in_each_cell_that_has_a_valid_pixel(step: int) -> None:
    for chance in chances(20):
        row, col = (int(n) for n in chance.integers(-30, 30, 2))
        heights = chance.integers(0, 5, (26, 23)).astype(np.uint32)
        valid = chance.random(heights.shape) > chance.choice([0, 0.5, 0.97])
        markers = mark_cells(heights, valid, step, row, col)
        y, x = np.mgrid[row : row + 26, col : col + 23]
        expected = np.zeros(heights.shape, bool)
        for cell in {*zip((y // step).ravel().tolist(), (x // step).ravel().tolist(), strict=True)}:
            inside = np.argwhere((y // step == cell[0]) & (x // step == cell[1]))
            if len(inside) < step * step:
                continue
            rim = step // 6
            ranks = [
                (
                    not (
                        rim <= (r + row) % step < step - rim
                        and rim <= (c + col) % step < step - rim
                    ),
                    heights[r, c],
                    r,
                    c,
                )
                for r, c in inside.tolist()
                if valid[r, c]
            ]
            if ranks:
                expected[min(ranks)[2:]] = True
        np.testing.assert_array_equal(markers, expected)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_beyond_its_reach_decides_about_a_pixel(step: int) -> None:
    side = step * min(12, 61 // step)  # whole cells: each valid pixel has a marker near by
    measured = measure_reach(
        lambda values, valid: surface_of(values[0].astype(np.uint32), valid, step),
        side=side,
        trials=150,
        holes=(0, 0.5, 0.9, 0.97),
    )
    assert measured <= reach_of_cells(step)


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_reach_one_pixel_less_would_be_too_little(step: int) -> None:
    """Cells between are empty, and the own marker lies in the farthest corner."""
    reach = reach_of_cells(step)
    cells = -(-(reach - step + 1) // step) or 0
    offset = reach - cells * step if cells else step - 1
    y, x = 4 * step, 4 * step + offset
    heights = np.full((9 * step, 9 * step), 9, np.uint32)
    valid = np.zeros(heights.shape, bool)
    far = x - reach
    own = y + step - 1, 4 * step + (step - 1 if offset < step / 2 else 0)
    for place, height in (((y, x), 9), (own, 1), ((y, far), 2 * HIGHEST), ((y, 4 * step), 9)):
        valid[place], heights[place] = True, min(height, HIGHEST)
    near = y, (4 - max(cells, 1) + 1) * step - 1
    if cells:
        valid[near], heights[near] = True, 5
    before = surface_of(heights, valid, step)
    heights[y, far] = 0
    after = surface_of(heights, valid, step)
    assert before[y, x] != after[y, x]
    assert reach_of_cells(step) < 3 * step


def test_the_ground_rises_by_the_slope_each_half_step() -> None:
    markers = np.zeros((1, 13), bool)
    markers[0, 0] = True
    level = np.full((1, 13), 7, np.uint32)
    valid = np.ones((1, 13), bool)
    raised = raise_between(level, valid, markers, step=6, slope=30.0)
    np.testing.assert_array_equal(raised[0], [0, *(8 + 10 * n for n in range(1, 13))])
    valid[0, 5] = False
    assert raise_between(level, valid, markers, 6, 1e12)[0].tolist() == [
        0, *[HIGHEST] * 4, 0, *[HIGHEST] * 7,
    ]  # fmt: skip
    assert (raise_between(level, valid, np.zeros_like(valid), 6, 30.0)[0, :5] == 8).all()
