"""Flows of images of several dates on a real server, from their forms to what they leave."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.composite.write import open_request, write_composite
from flows.compute.cluster import Cluster
from flows.compute.pool import ThisProcess
from flows.deployments.dates import NAME
from flows.requests.dates.composite import CompositeRequest
from flows.requests.source import Source
from flows.run.mask_first import open_masked
from segmentation.spectral.composites import method_of
from tests.flows.deployments.linked_pages import in_one_line, linked
from tests.flows.run.test_mask import SKY
from tests.segmentation.small_networks import a_bundle
from tests.server import (
    PICTURE,
    completed,
    is_done,
    left_by,
    makes,
    run_and_wait,
    settles,
    task_runs,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


@pytest.fixture(scope="module")
def images(place: Path) -> list[str]:
    """The same valley in May and June."""
    return [str(place / "inbox" / f"valley_20240{month}01.tif") for month in (5, 6)]


def test_make_composite_leaves_the_image_and_its_picture(
    address: str, place: Path, images: list[str]
) -> None:
    out = place / "composite"
    parameters = {
        "images": images,
        "output_folder": str(out),
        "compositing": {"method": "mean"},
        "advanced": {"workers": 2},
    }
    run = completed(address, "make-composite", parameters)
    said = "mean of 2 images, 2024-05-01 to 2024-06-01"
    assert run["state"]["message"] == f"{said}; in {out}"
    settles(lambda: task_runs(address, run), {"open": "COMPLETED", "combine": "COMPLETED"})
    left = left_by(address, run)
    assert is_done(left, run, "make-composite")
    page = left["composite-composite"]["data"]
    assert page.count(PICTURE) == 1
    assert linked(page) >= {"composite.tif", "composite.json"}
    line = f"landweave composite {' '.join(images)} --method mean --out {out / 'composite.tif'}"
    assert line in in_one_line(page)
    with rasterio.open(out / "composite.tif") as made:
        assert made.descriptions[-1] == "looks"
        assert set(np.unique(made.read(made.count))) <= {0, 1, 2}
    makes(address, run, out / "composite.tif")


def test_a_mask_by_a_model_is_made_by_the_machines_of_the_flow(
    address: str, place: Path, images: list[str], tmp_path: Path
) -> None:
    """Two workers leave the bytes that this process makes."""
    sky = a_bundle(place / "sky", legend=SKY, name="sky").folder
    request = CompositeRequest(
        scenes=images, out=tmp_path / NAME, source=Source(mask=f"model:{sky}", mask_grow=2)
    )
    opened = open_masked(request, open_request, on=Cluster(workers=0))
    assert len(opened.notes) == 0
    write_composite(opened, method_of("median"), request.out, ThisProcess(1))
    out = place / "masked"
    parameters = {
        "images": images,
        "output_folder": str(out),
        "bands": {"mask": f"model:{sky}", "mask_grow": 2},
        "advanced": {"workers": 2},
    }
    run = completed(address, "make-composite", parameters)
    assert (out / NAME).read_bytes() == request.out.read_bytes()
    with rasterio.open(out / NAME) as made:
        assert set(np.unique(made.read(made.count))) == {0, 1, 2}
    assert len([*(place / "masked" / f"{NAME}-mask").glob("*/mask.tif")]) == 2
    assert f"--mask model:{sky} --mask-grow 2" in in_one_line(
        left_by(address, run)["composite-masked"]["data"]
    )


def test_follow_indices_leaves_charts_tables_and_rasters(
    address: str, place: Path, images: list[str]
) -> None:
    out, fields = place / "series", place / "followed.gpkg"
    with rasterio.open(images[0]) as source:
        west, south, east, north = source.bounds
        middle = (west + east) / 2
        halves = [shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)]
        frame = geopandas.GeoDataFrame({"name": ["left", "right"]}, geometry=halves, crs=source.crs)
    frame.to_file(fields)
    parameters = {
        "images": images,
        "indices": ["NDVI"],
        "output_folder": str(out),
        "fields": {"zones": str(fields), "column": "name"},
        "pixels": {"pixels": True},
    }
    run = completed(address, "follow-indices", parameters)
    said = "NDVI of 2 images, 2024-05-01 to 2024-06-01"
    assert run["state"]["message"] == f"{said}; in {out}"
    left = left_by(address, run)
    assert is_done(left, run, "follow-indices")
    page = left["series-series"]["data"]
    assert page.count(PICTURE) == 3  # all zones, and each
    assert linked(page) >= {"series.csv", "series.gpkg", "report.html"}
    assert f"--index NDVI --zones {fields} --column name" in in_one_line(page)
    assert json.loads((out / "series.json").read_text())["indices"] == ["NDVI"]
    makes(address, run, out / "series.json")


def test_a_form_of_dates_is_refused_in_its_own_words(address: str, images: list[str]) -> None:
    nothing = {"images": images, "indices": ["NDVI"], "output_folder": "/tmp/never"}
    run = run_and_wait(address, nothing, "follow-indices")
    assert run["state_type"] == "FAILED"
    assert "nothing was asked for" in run["state"]["message"]
    assert "“Zones”" in run["state"]["message"]
    assert "“Each pixel”" in run["state"]["message"]
