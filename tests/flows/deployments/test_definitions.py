"""Every flow that is offered, from its form to its products, on a real server: what it leaves in
the pages."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.deployments.definitions import FLOWS
from flows.partitions.objects import Objects
from flows.reports.pieces import FILES
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.flows.training.test_train import truth_of, write_labels
from tests.scenes import BANDS, draw_pixels, draw_scene, write_scene
from tests.server import (
    ENDS,
    PICTURE,
    assets,
    call,
    completed,
    is_done,
    left_by,
    makes,
    run_and_wait,
    settles,
    started,
    task_runs,
    wait_until,
)
from tests.stac import asset, catalogue, item

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]

STAGES = ("plan", "segment", "join", "vectorise", "publish")


def of_scene(name: str) -> list[str]:
    """The task runs of one scene of many."""
    return [f"{stage} · {name}" for stage in STAGES]


def in_one_line(page: str) -> str:
    """A page whose command lines do not go on below."""
    return page.replace(" \\\n  ", " ")


def count_pictures(page: str) -> int:
    """How many pictures a page has, without the squares of classes."""
    return page.count(PICTURE) - page.count("![\\#")


def linked(page: str) -> set[str]:
    """Names of the files and folders that a page links; each link leads to what it names."""
    names = set()
    for address in re.findall(r"\]\((http[^)]*)\)", page):
        with urllib.request.urlopen(address) as answer:
            assert answer.status == 200
            assert answer.read(1)
        names.add(unquote(address).rstrip("/").rpartition("/")[2])
    return names


def arrived(path: Path) -> Path:
    """The file, as if it had been there for a while."""
    os.utime(path, (time.time() - 100,) * 2)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two scenes of a valley in `inbox`."""
    place = tmp_path_factory.mktemp("offered")
    (place / "inbox").mkdir()
    for month in (5, 6):
        arrived(draw_scene(place / "inbox" / f"valley_20240{month}01.tif", 256, 320, seed=month))
    return place


@pytest.fixture(scope="module")
def mapped(address: str, place: Path) -> tuple[dict[str, Any], Path]:
    """A run of segment-scene and its folder."""
    parameters = {
        "scene": [str(place / "inbox" / "valley_20240501.tif")],
        "output_folder": str(place / "map"),
        "output": {
            "products": ["vectors", "confidence"]
        },  # words of an earlier form, as saved runs have them
        "advanced": {"shard": 128, "workers": 2},
    }
    return completed(address, "segment-scene", parameters), place / "map"


def test_segment_scene_leaves_a_bar_a_picture_areas_and_assets(
    address: str, mapped: tuple[dict[str, Any], Path]
) -> None:
    run, out = mapped
    assert run["name"] == "valley_20240501 · rules"
    assert run["state"]["message"].endswith(f"; in {out}")
    settles(lambda: task_runs(address, run), dict.fromkeys(STAGES, "COMPLETED"))
    left = left_by(address, run)
    assert is_done(left, run, "segment-scene")
    page = left["land-cover-valley-20240501"]["data"]
    assert PICTURE in page
    assert str(out / "landcover.gpkg") in page
    assert linked(page) == {file.name for file in out.iterdir() if FILES.get(file.name)} | {
        out.name
    }
    assert (
        f"landweave segment {run['parameters']['scene'][0]} --shard 128 --out {out}"
        in in_one_line(page)
    )
    table = json.loads(left["areas-valley-20240501"]["data"])
    with rasterio.open(out / "classes.tif") as raster:
        mapped_pixels = int(np.count_nonzero(raster.read(1)))
    assert sum(int(row["pixels"].replace(",", "")) for row in table) == mapped_pixels
    makes(address, run, out / "classes.tif", out / "landcover.gpkg")


