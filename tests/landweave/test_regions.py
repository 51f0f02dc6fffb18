"""Objects from Python: levels as arrays and frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import landweave as lw
from flows.partitions.superpixels import Superpixels
from tests.scenes import draw_scene


def test_levels_are_arrays_and_frames_that_say_the_same(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 40, 36)
    stages: list[str] = []
    made = lw.objects(
        scene, tmp_path / "out", levels=[2, 4], step=4, indices=["NDVI"], workers=0,
        progress=lambda stage, *_: stages.append(stage),
    )  # fmt: skip
    assert made.levels == ("objects-2", "objects-4")
    assert {"regions", "vectorise"} <= set(stages)
    numbers, frame = made.numbers(), made.polygons()
    assert numbers.dims == ("y", "x")
    assert set(np.unique(numbers.values)) - {0} == set(frame["number"])
    assert set(frame["parent"]) <= set(made.polygons("objects-4")["number"])
    assert made.quicklook.size[0] > 100
    assert repr(made) == f"<Objects: {made.result.summary}; {tmp_path / 'out'}>"
    with pytest.raises(lw.InputError, match="no level objects-9; there are objects-2, objects-4"):
        made.polygons("objects-9")


def test_a_method_may_be_a_partition_and_mistakes_are_input_errors(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 20, 20)
    made = lw.objects(scene, tmp_path / "out", method=Superpixels(step=5), workers=0)
    assert made.levels == ("objects",)
    with pytest.raises(lw.InputError, match="settings stand beside a name"):
        lw.objects(scene, tmp_path / "out", method=Superpixels(), step=5)
    with pytest.raises(lw.InputError, match="no setting colour"):
        lw.objects(scene, tmp_path / "out", colour="red")
