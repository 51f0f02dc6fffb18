"""Files on other machines, read: what does not come is an error and never a pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio.shutil

from tests.scenes import draw_scene
from tests.web import serving_in_part
from tiling import copies, reading
from tiling.errors import Away
from tiling.scene import open_scene
from tiling.window import Window


@pytest.mark.parametrize("threads", ["1", "2"])
def test_blocks_that_do_not_come_are_an_error_however_many_threads_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("GDAL_NUM_THREADS", threads)
    monkeypatch.setattr(copies, "SMALL", 0)
    monkeypatch.setattr(reading, "BACKOFF", 0.0)
    drawn, scene = draw_scene(tmp_path / "drawn.tif", 512, 512), tmp_path / "scene.tif"
    rasterio.shutil.copy(drawn, scene, driver="COG", compress="none", overviews="none", blocksize=128)
    whole = open_scene([str(scene)]).read(Window(0, 0, 512, 512), ("red",))
    with serving_in_part(scene, scene.stat().st_size // 2) as (url, back):
        served = open_scene([url])
        with pytest.raises(Away, match="cannot be read in rows 256–511"):
            served.read(Window(256, 0, 256, 512), ("red",))
        back.set()
        found = served.read(Window(0, 0, 512, 512), ("red",))
    assert np.array_equal(found["pixels"].values, whole["pixels"].values)
    assert np.array_equal(found["valid"].values, whole["valid"].values)
