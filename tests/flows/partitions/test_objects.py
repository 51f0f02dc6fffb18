"""Objects lie in objects of the next level, none is too small, and what differs stays apart."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from flows.parsing import validate
from flows.partitions.objects import Objects, ladder, limit_of
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of
from tiling.errors import InputError
from tiling.regions.merging.linkage import Merging


def draw_land(side: int, chance: np.random.Generator) -> DrawnScene:
    """Square fields of 12 px, each of its own colour, with a little noise."""
    fields = -(-side // 12)
    colours = chance.permutation(fields * fields).reshape(fields, fields) * 300
    land = np.kron(colours, np.ones((12, 12)))[:side, :side]
    pixels = np.stack([land, land.max() - land / 2]) + chance.normal(500, 20, (2, side, side))
    return DrawnScene(pixels.astype(np.uint16), np.ones((side, side), bool))


def test_fields_are_outlined(tmp_path: Path) -> None:
    (chance,) = chances(1)
    scene = draw_land(48, chance)
    (regions,) = regions_of(fit_to(Objects(step=4, scale=2), scene), scene, tmp_path, 21)
    assert np.unique(regions).size == 16
    for row in range(0, 48, 12):
        for col in range(0, 48, 12):
            assert np.unique(regions[row + 2 : row + 10, col + 2 : col + 10]).size == 1


@pytest.mark.slow
def test_levels_are_nested_and_of_one_piece(tmp_path: Path) -> None:
    for number, chance in enumerate(chances(3)):
        scene = draw_land(40, chance)
        partition = fit_to(Objects(step=4, levels=(0.5, 1, 4, 9)), scene)
        levels = regions_of(partition, scene, tmp_path / str(number), 15)
        assert len(levels) == 4
        counts = [np.unique(level).size for level in levels]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] > counts[-1]
        for fine, coarse in itertools.pairwise(levels):
            pairs = np.unique(np.stack([fine.ravel(), coarse.ravel()]), axis=1)
            assert pairs.shape[1] == np.unique(fine).size
        for level in levels:
            pieces = sum(label(level == one)[1] for one in np.unique(level))
            assert pieces == np.unique(level).size


def test_none_is_too_small_at_any_level(tmp_path: Path) -> None:
    (chance,) = chances(1)
    scene = draw_land(36, chance)
    partition = fit_to(Objects(step=3, levels=(0.5, 2), least_area=6000), scene)
    for level in regions_of(partition, scene, tmp_path, 11):
        assert np.unique(level, return_counts=True)[1].min() >= 60, "a pixel has 100 m²"


def test_a_level_is_the_same_alone(tmp_path: Path) -> None:
    (chance,) = chances(1)
    scene = draw_land(36, chance)
    _, last = regions_of(fit_to(Objects(levels=(2, 4)), scene), scene, tmp_path / "two", 36)
    (alone,) = regions_of(fit_to(Objects(scale=4), scene), scene, tmp_path / "one", 36)
    np.testing.assert_array_equal(last, alone)


def test_limits_double_and_what_is_asked_for_is_among_them() -> None:
    steps = ladder((2.8, 6), least=9)
    assert [scale for scale, _ in steps] == [None, None, None, 2.8, None, None, 6]
    assert [merging.limit / 1e4 for _, merging in steps] == [1, 2, 4, 8, 16, 32, 36]
    assert [merging.least for _, merging in steps] == [0, 0, 0, 9, 0, 0, 9]
    assert ladder([8], 5)[-1] == (8, Merging(64e4, 5))
    assert ladder([0.5]) == [(0.5, Merging(2500))]
    assert [limit_of(scale) for scale in (1, 1.4, 2, 2.8, 5.7, 11.3, 22.6)] == [
        1, 2, 4, 8, 32, 128, 512,
    ]  # fmt: skip


def test_levels_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^levels=8,4 do not ascend; write the finest scale first$"
    ):
        validate(Objects, levels=(8, 4))