def test_segment_objects_leaves_levels_and_the_line_that_makes_them_again(
    address: str, place: Path
) -> None:
    scene, out = place / "inbox" / "valley_20240501.tif", place / "objects"
    method = Objects(levels=(4, 8)).model_dump(mode="json")
    parameters = {
        "scene": [str(scene)],
        "output_folder": str(out),
        "method": method,
        "shapes": {"index_means": ["NDVI: green plants"]},
        "advanced": {"tile": 128, "workers": 2},
    }
    run = completed(address, "segment-objects", parameters)
    counts = [level["count"] for level in json.loads((out / "run.json").read_text())["levels"]]
    said = f"{counts[0]:,} objects of scale 4, {counts[1]:,} objects of scale 8"
    assert run["name"] == f"valley_20240501 · objects → {said}"
    assert run["state"]["message"] == f"{said}; in {out}"
    stages = dict.fromkeys(("plan", "regions", "join", "vectorise", "publish"), "COMPLETED")
    settles(lambda: task_runs(address, run), stages)
    left = left_by(address, run)
    assert is_done(left, run, "segment-objects")
    page = left["objects-objects"]["data"]
    assert count_pictures(page) == 1
    assert linked(page) >= {"objects.gpkg", "objects-4.tif", "objects-8.tif", "report.html"}
    assert (
        f"landweave objects {scene} --levels 4.0,8.0 --index NDVI --tile 128 --out {out}"
        in in_one_line(page)
    )
    makes(address, run, out / "objects.gpkg")


def test_segment_collection_maps_every_scene_and_reports_on_all(address: str, place: Path) -> None:
    out = place / "atlas"
    run = completed(
        address, "segment-collection", {"scenes": [str(place / "inbox")], "output_folder": str(out)}
    )
    names = ("valley_20240501", "valley_20240601")
    assert run["state"]["message"] == f"+2 scenes; 2 scenes in {out}"
    assert run["name"].endswith(" → +2 scenes")
    wanted = [*of_scene(names[0]), *of_scene(names[1]), "report"]
    settles(lambda: task_runs(address, run), dict.fromkeys(wanted, "COMPLETED"))
    left = left_by(address, run)
    assert is_done(left, run, "segment-collection")
    page = left["report-atlas"]["data"]
    assert PICTURE in page
    files = {
        "report.html",
        "index.md",
        "areas.csv",
        "areas.png",
        "scenes.csv",
        "runs.gpkg",
        "runs.parquet",
    }
    assert linked(page) >= {*files, "quicklook.png", "landcover.gpkg", *names}
    assert all(what for what in re.findall(r"\| \[[^|]*\| ([^|]*) \|", page))
    assert {row["date"] for row in json.loads(left["areas-atlas"]["data"])} == {
        "2024-05-01",
        "2024-06-01",
    }
    assert {f"land-cover-{slug}" for slug in ("valley-20240501", "valley-20240601")} < set(left)
    maps = [out / name / file for name in names for file in ("classes.tif", "landcover.gpkg")]
    makes(address, run, *maps, out / "report.html", out / "runs.gpkg")


def test_a_collection_with_a_broken_scene_fails_with_its_name_and_keeps_the_others(
    address: str, place: Path
) -> None:
    (place / "mixed").mkdir()
    draw_scene(place / "mixed" / "good.tif", 64, 64)
    (place / "mixed" / "torn.tif").write_bytes(b"II*\0 and then nothing")
    out = place / "kept"
    run = run_and_wait(
        address, {"scenes": [str(place / "mixed")], "output_folder": str(out)}, "segment-collection"
    )
    assert run["state_type"] == "FAILED"
    assert (
        "1 of 2 scenes failed and the others are done; the first, torn: " in run["state"]["message"]
    )
    assert "> **torn:** failed: " in left_by(address, run)["report-kept"]["data"]
    assert (out / "good" / "landcover.gpkg").exists()


def test_a_collection_is_searched_for_in_a_stac_catalogue(address: str, place: Path) -> None:
    scenes = [place / "inbox" / f"valley_20240{month}01.tif" for month in (5, 6)]
    items = [
        item(
            scene.stem, {"all": asset(scene, BANDS, nodata=0, scale=1e-4)}, day=f"2024-0{month}-01"
        )
        for month, scene in zip((5, 6), scenes, strict=True)
    ]
    parameters = {
        "scenes": [catalogue(place / "stac", items)],
        "output_folder": str(place / "searched"),
        "series": {"search": True, "dates": "2024-06"},
    }
    run = completed(address, "segment-collection", parameters)
    assert run["state"]["message"].startswith("+1 scene; ")
    assert (place / "searched" / "2024-06-01" / "landcover.gpkg").exists()


