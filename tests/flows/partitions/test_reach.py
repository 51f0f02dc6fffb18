"""What is in reach of a surface decides about it, as far as is said and no farther."""

from __future__ import annotations

import numpy as np
import pytest

from flows.partitions.canny import Canny
from flows.partitions.partition import Partition
from flows.partitions.superpixels import Superpixels
from flows.partitions.wand import Wand
from flows.partitions.watershed import Watershed
from flows.partitions.zones import Zones
from tests.flows.partitions.partitioned import DrawnScene, fit_to
from tests.segmentation.relief.reach import measure_reach
from tiling.grid.window import Window

SIDE = 21
CASES = [
    (Watershed(threshold=1, rounds=0, plateaus=0), 100),
    (Watershed(threshold=1, rounds=2, plateaus=0), 100),
    (Canny(rounds=1), 100),
    (Wand(rounds=1), 100),
    (Zones(), 20),
    (Superpixels(step=2, rounds=0), 600),
]


@pytest.mark.parametrize(("partition", "trials"), CASES)
def test_as_far_as_is_said_and_no_farther(partition: Partition, trials: int) -> None:
    one = np.arange(SIDE * SIDE, dtype=np.int32).reshape(1, SIDE, SIDE)
    scene = DrawnScene(np.concatenate([one, one[:, ::-1]]), np.ones((SIDE, SIDE), bool))
    fitted = fit_to(partition, scene, block=SIDE)
    whole = Window.of_shape(SIDE, SIDE)

    def look(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        chip = DrawnScene(values, valid).read(whole, scene.band_names)
        surface = fitted.surface(chip, 0, 0)
        shown = surface.values[0] if surface.heights is None else surface.heights
        return np.where(surface.valid, shown, 0)

    holes = (0.5, 0.8, 0.9) if isinstance(partition, Superpixels) else (0, 0.1, 0.9)
    assert measure_reach(look, side=SIDE, trials=trials, holes=holes) == partition.reach


@pytest.mark.parametrize("partition", [Watershed(threshold=1), Superpixels(step=6), Canny()])
def test_a_window_shows_what_the_whole_shows(partition: Partition) -> None:
    random = np.random.default_rng(3)
    scene = DrawnScene(random.integers(0, 50, (2, 70, 70)), random.random((70, 70)) > 0.3)
    fitted = fit_to(partition, scene)
    wide, window = Window(-30, -30, 130, 130), Window(17, 23, 9, 11)
    padded = window.pad(fitted.reach)
    bands = scene.band_names
    expected = fitted.surface(scene.read(wide, bands), wide.row, wide.col)
    found = fitted.surface(scene.read(padded, bands), padded.row, padded.col)
    there, here = window.within(wide), window.within(padded)
    np.testing.assert_array_equal(found.heights[here], expected.heights[there])
    if found.markers is not None:
        np.testing.assert_array_equal(found.markers[here], expected.markers[there])


def test_the_far_end_of_a_plateau_is_seen() -> None:
    partition = Watershed(threshold=1, rounds=0, plateaus=8)
    ramp = np.minimum(np.arange(60), 40)[None, None] * np.full((1, 41, 1), 3)
    scene = DrawnScene(ramp.astype(np.uint16), np.ones((41, 60), bool))
    fitted, bands = fit_to(partition, scene), scene.band_names
    expected = fitted.surface(scene.read(Window(-20, -20, 81, 100), bands), -20, -20).heights
    for col in range(25, 40):
        window = Window(20, col, 1, 1)
        padded = window.pad(fitted.reach)
        found = fitted.surface(scene.read(padded, bands), padded.row, padded.col).heights
        assert found[window.within(padded)] == expected[40, 20 + col]
