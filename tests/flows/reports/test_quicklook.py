"""The picture of a run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.transform

from flows.reports.quicklook import natural_colours
from tests.scenes import draw_scene
from tiling.scene.from_files import open_scene


def test_a_scene_that_cannot_be_read_is_left_out_of_the_picture(tmp_path: Path) -> None:
    drawn, path = draw_scene(tmp_path / "drawn.tif", 256, 256), tmp_path / "scene.tif"
    # its header comes first
    rasterio.shutil.copy(drawn, path, driver="COG", compress="DEFLATE", overviews="NONE")
    scene = open_scene([str(path)])
    with rasterio.open(path) as source:
        bounds = source.bounds
    shown = natural_colours(scene, bounds, (32, 32))
    assert shown is not None
    assert shown.std() > 10
    os.truncate(path, path.stat().st_size // 2)
    assert natural_colours(scene, bounds, (32, 32)) is None


def test_no_data_beside_alpha_is_nobodys_warning(tmp_path: Path) -> None:
    path = tmp_path / "four.tif"
    place = {
        "crs": "EPSG:32633",
        "transform": rasterio.transform.from_origin(500_000, 5_000_000, 10, 10),
    }
    profile = {
        "driver": "GTiff",
        "width": 64,
        "height": 64,
        "count": 4,
        "dtype": "uint8",
        "photometric": "RGB",
    }
    pixels = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)
    with rasterio.open(path, "w", nodata=0, alpha="YES", **profile, **place) as target:
        target.write(pixels)
    with rasterio.open(path) as source:
        bounds = source.bounds
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert natural_colours(open_scene([str(path)]), bounds, (32, 32)) is not None
