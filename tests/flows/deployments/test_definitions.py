"""Every flow that is offered, from its form to its products, on a real server: what it leaves in
the pages."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

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
from tests.flows.deployments.linked_pages import (
    STAGES,
    count_pictures,
    in_one_line,
    linked,
)
from tests.flows.training.test_train import truth_of, write_labels
from tests.scenes import draw_pixels, write_scene
from tests.server import (
    PICTURE,
    completed,
    is_done,
    left_by,
    makes,
    run_and_wait,
    settles,
    started,
    task_runs,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


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
