"""Maps of the pixels that a network sees: those of the whole scene at once, however it is cut."""

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
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d, interpolate, pad

from flows.compute.cluster import HERE, Cluster
from flows.plan import model_grid
from flows.plan.describe import describe
from flows.plan.model_grid import ModelScene, at_zoom
from flows.plan.plan import facts_of, make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from segmentation.errors import InputError
from segmentation.inference.network import Network
from segmentation.inference.transfer import normalise
from segmentation.models.bundle import Bundle
from segmentation.networks.restore import load_for_inference
from segmentation.segmenter import Segmenter
from tests.scenes import draw_scene, read, read_beneath
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import BANDS, a_bundle
from tiling.grid.window import Window
from tiling.scene.from_files import open_scene

pytestmark = pytest.mark.usefixtures("white_pictures")

GSD = {-3: 30.0, 2: 5.0}
"""Pixels that a network wants of a scene of 10 m, by the zoom that shows it those."""

SHAPES = {-3: (131, 200), 2: (61, 90)}

RASTERS = ("classes.tif", "confidence.tif", "probabilities.tif")


@pytest.fixture(scope="module", params=GSD)
def zoom(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, zoom: int) -> Bundle:
    """A network that looks 37 pixels far, and whose chips have that margin."""
    return a_bundle(tmp_path_factory.mktemp("b") / "b", gsd=GSD[zoom], tile=32, margin=40)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, zoom: int) -> Path:
    """Pixels of 10 m, which are no whole number of larger ones."""
    return draw_scene(tmp_path_factory.mktemp("scene") / "scene.tif", *SHAPES[zoom])


def ask(scene: Path, out: Path, segmenter: Segmenter, **options: Any) -> Request:
    reading = {name: options.pop(name) for name in list(options) if name.startswith("mask")}
    options = {
        "products": ("classes", "confidence", "probabilities"), "min_area": 0, "grid": "model",
        "preflight": "warn", **options,
    }  # fmt: skip
    source = Source(paths=(str(scene),), **reading)
    return Request(source=source, out=out, segmenter=segmenter, **options)


def run(scene: Path, out: Path, bundle: Bundle, *, on: Cluster = HERE, **options: Any) -> Path:
    network = Network(bundle=str(bundle.folder), device="cpu")
    pipeline.run(ask(scene, out, network, **options), on=on)
    return out


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, scene: Path, bundle: Bundle, white_pictures: None
) -> Path:
    """The map in one shard."""
    return run(scene, tmp_path_factory.mktemp("whole") / "run", bundle)


