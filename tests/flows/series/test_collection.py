"""Many scenes, one request: what is done stays done, what fails is told, and the report says no
more than is true."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import geopandas
import jsonschema
import numpy as np
import pystac
import pystac.validation
import pytest
import shapely
from typer.testing import CliRunner

from flows.cli import app
from flows.composite.scenes import FoundScene, find_scenes
from flows.compute.cluster import Cluster
from flows.reports.catalogue import Entry
from flows.requests.request import Request
from flows.requests.series import CollectionRequest
from flows.requests.source import Source
from flows.run import pipeline
from flows.run.record import Published
from flows.series.collection import CollectionResult, collect
from segmentation.classical.rules import Rules
from tests.scenes import draw_pixels, draw_scene, read, write_scene
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

SCHEMAS = Path(__file__).parents[2] / "schemas"


def request(place: Path | list[Path], out: Path, **wishes: Any) -> CollectionRequest:
    places = place if isinstance(place, list) else [place]
    wishes = {"products": ("classes",), **wishes}
    template = Request(
        source=Source(paths=tuple(map(str, places))), out=out, segmenter=Rules(), **wishes
    )
    return CollectionRequest(template=template, title="Three days")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Three scenes of one place, one of them no raster at all."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for day, seed in (("20240501", 1), ("20240601", 2)):
        draw_scene(folder / f"valley_{day}.tif", 70, 90, seed)
    (folder / "valley_20240701.tif").write_bytes(b"not a raster")
    (folder / "notes.txt").write_text("hello")
    return folder


def by_name(result: CollectionResult) -> dict[str, Entry]:
    return {entry.name: entry for entry in result.entries}


def test_a_date_is_for_scenes_that_have_none_and_scenes_with_a_date_are_not_done_again_for_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "inbox").mkdir()
    for name, seed in (("valley_20240501.tif", 1), ("hill.tif", 2)):
        draw_scene(tmp_path / "inbox" / name, 40, 50, seed)

    def dates(given: datetime.date | None) -> tuple[dict[str, str], tuple[str, ...]]:
        asked = request(tmp_path / "inbox", tmp_path / "out")
        source = asked.template.source.model_copy(update={"date": given})
        template = asked.template.model_copy(update={"source": source})
        result = collect(asked.model_copy(update={"template": template}))
        return {entry.name: entry.date for entry in result.entries}, result.made

    assert dates(None) == (
        {"hill": "", "valley_20240501": "2024-05-01"},
        ("hill", "valley_20240501"),
    )
    assert dates(datetime.date(2023, 7, 9)) == (
        {"hill": "2023-07-09", "valley_20240501": "2024-05-01"},
        ("hill",),
    )


def test_each_scene_is_what_it_is_alone(inbox: Path, tmp_path: Path) -> None:
    result = collect(request(inbox, tmp_path / "out"))
    alone = Request(
        source=Source(paths=(str(inbox / "valley_20240601.tif"),)), out=tmp_path / "alone",
        segmenter=Rules(),
        products=("classes",),
    )  # fmt: skip
    published = pipeline.run(alone)
    there = tmp_path / "out" / "valley_20240601" / "classes.tif"
    assert there.read_bytes() == (tmp_path / "alone" / "classes.tif").read_bytes()
    entry = by_name(result)["valley_20240601"]
    assert [(row.class_name, row.area_m2) for row in entry.areas] == [
        (row.class_name, row.area_m2) for row in published.areas
    ]
    assert (entry.date, entry.invalid) == (
        "2024-06-01",
        pytest.approx((read(there) == 0).mean(), abs=1e-6),
    )


def test_a_scene_that_fails_does_not_stop_the_others(inbox: Path, tmp_path: Path) -> None:
    result = collect(request(inbox, tmp_path / "out"))
    assert [(e.name, e.status) for e in sorted(result.entries, key=lambda e: e.name)] == [
        ("valley_20240501", "done"), ("valley_20240601", "done"), ("valley_20240701", "failed"),
    ]  # fmt: skip
    assert "valley_20240701.tif" in result.failed[0].message
    page = (tmp_path / "out" / "report.html").read_text()
    assert "failed: " in page
    assert page.count('quicklook.png" alt="Map of ') == 2


@pytest.mark.slow
def test_what_is_done_is_not_done_again(inbox: Path, tmp_path: Path) -> None:
    done: list[str] = []

    def counting(one: Request) -> Published:
        done.append(one.source.paths[0])
        return pipeline.run(one)

    out = tmp_path / "out"
    assert len(collect(request(inbox, out), run=counting).made) == 3
    assert collect(request(inbox, out), run=counting).made == ()
    assert len(done) == 2  # the file that is no raster is told from a scene before any work starts
    collect(request(inbox, out, shard=32), run=counting)  # how it is cut changes nothing
    assert len(done) == 2
    draw_scene(inbox / "valley_20240701.tif", 70, 90, 3)  # now it is there in full
    again = collect(request(inbox, out), run=counting)
    assert (again.made, again.failed) == (("valley_20240701",), ())
    wishes = collect(request(inbox, out, min_area=500.0), run=counting)
    assert len(wishes.made) == 3


def test_a_fault_is_tried_again_a_mistake_is_not(inbox: Path, tmp_path: Path) -> None:
    tried: list[str] = []

    def broken(one: Request) -> Published:
        tried.append(Path(one.source.paths[0]).stem)
        if tried[-1] == "valley_20240501":
            raise RuntimeError("out of luck")
        raise InputError("the band is missing")

    for _ in range(2):
        result = collect(request(inbox, tmp_path / "out"), run=broken)
    assert tried == ["valley_20240501", "valley_20240601", "valley_20240501"]
    assert by_name(result)["valley_20240501"].message == "RuntimeError: out of luck"


def test_the_table_holds_every_area_and_the_layer_every_footprint(
    inbox: Path, tmp_path: Path
) -> None:
    result = collect(request(inbox, tmp_path / "out"))
    with open(tmp_path / "out" / "areas.csv", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    for entry in result.entries:
        held = {
            row["class_name"]: float(row["area_m2"]) for row in rows if row["scene"] == entry.name
        }
        assert held == {row.class_name: row.area_m2 for row in entry.areas}
    frames = [geopandas.read_file(tmp_path / "out" / "runs.gpkg", layer="runs"),
              geopandas.read_parquet(tmp_path / "out" / "runs.parquet")]  # fmt: skip
    for frame in frames:
        assert frame["scene"].tolist() == ["valley_20240501", "valley_20240601"]
        assert frame["mapped_ha"].tolist() == [
            pytest.approx(e.mapped_m2 / 1e4) for e in result.entries if e.areas
        ]
        square = shapely.box(500_000, 5_300_000 - 700, 500_900, 5_300_000)
        found = frame.to_crs("EPSG:32633").geometry[0]
        assert found.symmetric_difference(square).area < 1e-3 * square.area


def test_the_catalogue_is_valid_and_leads_somewhere(inbox: Path, tmp_path: Path) -> None:
    collect(request(inbox, tmp_path / "out"))
    facts = json.loads((tmp_path / "out" / "collection.json").read_text())
    found = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    items = list(found.get_items())
    assert sorted(item.id for item in items) == ["valley_20240501", "valley_20240601"]
    schema = json.loads((SCHEMAS / "classification-v2.0.0.json").read_text())
    for item in items:
        own = json.loads(Path(str(item.self_href)).read_text())
        jsonschema.Draft7Validator(schema).validate(own)
        for asset in item.assets.values():
            assert Path(str(asset.get_absolute_href())).exists()
        bare = pystac.Item.from_dict({**own, "stac_extensions": []})
        pystac.validation.validate_dict(bare.to_dict(include_self_link=False))
        assert item.datetime is not None
    pystac.validation.validate_dict(facts)
    for asset in found.assets.values():
        assert Path(str(asset.get_absolute_href())).exists()


def test_invalid_pixels_are_counted_within_the_area_of_interest(tmp_path: Path) -> None:
    pixels = draw_pixels(60, 60, 4)
    pixels[:, :, 30:] = 0
    pixels[:, :, :30] = np.maximum(pixels[:, :, :30], 1)
    write_scene(tmp_path / "half_20240101.tif", pixels)
    west, north = 500_000, 5_300_000
    aoi = geopandas.GeoDataFrame(
        geometry=[shapely.box(west + 200, north - 400, west + 400, north)], crs="EPSG:32633"
    )
    aoi.to_file(tmp_path / "aoi.gpkg")
    result = collect(
        request(tmp_path / "half_20240101.tif", tmp_path / "out", aoi=str(tmp_path / "aoi.gpkg"))
    )
    assert result.entries[0].invalid == 0.5


def test_scenes_of_one_name_get_folders_of_their_own_that_stay(tmp_path: Path) -> None:
    for which in ("a", "b"):
        (tmp_path / which).mkdir()
        draw_scene(tmp_path / which / "scene.tif", 40, 40, ord(which))
    files = [tmp_path / which / "scene.tif" for which in ("a", "b")]
    first = collect(request(files, tmp_path / "out"))
    again = collect(request(files[::-1], tmp_path / "out"))
    assert len(by_name(first)) == 2
    assert {e.name: e.paths for e in again.entries} == {e.name: e.paths for e in first.entries}
    assert again.made == ()


def test_folders_of_bands_are_scenes_and_patterns_choose(tmp_path: Path) -> None:
    (tmp_path / "S2A").mkdir()
    for name in ("B03.tif", "B04.tif"):
        (tmp_path / "S2A" / name).touch()
    (tmp_path / "a_SR.tif").touch()
    (tmp_path / "a_QA.tif").touch()
    (tmp_path / ".b.tif.part").touch()
    assert [Path(s.paths[0]).name for s in find_scenes([str(tmp_path)])] == [
        "S2A",
        "a_QA.tif",
        "a_SR.tif",
    ]
    assert [Path(s.paths[0]).name for s in find_scenes([str(tmp_path)], "*_SR.tif")] == ["a_SR.tif"]


def test_a_finder_may_know_name_and_day(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "x.tif", 40, 40)
    found = [FoundScene((str(scene),), datetime.date(2020, 2, 29), "leap")]
    entry = collect(request(tmp_path, tmp_path / "out"), found).entries[0]
    assert (entry.name, entry.date) == ("leap", "2020-02-29")


def test_products_that_were_deleted_are_made_again(inbox: Path, tmp_path: Path) -> None:
    collect(request(inbox, tmp_path / "out"))
    (tmp_path / "out" / "valley_20240501" / "run.json").unlink()
    assert collect(request(inbox, tmp_path / "out")).made == ("valley_20240501",)


@pytest.mark.slow
def test_scenes_shared_out_among_workers_are_the_same(
    inbox: Path, tmp_path: Path, two_workers: str
) -> None:
    alone = collect(request(inbox, tmp_path / "a"))
    shared = collect(request(inbox, tmp_path / "b"), on=Cluster(kind=two_workers))
    assert [(e.name, e.status, e.areas) for e in alone.entries] == [
        (e.name, e.status, e.areas) for e in shared.entries
    ]
    for entry in alone.entries:
        if entry.status == "done":
            one, other = (tmp_path / out / entry.name / "classes.tif" for out in "ab")
            assert one.read_bytes() == other.read_bytes()


def test_nothing_to_do_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there are no scenes in"):
        collect(request(tmp_path / "empty", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command_line_ends_with_the_mistake_of_the_first_that_failed(
    inbox: Path, tmp_path: Path
) -> None:
    command = [
        "collection",
        str(inbox),
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "0",
        "--products",
        "classes",
    ]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, InputError)
    assert "1 of 3 scenes failed and the others are done; the first, valley_20240701:" in str(
        done.exception
    )
    assert "2024-06-01" in done.output
