"""There is one superpixel in each cell with a valid pixel, and each is of one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from flows.partitions.superpixels import Superpixels
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of
from tests.tiling.regions.drawn import draw_values


def count_pieces(regions: np.ndarray) -> int:
    """4-connected pieces of equal pixels, without those of -1."""
    return sum(label(regions == one)[1] for one in np.unique(regions[regions >= 0]))


@pytest.mark.parametrize("step", [2, 5, 8])
def test_one_in_each_cell_and_of_one_piece(step: int, tmp_path: Path) -> None:
    for number, chance in enumerate(chances(4)):
        shape = tuple(int(n) for n in chance.integers(9, 40, 2))
        kind = str(chance.choice(["hills", "noise", "constant", "spiral", "plateaus"]))
        pixels = draw_values(kind, shape, chance)[None].astype(np.uint16)
        valid = chance.random(shape) > 0.1
        valid &= label(valid)[0] == np.bincount(label(valid)[0][valid]).argmax()  # no islands
        scene = DrawnScene(pixels, valid)
        partition = fit_to(Superpixels(step=step, compactness=chance.choice([0, 0.5, 5])), scene)
        (regions,) = regions_of(partition, scene, tmp_path / str(number), 13)
        y, x = np.nonzero(valid)
        cells = {*zip((y // step).tolist(), (x // step).tolist(), strict=True)}
        assert np.unique(regions[valid]).size == len(cells) == count_pieces(regions)


def test_an_island_without_a_marker_is_a_superpixel_of_its_own(tmp_path: Path) -> None:
    valid = np.ones((8, 8), bool)
    valid[:, 4:] = False
    valid[1, 6] = valid[6, 7] = True
    scene = DrawnScene(np.ones((1, 8, 8), np.uint16), valid)
    (regions,) = regions_of(fit_to(Superpixels(step=8), scene), scene, tmp_path, 5)
    assert np.unique(regions[valid]).size == 3


def test_what_is_compact_keeps_to_its_cells(tmp_path: Path) -> None:
    (chance,) = chances(1)
    pixels = draw_values("hills", (40, 40), chance)[None].astype(np.uint16)
    scene = DrawnScene(pixels, np.ones((40, 40), bool))
    borders = []
    for compactness in (0.0, 1000.0):
        partition = fit_to(Superpixels(step=8, compactness=compactness), scene)
        (regions,) = regions_of(partition, scene, tmp_path / str(compactness), 40)
        borders.append(sum((np.diff(regions, axis=axis) != 0).sum() for axis in (0, 1)))
    assert borders[1] < 0.9 * borders[0]
