"""The polygons over the image: lines where polygons end, the image between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from flows.reports import outlines
from flows.reports.outlines import LINE, LONGEST, draw_outlines
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.flows.deployments.test_segment_scene import draw_scene
from tiling.scene.from_files import open_scene

WATER = (0x3B, 0x7D, 0xD8)


def mapped(scene: Path, out: Path) -> tuple[Path, Path]:
    """Class raster and polygons of a scene, with the pixels' own outlines."""
    source = Source(paths=(str(scene),))
    pipeline.run(Request(source=source, out=out, segmenter=Rules(), simplify=0, min_area=0))
    return out / "classes.tif", out / "landcover.gpkg"


def test_lines_are_drawn_where_classes_meet_and_nowhere_else(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif")
    classes, package = mapped(scene, tmp_path / "out")
    draw_outlines(classes, package, [], open_scene([str(scene)]), tmp_path / "picture.png")
    with rasterio.open(classes) as source:
        labels = source.read(1).astype(int)
    with Image.open(tmp_path / "picture.png") as opened:
        picture = np.array(opened)
    grown = LONGEST // max(labels.shape)
    assert picture.shape == (labels.shape[0] * grown, labels.shape[1] * grown, 3)
    line = (picture == LINE).all(axis=2)
    meet = np.zeros_like(line)  # on either side of an edge between two classes, and at the rim
    meet[:2] = meet[-2:] = meet[:, :2] = meet[:, -2:] = True
    for row, col in zip(*np.nonzero(np.diff(labels, axis=0)), strict=True):
        edge = (row + 1) * grown
        meet[edge - 1 : edge + 2, max(0, col * grown - 1) : (col + 1) * grown + 2] = True
    sides = list(zip(*np.nonzero(np.diff(labels, axis=1)), strict=True))
    assert sides
    for row, col in sides:
        edge = (col + 1) * grown
        meet[max(0, row * grown - 1) : (row + 1) * grown + 2, edge - 1 : edge + 2] = True
        assert line[row * grown + grown // 2, edge - 1 : edge + 2].any()
    assert not line[~meet].any()


def test_a_scene_that_cannot_be_shown_gives_way_to_its_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlines, "natural_colours", lambda *_: None)
    scene = draw_scene(tmp_path / "scene.tif")
    classes, package = mapped(scene, tmp_path / "out")
    draw_outlines(
        classes,
        package,
        [(1, "Water", "#3b7dd8")],
        open_scene([str(scene)]),
        tmp_path / "picture.png",
    )
    with Image.open(tmp_path / "picture.png") as opened:
        colours = {colour for _, colour in opened.getcolors() or ()}
    assert {LINE, WATER} <= colours <= {LINE, WATER, (255, 255, 255)}
