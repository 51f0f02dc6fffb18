"""What a worker does: networks that see their whole chip give one map, however it is cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.compute.cluster import HERE, Cluster
from flows.plan.plan import make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.inference.network import Network
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import Bundle, Support, save
from segmentation.models.card import Member
from segmentation.models.processing import Activation, Preprocessing
from segmentation.networks.architectures import build, stride_of
from segmentation.networks.receptive_field import support, taper
from segmentation.networks.restore import load_for_inference
from segmentation.synthetic.landscape import Landscape
from segmentation.synthetic.materials import BANDS as LANDSCAPE
from segmentation.training.recipe import Recipe
from segmentation.training.samples import TRAIN, Labelled, Samples
from segmentation.training.train_network import train_network
from tests.scenes import draw_pixels, draw_scene, read, read_beneath, write_scene
from tests.segmentation.joint_models import a_joint_bundle
from tests.segmentation.small_networks import DEMO_ENCODER, a_bundle, a_card, shares_of
from tiling.scene.prefetch import read_ahead

pytestmark = pytest.mark.usefixtures("white_pictures")

WHOLE_CHIP: dict[str, dict[str, Any]] = {
    "fpn": {
        "architecture": "fpn",
        "encoder": DEMO_ENCODER,
        "options": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    },
    "mit": {
        "architecture": "segformer",
        "encoder": "mit_b0",
        "options": {"decoder_segmentation_channels": 16},
    },
}
TILE, MARGIN, STRIDE = 64, 32, 32


def whole_chip(folder: Path, name: str) -> Bundle:
    shape = {"tile": TILE, "margin": MARGIN, "stride": STRIDE}
    return a_bundle(folder, **WHOLE_CHIP[name], support=None, **shape)


@pytest.fixture(scope="module", params=WHOLE_CHIP)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that sees its whole chip."""
    return whole_chip(tmp_path_factory.mktemp("whole") / "b", request.param)


def run(scene: Path, out: Path, bundle: Bundle, *, on: Cluster = HERE, **options: Any) -> Path:
    network = Network(bundle=str(bundle.folder), device="cpu")
    options = {"products": ("classes", "confidence"), "min_area": 0, **options}
    request = Request(
        source=Source(paths=(str(scene),)), out=out, segmenter=network, preflight="warn", **options
    )
    pipeline.run(request, on=on)
    return out


