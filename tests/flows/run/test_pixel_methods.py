"""Classical methods, end to end: whatever cuts a scene, its products are the same to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import geometry_mask

from flows.compute.cluster import Cluster
from flows.requests.request import Request
from flows.requests.segmenters import segmenter_from
from flows.requests.source import Source
from flows.run import pipeline
from tests.chance import SEED
from tests.flows.run.test_pipeline import polygons
from tests.scenes import draw_scene

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("white_pictures")]

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("threshold", {"method": "values", "thresholds": "0.1,0.5"}),
    ("threshold", {"index": "nir", "method": "multi-otsu", "classes": 4}),
    ("threshold", {"index": "NDWI", "method": "li"}),
    ("kmeans", {"k": 12, "choose": "elbow"}),
    ("minibatch-kmeans", {"k": 5, "features": "red,NDVI"}),
    ("gaussian-mixture", {"k": 4}),
    ("spectral-angle", {"k": 4}),
    ("spectral-angle", {"spectra": "Water green=0.05 nir=0.02; Crops green=0.07 nir=0.4"}),
    ("adaptive", {"window": 9}),
    ("adaptive", {"method": "median", "window": 7, "index": "nir"}),
    ("adaptive", {"method": "gaussian", "window": 21, "offset": -0.01}),
]


def ask(scene: Path, out: Path, method: tuple[str, dict[str, Any]], **options: Any) -> Request:
    source = Source(paths=(str(scene),))
    return Request(source=source, out=out, segmenter=segmenter_from(*method), **options)


def name_of(method: tuple[str, dict[str, Any]]) -> str:
    kind, settings = method
    return "-".join([kind, *map(str, settings.values())])


def assert_same_products(one: Path, other: Path) -> None:
    names = {path.name for path in one.glob("*.tif")}
    assert "classes.tif" in names
    assert names == {path.name for path in other.glob("*.tif")}
    for name in (*names, "areas.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert polygons(one) == polygons(other)


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_shards_and_workers_change_no_byte(
    tmp_path: Path, method: tuple[str, dict[str, Any]], two_workers: str
) -> None:
    scene, rng = draw_scene(tmp_path / "scene.tif", 190, 130), np.random.default_rng(SEED)
    pipeline.run(ask(scene, tmp_path / "whole", method, shard=4096))
    for shard in (*map(int, rng.integers(7, 90, 2)), 64):
        out = tmp_path / str(shard)
        workers = Cluster(kind=two_workers) if shard == 64 else Cluster(workers=0)
        pipeline.run(ask(scene, out, method, shard=shard), on=workers)
        assert_same_products(tmp_path / "whole", out)


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_an_area_shows_what_the_whole_scene_shows_there(
    tmp_path: Path, method: tuple[str, dict[str, Any]]
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 150, 170)
    with rasterio.open(scene) as source:
        crs, transform = source.crs, source.transform
    triangle = shapely.Polygon([transform @ corner for corner in ((20, 11), (160, 60), (40, 140))])
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(geometry=[triangle], crs=crs).to_file(aoi)
    pipeline.run(ask(scene, tmp_path / "part", method, aoi=str(aoi), shard=40, min_area=0))
    pipeline.run(ask(scene, tmp_path / "raw", method, min_area=0))
    for name, empty in (("classes.tif", 0), ("confidence.tif", 255)):
        if not (tmp_path / "raw" / name).exists():
            continue
        with (
            rasterio.open(tmp_path / "raw" / name) as one,
            rasterio.open(tmp_path / "part" / name) as other,
        ):
            clipped = one.read(1, window=one.window(*other.bounds))
            outside = geometry_mask([triangle], other.shape, other.transform)
            assert np.array_equal(other.read(1), np.where(outside, empty, clipped))
