"""Whatever the tiles, the order of work and retries: every partition gives the same regions."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.partitions.canny import Canny
from flows.partitions.graphs import Felzenszwalb, NormalisedCut
from flows.partitions.objects import Objects
from flows.partitions.partition import Partition
from flows.partitions.superpixels import Superpixels
from flows.partitions.watershed import Watershed
from flows.partitions.zones import Zones
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of, scenes
from tests.tiling.regions.drawn import Drawn

CASES = {
    "objects": st.builds(
        Objects,
        step=st.integers(2, 5),
        levels=st.sampled_from([(), (0.5, 3), (1, 2.8, 20)]),
        least_area=st.sampled_from([0, 700, 3000]),
    ),
    "watershed": st.builds(
        Watershed,
        measure=st.sampled_from(["volume", "dynamics", "area"]),
        threshold=st.integers(0, 400),
        rounds=st.integers(0, 2),
        plateaus=st.sampled_from([0, 3]),
    ),
    "superpixels": st.builds(
        Superpixels,
        step=st.integers(2, 9),
        compactness=st.sampled_from([0, 0.5, 20]),
        rounds=st.integers(0, 2),
    ),
    "felzenszwalb": st.builds(
        Felzenszwalb,
        step=st.integers(2, 4),
        scale=st.sampled_from([0.1, 3, 40]),
        least_area=st.sampled_from([0, 700, 3000]),
    ),
    "normalised-cut": st.builds(
        NormalisedCut,
        step=st.integers(2, 4),
        thresh=st.sampled_from([0.01, 0.3, 1.2]),
        sigma=st.sampled_from([0.1, 2]),
    ),
    "zones": st.builds(
        Zones,
        tolerance=st.sampled_from([None, 0, 1, 30]),
        connectivity=st.sampled_from([4, 8]),
    ),
    "canny": st.builds(
        Canny,
        low=st.sampled_from([0, 0.3, 0.5]),
        high=st.sampled_from([0.5, 0.7, 0.9]),
        rounds=st.integers(0, 2),
    ),
}


def check_any_tile(partition: Partition, scene: DrawnScene, drawn: Drawn) -> None:
    fitted = fit_to(partition, scene)
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        whole = regions_of(fitted, scene, Path(one), max(drawn.shape))
        tiled = regions_of(fitted, scene, Path(other), drawn.tile, drawn.map)
    assert len(whole) == len(tiled)
    for expected, found in zip(whole, tiled, strict=True):
        np.testing.assert_array_equal(found, expected)
        if partition.gives == "regions":
            np.testing.assert_array_equal(expected >= 0, drawn.valid)
        else:
            assert drawn.valid[expected >= 0].all()


@pytest.mark.parametrize("kind", CASES)
def test_tiles_retries_and_order_do_not_show(kind: str) -> None:
    @settings(max_examples=6, deadline=None)
    @given(CASES[kind], scenes(20))
    def check(partition: Partition, case: tuple[DrawnScene, Drawn]) -> None:
        check_any_tile(partition, *case)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_tiles_retries_and_order_do_not_show_on_many_scenes(kind: str) -> None:
    @settings(max_examples=20, deadline=None)
    @given(CASES[kind], scenes(34))
    def check(partition: Partition, case: tuple[DrawnScene, Drawn]) -> None:
        check_any_tile(partition, *case)

    check()
