"""Edges lie where scikit-image's do, and where the image is steepest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter, label
from skimage.feature import canny

from flows.parsing import validate
from flows.partitions.canny import Canny
from segmentation.relief.edges import thin_edges
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of
from tiling.errors import InputError


def draw_fields(side: int, chance: np.random.Generator) -> np.ndarray:
    """`(1, y, x) uint16` fields of different brightness with a little noise."""
    fields = np.kron(chance.integers(0, 9, (5, 5)) * 800, np.ones((side // 5, side // 5)))
    return (fields + chance.normal(1000, 40, fields.shape))[None].astype(np.uint16)


def test_they_lie_within_a_pixel_of_those_of_scikit_image(tmp_path: Path) -> None:
    inner, near, shares = np.s_[4:-4, 4:-4], np.ones((3, 3), bool), []
    for number, chance in enumerate(chances(4)):
        pixels = draw_fields(240, chance)
        scene = DrawnScene(pixels, np.ones((240, 240), bool))
        partition = fit_to(Canny(low=0.8, high=0.9, rounds=2), scene, block=240)
        (regions,) = regions_of(partition, scene, tmp_path / str(number), 100)
        ours = regions >= 0
        # Two rounds of the binomial filter have a variance of one pixel.
        theirs = canny(
            pixels[0].astype(float), 1.0, low_threshold=0.8, high_threshold=0.9, use_quantiles=True
        )
        both = (theirs, ours), (ours, theirs)
        shares.append(
            [binary_dilation(one, near)[inner][other[inner]].mean() for one, other in both]
        )
    # thresholds are quantiles of two smoothings: now and then a weak line is one's alone
    assert (np.mean(shares, axis=0) > 0.97).all()


@pytest.mark.slow
def test_weak_edges_are_kept_where_they_meet_strong_ones(tmp_path: Path) -> None:
    for number, chance in enumerate(chances(4)):
        pixels = gaussian_filter(chance.random((2, 36, 36)), (0, 2, 2))
        scene = DrawnScene((pixels * 60_000).astype(np.uint16), chance.random((36, 36)) > 0.05)
        partition = fit_to(Canny(low=0.5, high=0.8), scene)
        (regions,) = regions_of(partition, scene, tmp_path / str(number), 11)
        wide = np.pad(scene.pixels, ((0, 0), (9, 9), (9, 9))).astype(np.int32)
        thin = thin_edges(wide, np.pad(scene.valid, 9), partition.rounds)[1][9:-9, 9:-9]
        weak, _ = label(thin > partition.fitted.low, np.ones((3, 3)))
        kept = np.unique(weak[thin > partition.fitted.high])
        np.testing.assert_array_equal(regions >= 0, np.isin(weak, kept[kept > 0]))
        for one in np.unique(regions[regions >= 0]):
            assert np.unique(weak[regions == one]).size == 1


def test_a_level_image_has_none(tmp_path: Path) -> None:
    scene = DrawnScene(np.full((1, 20, 20), 7, np.uint8), np.ones((20, 20), bool))
    (regions,) = regions_of(fit_to(Canny(), scene), scene, tmp_path, 9)
    assert (regions == -1).all()


def test_weak_edges_that_are_stronger_than_strong_ones_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^low=0\.9 is above high=0\.5; strong edges are among weak ones$"
    ):
        validate(Canny, low=0.9, high=0.5)