def seen_at_once(path: Path, zoom: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The scene at a zoom by torch's own means and interpolation, and where it has pixels."""
    with rasterio.open(path) as file:
        pixels = torch.from_numpy(file.read([2, 3, 4]).astype(float))[None]
        valid = torch.from_numpy(file.dataset_mask() > 0)[None, None].double()
    if zoom > 1:
        values, weights = (
            interpolate(one, scale_factor=zoom, mode="bilinear", align_corners=False)
            for one in (pixels * valid, valid)
        )
        seen, there = values / weights, interpolate(valid, scale_factor=zoom)
    else:
        rest = [-n % -zoom for n in valid.shape[2:]]
        valid, pixels = (pad(one, (0, rest[1], 0, rest[0])) for one in (valid, pixels))
        there = avg_pool2d(valid, -zoom)
        seen = avg_pool2d(pixels * valid, -zoom) / there
    return seen[0].nan_to_num().numpy(), there[0, 0].numpy() > 0


def test_it_is_the_network_on_the_whole_scene_at_once(
    scene: Path, bundle: Bundle, whole: Path, zoom: int
) -> None:
    """In double precision, with more than its support of nothing around."""
    pixels, valid = seen_at_once(scene, zoom)
    height, width = valid.shape
    around = (40, 40 + -height % 8), (40, 40 + -width % 8)
    chip = make_chip(
        np.pad(pixels, ((0, 0), *around)), BANDS, scale=1e-4, valid=np.pad(valid, around)
    )
    with torch.inference_mode():
        network = load_for_inference(bundle).double()
        logits = network(torch.from_numpy(normalise(chip, bundle.card))[None].double())
    expected = logits.softmax(1)[0, :, 40 : 40 + height, 40 : 40 + width].numpy()
    with rasterio.open(whole / "probabilities.tif") as file:
        found, grid = file.read(), file.transform
        assert file.shape == valid.shape
    with rasterio.open(scene) as file:
        side = 10 / zoom if zoom > 0 else 10.0 * -zoom
        assert grid == file.transform @ file.transform.scale(side / 10)
    assert np.array_equal(found[0] <= 100, valid)
    assert np.abs(found - 100 * expected)[:, valid].max() <= 0.51
    labels = read(whole / "classes.tif")
    first, second = np.sort(expected, 0)[::-1][:2]
    told = valid & (first - second > 1e-4)
    assert np.array_equal(labels[told], np.array([1, 3, 5, 6])[expected.argmax(0)][told])


def test_it_is_what_the_map_of_the_scenes_pixels_is_made_of(
    tmp_path: Path, scene: Path, bundle: Bundle, whole: Path, zoom: int
) -> None:
    """Of smaller pixels the mean, in larger ones the same as at their middle."""
    plain = run(scene, tmp_path / "plain", bundle, grid="scene")
    with rasterio.open(plain / "probabilities.tif") as file, rasterio.open(scene) as source:
        back, valid = file.read().astype(float), source.dataset_mask() > 0
    with rasterio.open(whole / "probabilities.tif") as file:
        found = file.read().astype(float)
    if zoom > 1:
        means = found.reshape(4, 61, 2, 90, 2).mean((2, 4))
        assert np.abs(means - back)[:, valid].max() <= 1
    else:
        middle = valid[1::3, 1::3]
        there = found[:, : middle.shape[0], : middle.shape[1]]
        assert np.abs(there - back[:, 1::3, 1::3])[:, middle].max() <= 1


@pytest.mark.slow
@settings(max_examples=2)
@given(shard=st.integers(1, 150), west=st.integers(0, 30), north=st.integers(0, 20))
def test_it_does_not_depend_on_the_cut(
    tmp_path_factory: pytest.TempPathFactory,
    scene: Path,
    bundle: Bundle,
    whole: Path,
    shard: int,
    west: int,
    north: int,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    cut = run(scene, folder / "cut", bundle, shard=shard)
    for name in RASTERS:
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    left, top = 500_000 + 10 * west + 3, 5_300_000 - 10 * north - 4
    outline = shapely.box(left, top - 187, left + 311, top)
    geopandas.GeoDataFrame(geometry=[outline], crs="EPSG:32633").to_file(folder / "aoi.gpkg")
    part = run(scene, folder / "part", bundle, shard=shard, aoi=str(folder / "aoi.gpkg"))
    for name in RASTERS:
        with rasterio.open(part / name) as clipped, rasterio.open(whole / name) as full:
            inside, there = clipped.read(1), read_beneath(full, clipped)
            assert clipped.width < full.width / 2
        shown = read(part / "classes.tif") > 0
        assert np.array_equal(inside[shown], there[shown])
        assert shown.any()


@pytest.mark.slow
def test_two_workers_a_restart_and_a_blended_network_make_the_same(
    tmp_path: Path, zoom: int, two_workers: str
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", *((390, 450) if zoom < 0 else (61, 90)))
    blended = a_bundle(tmp_path / "b", gsd=GSD[zoom], tile=32, margin=16, support=None)
    whole = run(scene, tmp_path / "whole", blended)
    out = run(scene, tmp_path / "cut", blended, shard=70, on=Cluster(kind=two_workers))
    before = {file.name: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}
    (out / "parts" / min(before)).unlink()
    run(scene, out, blended, shard=70)
    after = {file.name: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}
    assert len(before) > 2
    assert [name for name in before if before[name] != after[name]] == [min(before)]
    for name in RASTERS:
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_all_products_have_these_pixels(
    tmp_path: Path, scene: Path, bundle: Bundle, zoom: int
) -> None:
    """With a mask, objects, polygons with means of an index, and nothing below four pixels."""
    hidden = tmp_path / "mask.tif"
    with rasterio.open(scene) as file:
        profile = file.profile | {"count": 1, "dtype": "uint8", "nodata": None}
        cover = np.zeros((1, *file.shape), np.uint8)
    cover[:, :30, :45] = 1
    with rasterio.open(hidden, "w", **profile) as file:
        file.write(cover)
    wishes: dict[str, Any] = {
        "products": ("classes", "confidence", "vectors"), "indices": ("NDVI",), "objects": 8,
        "min_area": None, "simplify": 0.0, "mask": str(hidden),
    }  # fmt: skip
    out = run(scene, tmp_path / "out", bundle, **wishes)
    side = GSD[zoom]
    with rasterio.open(out / "classes.tif") as file:
        labels = file.read(1)
        assert file.res == (side, side)
    shown = int(np.count_nonzero(labels))
    assert not labels[: int(300 / side), : int(450 / side)].any()
    assert labels[: int(300 / side), int(480 / side)].any()
    polygons = geopandas.read_file(out / "landcover.gpkg", layer="landcover")
    assert polygons.area.sum() == pytest.approx(shown * side**2)
    assert (polygons.area >= 4 * side**2).all()
    assert polygons["ndvi_mean"].between(-1, 1).all()
    record = json.loads((out / "run.json").read_text())
    assert sum(area["pixels"] for area in record["areas"]) == shown
    assert record["request"]["grid"] == "model"
    item = json.loads((out / "item.json").read_text())["properties"]
    assert item["proj:shape"] == list(labels.shape)
    assert item["proj:transform"][0] == side


def test_a_plan_says_how_large_they_are_and_what_they_take(
    tmp_path: Path, scene: Path, bundle: Bundle, zoom: int
) -> None:
    network = Network(bundle=str(bundle.folder), device="cpu")
    model, plain = (
        make_plan(ask(scene, tmp_path / "out", network, grid=grid)) for grid in ("model", "scene")
    )
    facts = facts_of(model)
    shape = (44, 67) if zoom < 0 else (122, 180)
    assert (facts["height"], facts["width"]) == shape
    assert facts["pixel_size"] == [GSD[zoom], GSD[zoom]]
    said = describe(model)
    assert said["scene"] == describe(plain)["scene"]
    assert said["map"].startswith(f"{shape[1]} × {shape[0]} px of about {GSD[zoom]:.0f} m")
    bands, own = model.bands, plain.scene.pixel_bytes(model.bands)
    assert model.scene.pixel_bytes(bands) > (9 * own if zoom < 0 else 4 * len(bands))


@settings(max_examples=20)
@given(
    zoom=st.sampled_from([-8, -3, -2, 2, 3, 8]),
    window=st.tuples(*(st.integers(low, 90) for low in (-20, -20, 1, 1))),
    at_once=st.integers(1, 5000),
)
def test_a_pixel_has_one_value_whatever_it_is_read_with(
    scene: Path, zoom: int, window: tuple[int, int, int, int], at_once: int
) -> None:
    made = at_zoom(open_scene([str(scene)]), zoom)
    assert isinstance(made, ModelScene)
    whole, there = made.read(made.window, ("red",)), Window(*window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_grid, "_AT_ONCE", at_once)
        chip = made.read(there, ("red",))
    assert chip["units"].item() == "reflectance"
    assert chip["pixels"].shape[1:] == there.shape
    if inside := there & made.window:
        for name in ("pixels", "valid"):
            here = chip[name].values[..., *inside.within(there)]
            assert np.array_equal(here, whole[name].values[..., *inside.within(made.window)])
    outside = chip["valid"].values.copy()
    if inside:
        outside[inside.within(there)] = False
    assert not outside.any()


def test_where_the_pixels_are_alike_it_changes_nothing(tmp_path: Path, scene: Path) -> None:
    bundle = a_bundle(tmp_path / "b")
    for grid in ("scene", "model"):
        run(scene, tmp_path / grid, bundle, grid=grid)
    for name in RASTERS:
        assert (tmp_path / "scene" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_a_method_that_sees_the_scenes_pixels_says_so(tmp_path: Path, scene: Path) -> None:
    with pytest.raises(InputError, match=r"rules sees the pixels of the scene; leave --grid model"):
        pipeline.run(ask(scene, tmp_path / "out", Rules(), products=("classes",)))
    assert not (tmp_path / "out" / "classes.tif").exists()
    clouds = a_bundle(tmp_path / "clouds").folder
    asked = ask(
        scene, tmp_path / "out", Rules(), products=("classes",), mask=f"model:{clouds}=Water"
    )
    with pytest.raises(InputError, match="rules sees the pixels of the scene"):
        pipeline.run(asked)
    assert not (tmp_path / "out").exists(), "no model ran for nothing"
