"""The page of a run: what it tells, and that it tells the same of the same map."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from flows.reports.html import render_html
from flows.reports.medium import Beside
from flows.reports.run_report import describe_map, title_map
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.pages import Reader
from tests.scenes import draw_scene


def mapped(scene: Path, out: Path, shard: int) -> Path:
    request = Request(source=Source(paths=(str(scene),)), out=out, segmenter=Rules(), shard=shard)
    pipeline.run(request)
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One map, cut in two ways, in two folders."""
    place = tmp_path_factory.mktemp("pages")
    scene = draw_scene(place / "valley_20240501.tif", 90, 120)
    return mapped(scene, place / "one", 2048), mapped(scene, place / "other" / "two", 32)


def test_the_same_map_has_the_same_page_however_it_was_cut_and_wherever_it_lies(
    folders: tuple[Path, Path],
) -> None:
    pages = [(folder / "report.html").read_bytes() for folder in folders]
    assert pages[0] == pages[1]
    assert str(folders[0].parent).encode() not in pages[0]


def test_the_page_tells_areas_what_it_was_made_from_and_where_everything_is(
    folders: tuple[Path, Path],
) -> None:
    folder, _ = folders
    page = Reader((folder / "report.html").read_text(encoding="utf-8"))
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert page.texts[0] == "Land cover of valley_20240501, 2024-05-01"
    for area in record["areas"]:
        assert area["class_name"] in page.texts
        assert f"{area['area_m2'] / 1e4:,.1f}" in page.texts
        assert f"{100 * area['share']:.1f} %" in page.texts
        assert f"{record['confidence'][area['class_name']]:.0f} %" in page.texts
    bands = ", ".join(band["name"] for band in record["scene"]["bands"])
    for fact in ("valley_20240501", "2024-05-01", bands, "rules", "4 pixels"):
        assert fact in page.texts
    products = {
        "quicklook.png",
        "classes.tif",
        "landcover.gpkg",
        "landcover.qgs",
        "areas.csv",
        "item.json",
        "run.json",
    }
    assert products <= set(page.addresses)
    assert all((folder / address).exists() for address in page.addresses)


def test_the_confidence_of_a_class_is_the_mean_of_its_pixels(folders: tuple[Path, Path]) -> None:
    folder, _ = folders
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    with (
        rasterio.open(folder / "classes.tif") as classes,
        rasterio.open(folder / "confidence.tif") as confidence,
    ):
        labels, percents = classes.read(1), confidence.read(1)
    values = {name: value for value, name, _ in record["legend"]}
    assert record["confidence"]
    for name, mean in record["confidence"].items():
        assert mean == pytest.approx(np.mean(percents[labels == values[name]]), abs=0.051)


def test_the_page_is_among_the_files_of_the_item(folders: tuple[Path, Path]) -> None:
    item = json.loads((folders[0] / "item.json").read_text(encoding="utf-8"))
    assert item["assets"]["report"]["href"] == "./report.html"


def test_warnings_and_names_stand_on_the_page_as_they_are(tmp_path: Path) -> None:
    record = {
        "scene": {"name": "<b>valley</b>", "date": None},
        "legend": [[1, "Water & <i>ice</i>", "#3b7dd8"]],
        "areas": [{"class_name": "Water & <i>ice</i>", "area_m2": 1e6, "share": 1.0}],
        "warnings": ["a frame of 255 | counts as a class"],
        "polygons": None,
        "accuracy": None,
    }
    blocks = describe_map(record, tmp_path, [tmp_path / "classes.tif"], Beside(tmp_path))
    page = render_html(title_map(record), blocks)
    assert "a frame of 255 | counts as a class" in page
    assert not re.search("<[bi]>v|<i>i", page)
    assert "Water & <i>ice</i>" in Reader(page).texts
