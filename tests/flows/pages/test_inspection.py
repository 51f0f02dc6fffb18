"""What is told of a scene before it is mapped."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from flows.pages.inspection import (
    Inspection,
    band_rows,
    estimates,
    facts,
    inspect,
    picture,
    seconds_on,
)
from flows.requests.request import Request
from flows.requests.source import Source
from segmentation.classical.rules import Rules
from tests.scenes import draw_pixels, write_scene
from tiling.errors import InputError


def looked_at(scene: Path) -> Inspection:
    return inspect(
        Request(source=Source(paths=(str(scene),)), out=scene.parent / "out", segmenter=Rules())
    )


def test_a_sound_scene_is_told_in_facts_and_costs(tmp_path: Path) -> None:
    pixels = draw_pixels(300, 400)
    pixels[:, :, :100] = 0
    found = looked_at(write_scene(tmp_path / "valley_20240501.tif", pixels))
    said = facts(found)
    assert said["size"].startswith("400 × 300 px of about 10 m, 1,20")
    assert said["date"] == "2024-05-01"
    assert said["image"].startswith(f"on {100 * (pixels[0] > 0).mean():.0f} % ")
    assert found.plan is not None
    assert set(estimates(found.plan)) == {"work", "memory", "time"}
    assert seconds_on(found.plan, 4) < seconds_on(found.plan, 1)
    assert [row["meaning"] for row in band_rows(found)] == ["reflectance: pixel × 0.0001 +0"] * 6
    assert not (tmp_path / "out").exists()


def test_a_picture_has_the_scenes_own_shape(tmp_path: Path) -> None:
    png = picture(looked_at(write_scene(tmp_path / "wide.tif", draw_pixels(100, 2000))).scene)
    assert png is not None
    (tmp_path / "wide.png").write_bytes(png)
    with Image.open(tmp_path / "wide.png") as image:
        assert image.size == (900, 45)


def test_a_method_that_cannot_is_told_and_the_scene_is_shown_all_the_same(tmp_path: Path) -> None:
    found = looked_at(write_scene(tmp_path / "grey.tif", draw_pixels(64, 64)[:1], names=("pan",)))
    assert found.plan is None
    assert found.refusal.startswith("grey: rules needs green, red and nir")
    assert len(band_rows(found)) == 1


def test_a_scene_of_no_data_alone_is_told_of(tmp_path: Path) -> None:
    found = looked_at(write_scene(tmp_path / "empty.tif", draw_pixels(64, 64) * 0))
    assert any("no valid pixel" in finding for finding in found.findings)
    assert band_rows(found)[0]["half"] == "–"


def test_what_does_not_open_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        looked_at(tmp_path / "no-such.tif")
