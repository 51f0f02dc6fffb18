"""Rasters beside the classes: what they hold, what their bands are called, who cannot make them."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.plan.plan import make_plan
from flows.requests.request import PRODUCTS, Product, Request
from flows.requests.source import Source
from flows.run import pipeline
from flows.storage.run_folder import open_run
from segmentation.classical.rules import Rules
from segmentation.inference.network import Network
from segmentation.models.bundle import Bundle
from segmentation.segmenter import Segmenter
from tests.scenes import draw_scene, read
from tests.segmentation.small_networks import a_bundle
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

MEASURES: tuple[Product, ...] = ("probabilities", "entropy", "margin")


@pytest.fixture(scope="module", params=[False, True], ids=["cut", "blended"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A shallow U-Net, and the same one as if it saw its whole chip."""
    changes = {"support": None} if request.param else {}
    bundle: Bundle = a_bundle(tmp_path_factory.mktemp("products") / "b", **changes)
    return Network(bundle=str(bundle.folder), device="cpu")


def request_for(
    scene: Path, out: Path, segmenter: Segmenter, *products: Product, aoi: str = ""
) -> Request:
    source = Source(paths=(str(scene),))
    wishes = {"products": products, "aoi": aoi, "shard": 128, "preflight": "warn", "min_area": 0}
    return Request(source=source, out=out, segmenter=segmenter, **wishes)


def test_probabilities_of_all_classes_agree_with_labels_confidence_entropy_and_margin(
    tmp_path: Path, network: Network
) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 300, 260), tmp_path / "out"
    published = pipeline.run(request_for(scene, out, network, "confidence", *MEASURES))
    assert {f"{name}.tif" for name in ("classes", "confidence", *MEASURES)} <= {
        path.name for path in published.files
    }
    classes, confidence, entropy, margin = (
        read(out / f"{name}.tif") for name in ("classes", "confidence", "entropy", "margin")
    )
    with rasterio.open(out / "probabilities.tif") as raster:
        probabilities = raster.read().astype(int)
        assert raster.descriptions == tuple(name for _, name, _ in network.legend.rows)
        assert set(raster.nodatavals) == {255}
        assert raster.dtypes == ("uint8",) * 4
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    valid = classes > 0
    for percents in (confidence, entropy, margin, *probabilities):
        assert np.array_equal(percents == 255, ~valid)
        assert (percents[valid] <= 100).all()
    shares = probabilities[:, valid]
    assert np.abs(shares.sum(0) - 100).max() <= 2  # four numbers, each rounded
    assert np.array_equal(shares.max(0), confidence[valid])
    values = np.array(network.legend.values)
    assert (
        np.take_along_axis(shares, np.searchsorted(values, classes[valid])[None], 0)[0]
        == shares.max(0)
    ).all()
    first, second = np.sort(shares, 0)[[-1, -2]]
    assert np.abs(margin[valid] - (first - second)).max() <= 1
    exact = -np.sum(shares / 100 * np.log(np.maximum(shares, 1) / 100), 0) / np.log(4)
    assert np.abs(entropy[valid] / 100 - exact).max() < 0.1  # of whole percents
    with rasterio.open(out / "entropy.tif") as raster:
        assert raster.descriptions == ("entropy",)


def test_measures_do_not_depend_on_the_area_of_interest(tmp_path: Path, network: Network) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 200, 260)
    triangle = shapely.Polygon([(500_111, 5_299_812), (500_804, 5_299_433), (500_322, 5_298_801)])
    geopandas.GeoDataFrame(geometry=[triangle], crs="EPSG:32633").to_file(tmp_path / "aoi.gpkg")
    pipeline.run(request_for(scene, tmp_path / "whole", network, *MEASURES))
    pipeline.run(
        request_for(scene, tmp_path / "part", network, *MEASURES, aoi=str(tmp_path / "aoi.gpkg"))
    )
    for name in MEASURES:
        with (
            rasterio.open(tmp_path / f"part/{name}.tif") as part,
            rasterio.open(tmp_path / f"whole/{name}.tif") as full,
        ):
            inside = rasterio.features.geometry_mask(
                [triangle], part.shape, part.transform, invert=True
            )
            window = rasterio.windows.from_bounds(
                *part.bounds, transform=full.transform
            ).round_offsets()
            assert np.array_equal(
                part.read(), np.where(inside, full.read(window=window.round_lengths()), 255)
            )
            assert part.descriptions == full.descriptions


def test_labels_are_the_same_with_and_without_them_and_what_was_not_asked_for_goes(
    tmp_path: Path, network: Network
) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 150, 150), tmp_path / "out"
    pipeline.run(request_for(scene, out, network, "classes", "entropy", "margin"))
    with_them = (out / "classes.tif").read_bytes()
    assert not (out / "probabilities.tif").exists()
    pipeline.run(request_for(scene, out, network, "classes", "margin"))
    assert (out / "classes.tif").read_bytes() == with_them
    assert sorted(path.name for path in out.glob("*.tif")) == ["classes.tif", "margin.tif"]


def test_they_are_computed_and_kept_only_when_asked_for(tmp_path: Path, network: Network) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 90, 90), tmp_path / "out"

    def key(*products: Product) -> str:
        with open_run(out) as folder:
            plan = make_plan(request_for(scene, out, network, *products), folder)
            assert plan.segmenter.fitted is not None  # type: ignore[attr-defined]
            return plan.part_key(plan.shards[0], {})

    plain = key(*PRODUCTS)
    assert key("classes") == plain
    assert (
        len({plain, key("entropy"), key("margin"), key("entropy", "margin"), key("probabilities")})
        == 5
    )
    assert key("margin", "entropy") == key("entropy", "margin")
    pipeline.run(request_for(scene, out, network, *PRODUCTS))
    (part,) = (out / "parts").glob("r*.tif")
    with rasterio.open(part) as raster:
        assert raster.count == 2


def test_a_method_without_probabilities_is_named(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 60, 60)
    with pytest.raises(
        ValueError,
        match=r"^rules decides without probabilities; leave probabilities, margin out of "
        r"--products or choose",
    ) as refusal:
        pipeline.run(
            request_for(scene, tmp_path / "out", Rules(), "classes", "margin", "probabilities")
        )
    assert type(refusal.value).__name__ == InputError.__name__