@contextmanager
def scheduled(address: str, flow: str, seconds: int, parameters: dict[str, Any]) -> Iterator[str]:
    """A deployment that runs every so many seconds."""
    deployment = call(address, f"deployments/name/{flow}/{flow}")["id"]
    wanted = {"schedule": {"interval": seconds}, "active": True, "parameters": parameters}
    (schedule,) = call(address, f"deployments/{deployment}/schedules", [wanted])
    try:
        yield deployment
    finally:
        call(address, f"deployments/{deployment}/schedules/{schedule['id']}", method="DELETE")
        for run in fired(address, deployment):
            if run["state_type"] not in ENDS:
                call(
                    address,
                    f"flow_runs/{run['id']}/set_state",
                    {"state": {"type": "CANCELLED"}, "force": True},
                )


def fired(address: str, deployment: str) -> list[dict[str, Any]]:
    """Runs that a schedule started, in the order of their start."""
    wanted = {"deployments": {"id": {"any_": [deployment]}}, "sort": "START_TIME_ASC"}
    return [run for run in call(address, "flow_runs/filter", wanted) if run["auto_scheduled"]]


def test_land_use_monitor_runs_by_its_schedule_takes_what_is_new_and_nothing_twice(
    address: str, place: Path, tmp_path: Path
) -> None:
    inbox, out = tmp_path / "incoming", tmp_path / "valley"
    inbox.mkdir()
    arrived(draw_scene(inbox / "valley_20240501.tif", 256, 256, seed=5))
    with scheduled(
        address, "land-use-monitor", 6, {"folders": [str(inbox)], "output_folder": str(out)}
    ) as deployment:

        def over_with(text: str) -> dict[str, Any] | None:
            """The first scheduled run that ended so."""
            runs = [run for run in fired(address, deployment) if run["state_type"] in ENDS]
            assert all(run["state_type"] == "COMPLETED" for run in runs), [
                run["state"]["message"] for run in runs
            ]
            return next((run for run in runs if run["state"]["message"].startswith(text)), None)

        first = wait_until(lambda: over_with("+1 scene;"), 120)
        wait_until(lambda: over_with("no news;"), 120)
        arrived(draw_scene(inbox / "valley_20240601.tif", 256, 256, seed=6))
        second = wait_until(lambda: over_with("+1 scene, "), 120)
        made = {path: path.stat().st_mtime_ns for path in out.rglob("classes.tif")}
        assert len(made) == 2
        quiet = wait_until(
            lambda: next(
                (
                    run
                    for run in fired(address, deployment)
                    if run["state_type"] == "COMPLETED" and run["start_time"] > second["end_time"]
                ),
                None,
            ),
            120,
        )
    assert quiet["state"]["message"] == f"no news; 2 scenes in {out}"
    assert quiet["name"].endswith(" → no news")
    assert re.search(r" → \+1 scene, [\d,]+ ha changed$", second["name"])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("classes.tif")} == made
    assert task_runs(address, quiet) == {}
    assert not [key for key in left_by(address, quiet) if not key.startswith("progress-")]
    assert assets(address, quiet) == set()
    settles(
        lambda: task_runs(address, first),
        dict.fromkeys([*of_scene("valley_20240501"), "report"], "COMPLETED"),
    )
    settles(
        lambda: task_runs(address, second),
        dict.fromkeys([*of_scene("valley_20240601"), "report"], "COMPLETED"),
    )
    for one in (quiet, second):
        assert is_done(left_by(address, one), one, "land-use-monitor")
    left = left_by(address, second)
    page = left["report-valley"]["data"]
    assert "### From 2024-05-01 to 2024-06-01" in page
    assert count_pictures(page) == 3  # the newest map, shares over time, what became of what
    assert linked(page) >= {"report.html", "changes.csv", "change.gpkg", "quicklook.png"}
    assert f"landweave monitor {inbox} --out {out}" in in_one_line(page)
    assert {row["date"] for row in json.loads(left["areas-valley"]["data"])} == {
        "2024-05-01",
        "2024-06-01",
    }


