"""On real images, too, no tile shows, and regions are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.ndimage import label

from flows.partitions.canny import Canny
from flows.partitions.objects import Objects
from flows.partitions.partition import Partition
from flows.partitions.superpixels import Superpixels
from flows.partitions.watershed import Watershed
from flows.partitions.zones import Zones
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of

SIDE = 140
CASES = [
    Objects(levels=(2, 8)),
    Superpixels(),
    Watershed(),
    Watershed(measure="dynamics", size=100),
    Zones(tolerance=0.01),
    Canny(),
]


@pytest.fixture(scope="module")
def field_scene(shared_data: Path) -> DrawnScene:
    """A window of Sentinel-2: fields, a river, a village."""
    with rasterio.open(shared_data / "s2_l2a_openeo_sample" / "S2_L2A_sample.tif") as raster:
        pixels = raster.read([1, 2, 3, 4], window=((150, 150 + SIDE), (300, 300 + SIDE)))
    return DrawnScene(pixels, (pixels > 0).all(0), units="reflectance")


@pytest.mark.parametrize("partition", CASES, ids=lambda one: f"{one.kind}")
def test_no_tile_shows(partition: Partition, field_scene: DrawnScene, tmp_path: Path) -> None:
    fitted = fit_to(partition, field_scene, block=SIDE)
    whole = regions_of(fitted, field_scene, tmp_path / "whole", SIDE)
    tiled = regions_of(fitted, field_scene, tmp_path / "tiled", 51)
    for one, other in zip(tiled, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    if partition.gives == "regions":
        counts = [np.unique(level).size for level in whole]
        pieces = [label(whole[0] == one)[1] for one in np.unique(whole[0])[:50]]
        assert {*pieces} == {1}
        assert counts[-1] < field_scene.valid.sum() / 1.5
