"""Values in zones: exactextract's means and deviations, whatever the windows."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine

from tests.chance import chances
from tiling.classmaps.zonal_areas import Outlines, coverage
from tiling.classmaps.zonal_values import MISSING, WEIGHT, Tally, tally
from tiling.grid.window import Window

SHAPE = 40, 50


@pytest.fixture(scope="module")
def drawn() -> tuple[Outlines, np.ndarray, list[shapely.Polygon]]:
    """Discs and a zone of its own in a raster of few values with gaps; one zone lies outside."""
    (rng,) = chances(1)
    discs = [shapely.Point(*rng.uniform(5, 40, 2)).buffer(rng.uniform(0.3, 12)) for _ in range(12)]
    zones = [*discs, shapely.box(-9, -9, -1, -1), shapely.box(10.25, 3.5, 12.75, 7)]
    values = rng.integers(-30, 90, SHAPE).astype(np.int32)
    values[rng.random(SHAPE) < 0.2] = MISSING
    return Outlines(zones, Affine.identity()), values, zones


def tally_of(outlines: Outlines, values: np.ndarray, size: int) -> Tally:
    parts = []
    for window in Window.of_shape(*SHAPE).blocks(size):
        covered = coverage(outlines.near(window), window)
        parts.append(tally(covered, window, values[window.within(Window.of_shape(*SHAPE))]))
    return Tally.sum(reversed(parts))


@pytest.mark.parametrize("size", [7, 16, 33])
def test_no_cut_changes_a_number(drawn: tuple[Outlines, np.ndarray, list], size: int) -> None:
    outlines, values, _ = drawn
    whole, cut = tally_of(outlines, values, 64), tally_of(outlines, values, size)
    np.testing.assert_array_equal(cut.key, whole.key)
    np.testing.assert_array_equal(cut.weight, whole.weight)


def test_weights_are_the_covered_parts_of_the_pixels(
    drawn: tuple[Outlines, np.ndarray, list],
) -> None:
    outlines, values, zones = drawn
    found = tally_of(outlines, values, 16)
    assert not (found.zone == 12).any()
    for zone, shape in enumerate(zones):
        for value in np.unique(values):
            pixels = np.argwhere(values == value)
            boxes = shapely.box(pixels[:, 1], pixels[:, 0], pixels[:, 1] + 1, pixels[:, 0] + 1)
            covered = shapely.area(shapely.intersection(boxes, shape)).sum()
            mine = found.weight[(found.zone == zone) & (found.value == value)].sum() / WEIGHT
            assert mine == pytest.approx(0 if value == MISSING else covered, abs=1e-4)


def test_nothing_is_a_tally_too() -> None:
    assert Tally.sum([]).zone.size == 0
    outlines = Outlines([shapely.box(0, 0, 2, 2)], Affine.identity())
    window = Window.of_shape(4, 4)
    empty = tally(coverage(outlines.near(window), window), window, np.full((4, 4), MISSING, "i4"))
    assert empty.key.size == 0