def test_train_network_leaves_a_model_that_segment_scene_uses_and_doubts_are_told(
    address: str, place: Path
) -> None:
    pixels = draw_pixels(64, 80)
    scene = write_scene(place / "field.tif", pixels)
    labels = write_labels(place / "labels.tif", truth_of(pixels))
    model = place / "model"
    parameters = {
        "scenes": [str(scene)],
        "labels": [str(labels)],
        "output_folder": str(model),
        "meaning": {"classes": "1=Water, 2=Plants, 3=Bare"},
        "model": {"steps": 2, "architecture": "fullunet"},
    }
    run = completed(address, "train-network", parameters)
    assert f"; in {model}" in run["state"]["message"]
    settles(lambda: task_runs(address, run), {"train": "COMPLETED"})
    left = left_by(address, run)
    assert is_done(left, run, "train-network")
    assert "mean IoU" in left["accuracy-model"]["data"]
    assert PICTURE in left["accuracy-model"]["data"]
    assert {row["class"] for row in json.loads(left["classes-model"]["data"])} == {
        "Water",
        "Plants",
        "Bare",
    }
    page = left["model-model"]["data"]
    assert f"landweave segment SCENE --segmenter {model} --out FOLDER" in in_one_line(page)
    assert (
        f"landweave train {scene} --labels {labels} --classes 1=Water,2=Plants,3=Bare"
        in in_one_line(page)
    )
    assert "- **Bands**: blue, green, red, nir, swir16, swir22, at 10 m" in page
    assert re.search(r"On the validation part \([^)]+\): overall accuracy \*\*[\d.]+", page)
    assert linked(page) >= {"model.json", "accuracy.json", "curves.png"}
    makes(address, run, model)

    coarse = write_scene(place / "coarse.tif", pixels, resolution=160)
    asked = {
        "scene": [str(coarse)],
        "output_folder": str(place / "coarse"),
        "segmenter": {"kind": "network", "bundle": str(model)},
    }
    refused = run_and_wait(address, asked)
    assert refused["state_type"] == "FAILED"
    assert "was trained on pixels of 10 m and these are 160 m" in refused["state"]["message"]
    insisted = completed(address, "segment-scene", asked | {"output": {"despite_doubts": True}})
    assert "> **Warning:** " in left_by(address, insisted)["land-cover-coarse"]["data"]


def test_evaluate_map_finds_a_map_equal_to_itself(
    address: str, place: Path, mapped: tuple[dict[str, Any], Path]
) -> None:
    classes = str(mapped[1] / "classes.tif")
    out = place / "judged"
    run = completed(
        address, "evaluate-map", {"map": classes, "reference": classes, "output_folder": str(out)}
    )
    assert run["state"]["message"] == f"overall accuracy 1.000, mean IoU 1.000; in {out}"
    settles(lambda: task_runs(address, run), {"evaluate": "COMPLETED"})
    left = left_by(address, run)
    assert is_done(left, run, "evaluate-map")
    page = left["accuracy-map"]["data"]
    assert PICTURE in page
    assert linked(page) >= {"accuracy.json", "confusion.png"}
    assert f"landweave evaluate {classes} {classes} --out {out}" in in_one_line(page)
    assert {row["iou"] for row in json.loads(left["classes-map"]["data"])} == {"1.000"}


def test_compute_indices_leaves_a_raster_for_each(address: str, place: Path) -> None:
    scene, out = place / "inbox" / "valley_20240501.tif", place / "indices"
    parameters = {"scene": [str(scene)], "indices": ["NDVI", "NDWI"], "output_folder": str(out)}
    run = completed(address, "compute-indices", parameters)
    assert run["state"]["message"] == f"NDVI, NDWI; in {out}"
    settles(lambda: task_runs(address, run), {"index": "COMPLETED"})
    left = left_by(address, run)
    assert is_done(left, run, "compute-indices")
    page = left["indices-valley-20240501"]["data"]
    assert page.count(PICTURE) == 2
    assert linked(page) == {"NDVI.tif", "NDVI.png", "NDWI.tif", "NDWI.png", "indices"}
    assert f"landweave index {scene} NDVI NDWI --out {out}" in in_one_line(page)
    with rasterio.open(scene) as source, rasterio.open(out / "NDVI.tif") as made:
        red, nir = source.read([3, 4]).astype(np.float32)
        found = made.read(1)
    there = red > 0
    assert np.allclose(found[there], ((nir - red)[there] / (nir + red)[there]), atol=1e-5)
    assert np.isnan(found[~there]).all()
    makes(address, run, out / "NDVI.tif", out / "NDWI.tif")


