"""Regions by watershed are the same for every tile, and as large as was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.ndimage import gaussian_filter, generate_binary_structure, label
from skimage.metrics import adapted_rand_error
from skimage.morphology import h_minima
from skimage.segmentation import watershed

from flows.partitions.watershed import Watershed
from segmentation.relief.plateaus import fineness
from tests.chance import chances
from tests.flows.partitions.partitioned import DrawnScene, fit_to, regions_of
from tiling.grid.window import Window


def smooth_scene(side: int = 96, seed: int = 5) -> DrawnScene:
    random = np.random.default_rng(seed)
    pixels = gaussian_filter(random.random((2, side, side)), (0, 3, 3))
    return DrawnScene((pixels * 60000).astype(np.uint16), np.ones((side, side), bool))


@pytest.mark.parametrize("measure", ["volume", "dynamics", "area"])
def test_regions_have_the_size_asked_for(measure: str, tmp_path: Path) -> None:
    scene = smooth_scene()
    partition = fit_to(Watershed(measure=measure, size=150), scene, block=96)
    (regions,) = regions_of(partition, scene, tmp_path, 40)
    assert 140 < regions.size / np.unique(regions).size < 160


def test_a_threshold_is_taken_as_it_is(tmp_path: Path) -> None:
    scene = smooth_scene()
    partition = fit_to(Watershed(measure="area", threshold=50), scene)
    (regions,) = regions_of(partition, scene, tmp_path, 40)
    assert np.unique(regions, return_counts=True)[1].min() >= 50


def test_of_dynamics_it_is_the_watershed_of_scikit_image(tmp_path: Path) -> None:
    scene = smooth_scene()
    partition = fit_to(Watershed(measure="dynamics", threshold=400), scene)
    (regions,) = regions_of(partition, scene, tmp_path, 40)
    chip = scene.read(Window.of_shape(96, 96), scene.band_names)
    surface = partition.surface(chip, 0, 0)
    heights = surface.heights.astype(np.int64)
    minima = label(h_minima(heights, 400 * fineness(8), generate_binary_structure(2, 1)))[0]
    assert abs(np.unique(regions).size - minima.max()) <= 0.02 * minima.max()
    expected = watershed(heights, minima, connectivity=1)
    # It breaks ties by age in its queue.
    assert adapted_rand_error(expected, regions)[0] < 0.02


def test_markers_grow_into_one_region_each(tmp_path: Path) -> None:
    scene = smooth_scene()
    (chance,) = chances(1)
    marks = np.zeros((96, 96), np.uint16)
    places = chance.permutation(96 * 96)[:30]
    marks.flat[places] = np.arange(1, 31)
    file = write_marks(tmp_path / "marks.tif", marks, scene)
    partition = fit_to(Watershed(markers=file), scene)
    partition.check(scene)
    (regions,) = regions_of(partition, scene, tmp_path / "tiled", 40)
    assert np.unique(regions).size == np.unique(regions.flat[places]).size == 30
    surface = partition.surface(scene.read(Window.of_shape(96, 96), scene.band_names), 0, 0)
    expected = watershed(surface.heights.astype(np.int64), marks.astype(int), connectivity=1)
    assert adapted_rand_error(expected, regions)[0] < 0.05


def test_a_patch_of_one_number_is_one_marker(tmp_path: Path) -> None:
    scene = smooth_scene()
    marks = np.zeros((96, 96), np.uint16)
    marks[5:60, 10], marks[59, 10:80] = 3, 3
    marks[5:58, 11] = 4
    marks[90, 90] = 3
    partition = fit_to(Watershed(markers=write_marks(tmp_path / "a.tif", marks, scene)), scene)
    (regions,) = regions_of(partition, scene, tmp_path / "tiled", 25)
    assert np.unique(regions).size == 3
    for row, col in ((5, 10), (5, 11), (90, 90)):
        patch = label(marks == marks[row, col])[0]
        assert np.unique(regions[patch == patch[row, col]]).size == 1


def write_marks(path: Path, marks: np.ndarray, scene: DrawnScene) -> str:
    grid = scene.geobox
    with rasterio.open(
        path, "w", driver="GTiff", height=grid.height, width=grid.width, count=1,
        dtype=marks.dtype, crs=str(grid.crs), transform=grid.affine, nodata=0,
    ) as raster:  # fmt: skip
        raster.write(marks, 1)
    return str(path)
