"""Methods on the whole graph of superpixels: what they make of clear images, and what they
refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from flows.partitions.graphs import Felzenszwalb, GraphPartition, NormalisedCut
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of
from tiling.errors import InputError

QUARTERS = np.kron([[10, 90], [170, 250]], np.ones((24, 24), np.uint16))
SCENE = DrawnScene(QUARTERS[None].astype(np.uint16), np.ones(QUARTERS.shape, bool))


@pytest.mark.parametrize("method", [Felzenszwalb(scale=30, step=4), NormalisedCut(step=4)])
def test_four_colours_are_four_regions(method: GraphPartition, tmp_path: Path) -> None:
    (regions,) = regions_of(fit_to(method, SCENE), SCENE, tmp_path, 19)
    pairs = np.unique(np.stack([regions.ravel(), QUARTERS.ravel()]), axis=1)
    assert pairs.shape[1] == np.unique(regions).size == 4


def test_no_region_is_smaller_than_the_least_area(tmp_path: Path) -> None:
    chance = np.random.default_rng(4)
    scene = replace(SCENE, pixels=chance.integers(0, 900, (1, 48, 48)).astype(np.uint16))
    sizes = []
    for area in (0, 5000):
        method = Felzenszwalb(scale=0.1, step=3, least_area=area)
        folder = tmp_path / str(area)
        (regions,) = regions_of(fit_to(method, scene), scene, folder, 17)
        sizes.append(np.unique(regions, return_counts=True)[1].min())
    assert sizes[0] < 50 <= sizes[1]


@dataclass(frozen=True, eq=False)
class Wide(DrawnScene):
    """A scene of which only the size is asked."""

    side: int = 0

    @property
    def height(self) -> int:
        return self.side

    @property
    def width(self) -> int:
        return self.side


@pytest.mark.parametrize(
    ("method", "taken", "refused"),
    [
        (Felzenszwalb(), 9_900, 10_100),
        (Felzenszwalb(step=3), 4_900, 5_100),
        (Felzenszwalb(step=30), 9_900, 10_100),
        (NormalisedCut(), 1_890, 1_910),
        (NormalisedCut(step=20), 6_300, 6_400),
    ],
)
def test_what_no_process_holds_is_refused_at_once(
    method: GraphPartition, taken: int, refused: int
) -> None:
    method.check(Wide(SCENE.pixels, SCENE.valid, side=taken))
    with pytest.raises(InputError, match=f"{refused} × {refused} px are too many.*clip the raster"):
        method.check(Wide(SCENE.pixels, SCENE.valid, side=refused))