@pytest.mark.slow
@settings(max_examples=4)
@given(height=st.integers(1, 420), width=st.integers(1, 420), shard=st.integers(1, 400))
def test_a_blended_map_does_not_depend_on_the_shard(
    tmp_path_factory: pytest.TempPathFactory, bundle: Bundle, height: int, width: int, shard: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    scene = draw_scene(folder / "scene.tif", height, width)
    whole, cut = (
        run(scene, folder / name, bundle, shard=size)
        for name, size in (("whole", 4096), ("cut", shard))
    )
    for name in ("classes.tif", "confidence.tif"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def test_nor_on_the_area_of_interest(tmp_path: Path, bundle: Bundle) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 150, 600)
    outline = shapely.box(504_500, 5_298_700, 505_100, 5_299_900)
    geopandas.GeoDataFrame(geometry=[outline], crs="EPSG:32633").to_file(tmp_path / "aoi.gpkg")
    whole = run(scene, tmp_path / "whole", bundle, shard=4096)
    part = run(scene, tmp_path / "part", bundle, shard=1, aoi=str(tmp_path / "aoi.gpkg"))
    for name in ("classes.tif", "confidence.tif"):
        with rasterio.open(part / name) as clipped, rasterio.open(whole / name) as full:
            assert np.array_equal(clipped.read(1), read_beneath(full, clipped))
            assert clipped.width < full.width / 3


# ------------------------------------------------------ what a card says is done before and after


OF_OTHERS: dict[str, dict[str, Any]] = {
    "per-chip": {"preprocessing": Preprocessing(normalisation="per-chip", padding=(-2.0,))},
    "percentiles": {
        "preprocessing": Preprocessing(normalisation="percentiles", factor=3, offset=-1),
        "activation": Activation(function="sigmoid", thresholds=(0.4,)),
    },
    "averaged": {
        "preprocessing": Preprocessing(normalisation="min-max", padding=(0.5, 0.0, -0.5)),
        "further": (
            Member(
                architecture="unet",
                encoder=DEMO_ENCODER,
                options={"encoder_depth": 3, "decoder_channels": (24, 16, 16)},
            ),
        ),
    },
}


@pytest.fixture(scope="module", params=[*OF_OTHERS, "trees", "trees, blended"])
def of_others(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network whose card says more than a mean and a deviation, or that has trees beside it."""
    shape = {"tile": TILE, "margin": MARGIN, "stride": STRIDE, "support": None}
    folder = tmp_path_factory.mktemp("others") / "b"
    if request.param == "trees":
        return a_joint_bundle(folder, tile=32)
    if request.param == "trees, blended":
        return a_joint_bundle(folder, **{**WHOLE_CHIP["fpn"], **shape})
    return a_bundle(folder, **{**WHOLE_CHIP["fpn"], **shape, **OF_OTHERS[request.param]})


@pytest.mark.slow
@settings(max_examples=4)
@given(height=st.integers(65, 200), width=st.integers(65, 200), shard=st.integers(1, 150))
def test_nor_does_what_is_done_before_and_after_a_network(
    tmp_path_factory: pytest.TempPathFactory,
    of_others: Bundle,
    height: int,
    width: int,
    shard: int,
) -> None:
    """Statistics of a chip or of the scene, padding, thresholds, means of networks and of trees:
    any shard, any area, and the part that a restart makes."""
    folder = tmp_path_factory.mktemp("others")
    scene = draw_scene(folder / "scene.tif", height, width)
    whole, cut = (
        run(scene, folder / name, of_others, shard=size)
        for name, size in (("whole", 4096), ("cut", shard))
    )
    outline = shapely.box(500_000, 5_300_000 - 10 * height, 500_000 + 5 * width, 5_300_000)
    geopandas.GeoDataFrame(geometry=[outline], crs="EPSG:32633").to_file(folder / "aoi.gpkg")
    part = run(scene, folder / "part", of_others, shard=1, aoi=str(folder / "aoi.gpkg"))
    for name in ("classes.tif", "confidence.tif"):
        expected = (whole / name).read_bytes()
        assert (cut / name).read_bytes() == expected
        with rasterio.open(part / name) as clipped, rasterio.open(whole / name) as full:
            assert np.array_equal(clipped.read(1), read_beneath(full, clipped))
    next((cut / "parts").glob("*.tif")).unlink()
    run(scene, cut, of_others, shard=shard)
    assert (cut / "classes.tif").read_bytes() == (whole / "classes.tif").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "blended"])
@pytest.mark.parametrize("zoom", [-3, 2])
@settings(max_examples=1)
@given(height=st.integers(60, 130), width=st.integers(60, 130), shard=st.integers(1, 100))
def test_nor_does_a_network_that_sees_pixels_of_its_own_size(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    zoom: int,
    height: int,
    width: int,
    shard: int,
) -> None:
    """Where it is blended also normalised by its chip; the area of interest begins between its
    pixels."""
    folder = tmp_path_factory.mktemp("zoom")
    per_chip = {"support": None, **OF_OTHERS["per-chip"]} if kind == "blended" else {}
    bundle = a_bundle(folder / "b", **{"tile": 16, "margin": 8, **per_chip})
    pixel = 10 * zoom if zoom > 0 else 10 / zoom
    scene = write_scene(folder / "scene.tif", draw_pixels(height, width), resolution=abs(pixel))
    whole, cut = (
        run(scene, folder / name, bundle, shard=size)
        for name, size in (("whole", 4096), ("cut", shard))
    )
    assert json.loads((whole / "run.json").read_text())["segmenter"]["zoom"] == zoom
    corner = [500_000 + 7.5 * abs(pixel), 5_300_000 - 45.5 * abs(pixel)]
    outline = shapely.box(*corner, corner[0] + 41 * abs(pixel), corner[1] + 31 * abs(pixel))
    geopandas.GeoDataFrame(geometry=[outline], crs="EPSG:32633").to_file(folder / "aoi.gpkg")
    part = run(scene, folder / "part", bundle, shard=1, aoi=str(folder / "aoi.gpkg"))
    for name in ("classes.tif", "confidence.tif"):
        expected = (whole / name).read_bytes()
        assert (cut / name).read_bytes() == expected
        with rasterio.open(part / name) as clipped, rasterio.open(whole / name) as full:
            shown = clipped.dataset_mask() > 0
            assert np.array_equal(clipped.read(1)[shown], read_beneath(full, clipped)[shown])
    next((cut / "parts").glob("*.tif")).unlink()
    run(scene, cut, bundle, shard=shard)
    assert (cut / "classes.tif").read_bytes() == (whole / "classes.tif").read_bytes()


OTHERS = ("manet", "fpn", "pspnet", "pan", "deeplabv3", "deeplabv3plus", "upernet", "dpt")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", OTHERS)
def test_neither_does_the_map_of_any_network_that_sees_its_whole_chip(
    tmp_path: Path, architecture: str
) -> None:
    encoder = "tu-vit_tiny_patch16_224" if architecture == "dpt" else DEMO_ENCODER
    stride = stride_of(build(a_card(architecture=architecture, encoder=encoder, options={})))
    shape = {"stride": stride, "tile": max(64, stride), "margin": max(32, stride)}
    bundle = a_bundle(
        tmp_path / "b",
        architecture=architecture,
        encoder=encoder,
        options={},
        support=None,
        **shape,
    )
    assert support(load_for_inference(bundle), 3, stride=stride) is None
    scene = draw_scene(tmp_path / "scene.tif", 90, 9 * shape["tile"])
    whole, cut = (
        run(scene, tmp_path / name, bundle, shard=size)
        for name, size in (("whole", 4096), ("cut", 1))
    )
    for name in ("classes.tif", "confidence.tif"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    parts = [len(list((folder / "parts").glob("*.tif"))) for folder in (whole, cut)]
    assert parts[0] == 1 < parts[1]


# ------------------------------------------------------------------------ networks that look so far


@pytest.fixture(scope="module")
def finite(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("finite") / "b")


@pytest.mark.slow
@settings(max_examples=4)
@given(height=st.integers(1, 420), width=st.integers(1, 420), shard=st.integers(1, 400))
def test_a_map_of_cut_chips_does_not_depend_on_the_shard(
    tmp_path_factory: pytest.TempPathFactory, finite: Bundle, height: int, width: int, shard: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    scene = draw_scene(folder / "scene.tif", height, width)
    options: dict[str, Any] = {"products": ("classes", "confidence", "probabilities")}
    whole, cut = (
        run(scene, folder / name, finite, shard=size, **options)
        for name, size in (("whole", 4096), ("cut", shard))
    )
    for name in ("classes.tif", "confidence.tif", "probabilities.tif"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["finite", *WHOLE_CHIP])
def test_nor_on_who_computes_it(
    tmp_path: Path, finite: Bundle, two_workers: str, kind: str
) -> None:
    """Two processes, each with half the threads, and shards in whatever order they finish."""
    bundle = finite if kind == "finite" else whole_chip(tmp_path / "b", kind)
    on = Cluster(workers=2) if kind == "finite" else Cluster(kind=two_workers)
    scene = draw_scene(tmp_path / "scene.tif", 300, 560)
    alone = run(scene, tmp_path / "alone", bundle, shard=4096)
    together = run(scene, tmp_path / "together", bundle, shard=128, on=on)
    assert len(list((together / "parts").glob("*.tif"))) > 2
    for name in ("classes.tif", "confidence.tif"):
        assert (alone / name).read_bytes() == (together / name).read_bytes()


# ----------------------------------------------------------------------------------------- blending


def test_blending_is_a_weighted_geometric_mean_of_all_chips(tmp_path: Path, bundle: Bundle) -> None:
    """Against sums in float64 over the whole raster, by hand."""
    scene = draw_scene(tmp_path / "scene.tif", 150, 130)
    network = Network(bundle=str(bundle.folder), device="cpu")
    plan = make_plan(
        Request(
            source=Source(paths=(str(scene),)),
            out=tmp_path / "out",
            segmenter=network,
            preflight="warn",
            min_area=0,
        )
    )
    (shard,) = plan.shards
    total, weight = np.zeros((4, 150, 130)), np.zeros((150, 130))
    weights = np.multiply.outer(*[taper(TILE + 2 * MARGIN, MARGIN).astype(float)] * 2)
    for tile, chip in zip(
        shard.tiles, read_ahead(plan.scene, plan.bands, shard.tiles), strict=True
    ):
        shares = shares_of(bundle, chip)
        here = tile.chip & shard.core
        total[:, *here.within(shard.core)] += (np.log(shares.astype(float)) * weights)[
            :, *here.within(tile.chip)
        ]
        weight[here.within(shard.core)] += weights[here.within(tile.chip)]
    mean = np.exp(total / weight)
    mean /= mean.sum(0)
    out = run(scene, tmp_path / "out", bundle)
    classes, confidence = read(out / "classes.tif"), read(out / "confidence.tif")
    valid = classes > 0
    assert np.mean(classes[valid] != np.array([1, 3, 5, 6])[mean.argmax(0)][valid]) < 1e-4
    assert np.abs(confidence - 100 * mean.max(0))[valid].max() < 0.51
    assert (confidence[~valid] == 255).all()


def changes_on_lines(
    classes: npt.NDArray[np.uint8], tile: int = TILE
) -> tuple[float, float, float]:
    """Share of neighbours with different labels across tile lines, and across all other lines of
    pixels; and the standard error of the first."""
    on, off = [], []
    for grid in (classes, classes.T):
        both = (grid[1:] > 0) & (grid[:-1] > 0)
        changed = [
            np.mean(row[valid]) for row, valid in zip(grid[1:] != grid[:-1], both, strict=True)
        ]
        lines = np.arange(1, len(grid)) % tile == 0
        on += [share for share, line in zip(changed, lines, strict=True) if line]
        off += [share for share, line in zip(changed, lines, strict=True) if not line]
    return float(np.mean(on)), float(np.mean(off)), float(np.std(on, ddof=1) / np.sqrt(len(on)))


@pytest.mark.slow
def test_tile_lines_show_less_than_where_chips_are_cut(tmp_path: Path, bundle: Bundle) -> None:
    """With random weights, of which each chip makes something else; of a trained network's lines
    nothing is left."""
    scene = draw_scene(tmp_path / "scene.tif", 384, 384)
    blended = changes_on_lines(read(run(scene, tmp_path / "blended", bundle) / "classes.tif"))
    # as if it looked no further
    finite = bundle.card.network.model_copy(update={"support": Support(1, 1, 1, 1)})
    cut_bundle = save(
        tmp_path / "cut-bundle", bundle.card.model_copy(update={"model": finite}), bundle.weights()
    )
    cut = changes_on_lines(read(run(scene, tmp_path / "cut", cut_bundle) / "classes.tif"))
    assert blended[0] / blended[1] < 0.8 * cut[0] / cut[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("architecture", "encoder", "options", "steps", "accuracy", "errors"),
    [
        ("fpn", DEMO_ENCODER, {}, 180, 0.7, 0),
        ("segformer", "mit_b0", {}, 80, 0.7, 0),
        ("deeplabv3", DEMO_ENCODER, {"decoder_channels": 64}, 160, 0.6, 1),
    ],
)
def test_tile_lines_do_not_show_in_the_map_of_a_trained_network(
    tmp_path: Path,
    architecture: str,
    encoder: str,
    options: dict[str, Any],
    steps: int,
    accuracy: float,
    errors: int,
) -> None:
    """At most 1.2 times as many changes as elsewhere; where the same chips are cut there are more.

    DeepLabV3, whose maps hold a fifth of the changes, so that ten lines tell little, is allowed
    their standard error.
    """
    learnt, truth = Landscape(5).read(0, 0, 512, 512)
    labelled = Labelled(
        learnt,
        np.ones(truth.shape, bool),
        truth,
        np.full(truth.shape, TRAIN, np.uint8),
        (1e-4,) * 6,
        (0.0,) * 6,
    )
    legend = LAND_COVER.subset(*np.unique(truth).tolist())
    found = train_network(
        Samples((labelled,), LANDSCAPE, ("reflectance",) * 6, "uint16", legend, 10, {}),
        Recipe(architecture=architecture, encoder=encoder, options=options, batch=4, steps=steps),
        name="lines", licence="CC0-1.0", scratch=tmp_path, progress=lambda stage, done, total: None,
    )  # fmt: skip
    network, (pixels, truth) = found.card.network, Landscape(6).read(0, 0, 768, 768)
    assert (network.support, network.tile, network.margin) == (None, 128, 32)
    scene = write_scene(tmp_path / "scene.tif", pixels)
    classes = read(
        run(scene, tmp_path / "blended", save(tmp_path / "b", found.card, found.state))
        / "classes.tif"
    )
    assert np.mean(classes == truth) > accuracy
    on, off, error = changes_on_lines(classes, network.tile)
    assert on - errors * error <= 1.2 * off
    finite = network.model_copy(update={"support": Support(1, 1, 1, 1)})
    cut_bundle = save(tmp_path / "c", found.card.model_copy(update={"model": finite}), found.state)
    on, off, error = changes_on_lines(
        read(run(scene, tmp_path / "cut", cut_bundle) / "classes.tif"), network.tile
    )
    assert on - errors * error > 1.2 * off
