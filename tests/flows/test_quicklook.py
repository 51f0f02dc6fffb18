"""The picture of a run."""

from __future__ import annotations

import os
from pathlib import Path

import rasterio
import rasterio.shutil

from flows.quicklook import natural_colours
from tests.scenes import draw_scene
from tiling.scene import open_scene


def test_a_scene_that_cannot_be_read_is_left_out_of_the_picture(tmp_path: Path) -> None:
    drawn, path = draw_scene(tmp_path / "drawn.tif", 256, 256), tmp_path / "scene.tif"
    rasterio.shutil.copy(drawn, path, driver="COG", compress="DEFLATE", overviews="NONE")  # its header comes first
    scene = open_scene([str(path)])
    with rasterio.open(path) as source:
        bounds = source.bounds
    shown = natural_colours(scene, bounds, (32, 32))
    assert shown is not None
    assert shown.std() > 10
    os.truncate(path, path.stat().st_size // 2)
    assert natural_colours(scene, bounds, (32, 32)) is None
