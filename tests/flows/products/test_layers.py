"""Labels of which a pixel may have several: a band for each, the same however the work is cut."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
import torch

from flows.compute.cluster import HERE, Cluster
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.inference.network import Network
from segmentation.inference.transfer import normalise
from segmentation.models.bundle import Bundle
from segmentation.models.processing import Activation
from segmentation.networks.restore import load_network
from tests.scenes import draw_scene, read
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import BANDS, a_bundle

pytestmark = pytest.mark.usefixtures("white_pictures")

CUTS = (0.3, 0.5, 0.6)

LAYERS = Activation(function="sigmoid", thresholds=CUTS, several="layers")

SHAPE = (150, 130)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scene(tmp_path_factory.mktemp("scene") / "scene.tif", *SHAPE)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network of three channels that looks 37 pixels far, and whose chips have that margin."""
    folder = tmp_path_factory.mktemp("cut") / "b"
    return a_bundle(folder, tile=32, margin=40, activation=LAYERS)


@pytest.fixture(scope="module", params=[False, True], ids=["cut", "blended"])
def bundle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cut: Bundle
) -> Bundle:
    """The same, and as if it saw its whole chip."""
    if not request.param:
        return cut
    folder = tmp_path_factory.mktemp("blended") / "b"
    return a_bundle(folder, tile=48, margin=16, support=None, activation=LAYERS)


def run(
    scene: Path, out: Path, bundle: Bundle, shard: int = 64, on: Cluster = HERE, **options: object
) -> Path:
    request = Request(
        source=Source(paths=(str(scene),)),
        out=out,
        segmenter=Network(bundle=str(bundle.folder), device="cpu"),
        **{"products": ("classes",), "preflight": "warn", "min_area": 0, **options},
        shard=shard,
    )
    pipeline.run(request, on=on)
    return out


def probabilities(scene: Path, bundle: Bundle) -> npt.NDArray[np.float64]:
    """What the network says of each channel on the whole scene at once, nothing being around."""
    with rasterio.open(scene) as file:
        pixels, valid = file.read([2, 3, 4]).astype(float), file.dataset_mask() > 0
    around = [(40, 40 + -length % 8) for length in valid.shape]
    chip = make_chip(
        np.pad(pixels, ((0, 0), *around)), BANDS, scale=1e-4, valid=np.pad(valid, around)
    )
    seen = torch.from_numpy(normalise(chip, bundle.card))[None].double()
    with torch.inference_mode():
        said = load_network(bundle).eval().double()(seen)[0].sigmoid().numpy()
    return said[:, 40 : 40 + SHAPE[0], 40 : 40 + SHAPE[1]]


def test_each_pixel_has_the_labels_that_reach_their_thresholds(
    tmp_path: Path, scene: Path, cut: Bundle
) -> None:
    out = run(scene, tmp_path / "out", cut)
    with rasterio.open(out / "layers.tif") as raster:
        layers = raster.read()
        names = tuple(name for _, name, _ in cut.card.legend.rows)
        assert raster.descriptions == names[1:]
        assert set(raster.nodatavals) == {255}
        assert raster.dtypes == ("uint8",) * 3
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    valid = read(out / "classes.tif") > 0
    assert (layers[:, ~valid] == 255).all()
    share, edges = probabilities(scene, cut), np.array(CUTS)[:, None, None]
    sure = valid & (np.abs(share - edges) > 1e-4)
    assert np.array_equal(layers[sure], (share >= edges)[sure])
    counts = layers[:, valid].sum(0)
    assert set(counts) >= {0, 1, 2}  # some pixels are of none, some of several


def test_its_classes_are_the_likeliest_of_its_labels(
    tmp_path: Path, scene: Path, bundle: Bundle
) -> None:
    out = run(scene, tmp_path / "out", bundle)
    with rasterio.open(out / "layers.tif") as raster:
        layers = raster.read()
    classes = read(out / "classes.tif")
    first, *others = bundle.card.legend.values
    valid = classes > 0
    assert np.array_equal(classes[valid] == first, layers[:, valid].sum(0) == 0)
    for value, layer in zip(others, layers, strict=True):
        assert (layer[classes == value] == 1).all()


def test_no_cut_changes_a_byte(
    tmp_path: Path, scene: Path, bundle: Bundle, two_workers: str
) -> None:
    whole = run(scene, tmp_path / "whole", bundle, shard=4096)
    shards = run(scene, tmp_path / "shards", bundle, shard=50, on=Cluster(kind=two_workers))
    assert (whole / "layers.tif").read_bytes() == (shards / "layers.tif").read_bytes()
    corner = shapely.box(500_300, 5_299_000, 500_900, 5_299_700)
    geopandas.GeoDataFrame(geometry=[corner], crs="EPSG:32633").to_file(tmp_path / "aoi.gpkg")
    part = run(scene, tmp_path / "part", bundle, aoi=str(tmp_path / "aoi.gpkg"))
    with rasterio.open(whole / "layers.tif") as full, rasterio.open(part / "layers.tif") as few:
        window = full.window(*few.bounds).round_offsets().round_lengths()
        assert few.width < full.width
        assert np.array_equal(few.read(), full.read(window=window))


def test_a_run_lists_them_and_one_of_an_argmax_has_none(
    tmp_path: Path, scene: Path, cut: Bundle
) -> None:
    out = run(scene, tmp_path / "out", cut)
    classes = read(out / "classes.tif")
    asset = json.loads((out / "item.json").read_text(encoding="utf-8"))["assets"]["layers"]
    assert (asset["href"], asset["nodata"]) == ("./layers.tif", 255)
    assert "layers.tif" in (out / "report.html").read_text(encoding="utf-8")
    assert "layers.tif" in (out / "landcover.qgs").read_text(encoding="utf-8")
    argmax = Activation(function="sigmoid", thresholds=CUTS)
    plain = a_bundle(tmp_path / "b", tile=32, margin=40, activation=argmax)
    run(scene, out, plain, fresh=True)
    assert not (out / "layers.tif").exists()
    assert np.array_equal(read(out / "classes.tif"), classes)