def test_compare_maps_leaves_what_became_of_what(address: str, place: Path) -> None:
    for month in (5, 6):
        scene, folder = place / "inbox" / f"valley_20240{month}01.tif", place / f"compared-{month}"
        pipeline.run(
            Request(
                source=Source(paths=(str(scene),)),
                out=folder,
                segmenter=Rules(),
                products=("classes",),
            )
        )
    out = place / "change"
    maps = {
        "earlier": str(place / "compared-5" / "classes.tif"),
        "later": str(place / "compared-6" / "classes.tif"),
    }
    run = completed(address, "compare-maps", maps | {"output_folder": str(out)})
    assert re.fullmatch(
        r"compared-5 to compared-6 → [\d.,]+ of [\d.,]+ ha changed \([\d.]+ %\)", run["name"]
    )
    assert re.fullmatch(
        rf"[\d.,]+ of [\d.,]+ ha changed \([\d.]+ %\); in {out}", run["state"]["message"]
    )
    settles(lambda: task_runs(address, run), {"compare": "COMPLETED"})
    left = left_by(address, run)
    assert is_done(left, run, "compare-maps")
    assert count_pictures(left["change-change"]["data"]) == 2
    assert linked(left["change-change"]["data"]) >= {"change.gpkg", "change.tif", "transition.csv"}
    rows = json.loads(left["transitions-change"]["data"])
    assert rows
    assert set(rows[0]) == {"was", "is", "hectares", "pixels"}
    makes(address, run, out / "change.gpkg")


def test_zonal_areas_measures_every_zone(
    address: str, place: Path, mapped: tuple[dict[str, Any], Path]
) -> None:
    with rasterio.open(mapped[1] / "classes.tif") as raster:
        west, south, east, north = raster.bounds
        crs = raster.crs
    middle = (west + east) / 2
    halves = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
    parcels = place / "parcels.gpkg"
    geopandas.GeoDataFrame({"parcel": ["left", "right"]}, geometry=halves, crs=crs).to_file(parcels)
    out = place / "zonal"
    parameters = {
        "map": str(mapped[1] / "classes.tif"),
        "zones": str(parcels),
        "output_folder": str(out),
    }
    run = completed(address, "zonal-areas", parameters)
    assert run["name"] == "map · parcels"
    assert run["state"]["message"] == f"2 zones measured; in {out}"
    left = left_by(address, run)
    assert is_done(left, run, "zonal-areas")
    assert [row["parcel"] for row in json.loads(left["areas-in-zones-zonal"]["data"])] == [
        "left",
        "right",
    ]
    assert (out / "zones.gpkg").exists()
    makes(address, run, out / "zones.gpkg")


def test_a_wrong_path_fails_in_seconds_and_says_how_to_mend_it(
    address: str, tmp_path: Path
) -> None:
    began = time.monotonic()
    run = run_and_wait(address, {"scene": ["no-such.tif"], "output_folder": str(tmp_path / "out")})
    assert time.monotonic() - began < 60  # most of it Python's imports
    assert run["total_run_time"] < 5
    assert run["state_type"] == "FAILED"
    assert run["state"]["message"] == "no-such.tif does not exist; check the path"
    settles(lambda: task_runs(address, run), {"plan": "FAILED"})
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_what_the_form_forbids_is_refused_at_submit(address: str, flow: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        started(address, flow.name, {"output_folder": 7})
    assert refused.value.code == 409
    assert "validat" in refused.value.read().decode().lower()
