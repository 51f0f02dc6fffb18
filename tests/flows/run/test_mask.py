"""A model tells the clouds first: what it says is left out of the map, however both are cut."""

from __future__ import annotations

import json
import re
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
from scipy.ndimage import binary_dilation, gaussian_filter

from flows.compute.cluster import HERE, Cluster
from flows.plan.describe import describe
from flows.plan.mask import BESIDE
from flows.plan.plan import facts_of, make_plan
from flows.products import mask
from flows.requests.access import check_places
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.series import CollectionRequest
from flows.requests.source import Source
from flows.run import pipeline
from flows.series.collection import collect
from flows.series.one_fit import fit_series
from segmentation.classical.clustering import KMeans
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.inference.network import Network
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import load
from segmentation.segmenter import Segmenter
from tests.conftest import Run as Command
from tests.flows.training.test_train import truth_of, write_labels
from tests.scenes import draw_pixels, read, read_beneath, write_scene
from tests.segmentation.small_networks import a_bundle
from tiling.errors import InputError
from tiling.io.access import AccessPolicy, restrict_access

pytestmark = pytest.mark.usefixtures("white_pictures")

SKY = Legend(
    classes=(
        LandClass(value=1, name="Clear", colour="#00ff00"),
        LandClass(value=3, name="Haze", colour="#aaaaaa"),
        LandClass(value=2, name="Cloud shadow", colour="#444444"),
        LandClass(value=4, name="Cloud", colour="#ffffff"),
    )
)


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that sees clouds here and there."""
    return a_bundle(tmp_path_factory.mktemp("sky") / "b", legend=SKY, name="sky").folder


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", draw_pixels(150, 190))


def run(scene: Path, out: Path, segmenter: Segmenter | None = None, **options: Any) -> Path:
    reading = {name: options.pop(name) for name in list(options) if name.startswith("mask")}
    options = {"products": ("classes",), "min_area": 0, "preflight": "warn", **options}
    pipeline.run(
        Request(
            source=Source(paths=(str(scene),), **reading),
            out=out,
            segmenter=segmenter or Otsu(index="NDVI"),
            **options,
        )
    )
    return out


def disc(radius: int) -> npt.NDArray[np.bool_]:
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows**2 + cols**2 <= radius**2)


def by_hand(
    folder: Path, scene: Path, segmenter: Segmenter, values: tuple[int, ...], grow: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The labels of a model as a segmenter, which pixels of them are left out, and which for what
    is around; and the scene without them, as `cut.tif`."""
    alone = read(run(scene, folder / "sky", segmenter) / "classes.tif")
    hidden = np.isin(alone, values)
    around = binary_dilation(hidden, disc(grow)) & ~hidden & (alone > 0)
    with rasterio.open(scene) as file:
        pixels, profile, names = file.read(), file.profile, file.descriptions
    pixels[:, hidden | around] = 0
    with rasterio.open(folder / "cut.tif", "w", **profile | {"nodata": 0}) as cut:
        cut.write(pixels)
        cut.descriptions, cut.scales = names, [1e-4] * len(names)
    return alone, hidden, around


@pytest.mark.parametrize(
    ("asked", "values", "grow"),
    [("", (2, 4), 0), ("=cloud", (4,), 3), ("=Haze,CLOUD", (3, 4), 0)],
)
def test_the_map_is_that_of_a_scene_without_what_the_model_says(
    tmp_path: Path, scene: Path, sky: Path, asked: str, values: tuple[int, ...], grow: int
) -> None:
    """By hand: the model as a segmenter, its classes cut out of the file by numpy."""
    network = Network(bundle=str(sky), device="cpu")
    alone, hidden, around = by_hand(tmp_path, scene, network, values, grow)
    assert 0.02 < np.mean(hidden) < 0.9
    expected = run(tmp_path / "cut.tif", tmp_path / "expected")
    found = run(scene, tmp_path / "found", mask=f"model:{sky}{asked}", mask_grow=grow)
    assert np.array_equal(read(found / "classes.tif"), read(expected / "classes.tif"))
    records = [json.loads((out / "run.json").read_text()) for out in (found, expected)]
    assert records[0]["segmenter"] == records[1]["segmenter"]
    with rasterio.open(found / "mask.tif") as told:
        kept, beside = told.read(1), told.colormap(1)[254]
    assert np.array_equal(kept[~around], alone[~around])
    assert (kept[around] == 254).all()
    assert beside == ((201, 160, 220, 255) if grow else (0, 0, 0, 255))
    assert BESIDE in (found / "mask.tif.aux.xml").read_text() or not grow


@pytest.mark.slow
def test_clouds_of_csmask_are_left_out_of_a_real_scene(tmp_path: Path, shared_data: Path) -> None:
    """With its own weights, at pixels of 30 m; the clouds are drawn into the scene."""
    pytest.importorskip("ukis_csmask")
    with rasterio.open(shared_data / "s2_l2a_openeo_sample" / "S2_L2A_sample.tif") as source:
        # red, green, blue, nir, as the file names them
        pixels = source.read([3, 2, 1, 4])[:, :400, :500]
    rng = np.random.default_rng(1)
    rough, fine = (gaussian_filter(rng.normal(size=(400, 500)), width) for width in (25, 4))
    cover = np.clip(2 * (rough / rough.std() + 0.35 * fine / fine.std() - 1), 0, 1)
    shade = (1 - cover) * np.roll(cover, (25, -30), (0, 1))
    grain = [gaussian_filter(rng.normal(size=(400, 500)), 3) for _ in range(4)]
    white = np.array([6000, 5800, 5600, 6200])[:, None, None] + 4500 * np.stack(grain)
    pixels = (1 - cover) * (1 - 0.6 * shade) * pixels + cover * white
    pixels = pixels.clip(1, 10_000).astype(np.uint16)
    bright = cover > 0.5
    scene = write_scene(tmp_path / "scene.tif", pixels, names=("blue", "green", "red", "nir"))
    _, hidden, _ = by_hand(tmp_path, scene, choose_segmenter("csmask-4b-l2a", {}), (2, 3), grow=4)
    assert np.mean(hidden[bright]) > 0.5
    assert np.mean(hidden[~bright]) < 0.3
    rules = Rules()
    expected = run(tmp_path / "cut.tif", tmp_path / "expected", rules)
    found = run(scene, tmp_path / "found", rules, mask="model:csmask-4b-l2a", mask_grow=4)
    assert np.array_equal(read(found / "classes.tif"), read(expected / "classes.tif"))


@pytest.mark.slow
def test_scenes_of_a_collection_have_a_mask_each(
    tmp_path: Path, sky: Path, two_workers: str
) -> None:
    """On two local processes, as in this one."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for day, seed in (("20240501", 1), ("20240601", 2)):
        write_scene(inbox / f"scene_{day}.tif", draw_pixels(90, 100, seed))
    source = Source(paths=(str(inbox),), mask=f"model:{sky}", mask_grow=1)
    for out, on in (("here", HERE), ("there", Cluster(kind=two_workers))):
        template = Request(
            source=source, out=tmp_path / out, segmenter=Rules(), products=("classes",)
        )
        result = collect(CollectionRequest(template=template), on=on)
        assert [entry.status for entry in result.entries] == ["done", "done"]
        assert all(entry.invalid > 0.1 for entry in result.entries)
        again = collect(CollectionRequest(template=template), on=on)
        assert not again.made
    for raster in (tmp_path / "here").glob("*/*.tif"):
        there = tmp_path / "there" / raster.relative_to(tmp_path / "here")
        assert raster.read_bytes() == there.read_bytes()


@settings(max_examples=1)
@given(shard=st.integers(40, 90), block=st.integers(20, 90), grow=st.integers(1, 30))
def test_neither_depends_on_the_cut(
    tmp_path_factory: pytest.TempPathFactory,
    scene: Path,
    sky: Path,
    shard: int,
    block: int,
    grow: int,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    wishes: dict[str, Any] = {"mask": f"model:{sky}", "mask_grow": grow}
    whole = run(scene, folder / "whole", **wishes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask, "_BLOCK", block)
        cut = run(scene, folder / "cut", shard=shard, **wishes)
    outline = shapely.box(500_125, 5_298_911, 500_777, 5_299_777)
    geopandas.GeoDataFrame(geometry=[outline], crs="EPSG:32633").to_file(folder / "aoi.gpkg")
    part = run(scene, folder / "part", shard=shard, aoi=str(folder / "aoi.gpkg"), **wishes)
    for name in ("classes.tif", "mask.tif"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert (part / "mask.tif").read_bytes() == (whole / "mask.tif").read_bytes()
    with rasterio.open(part / "classes.tif") as clipped, rasterio.open(whole / "classes.tif") as of:
        inside, there = clipped.read(1), read_beneath(of, clipped)
    assert np.array_equal(inside[inside > 0], there[inside > 0])
    assert inside.any()


def test_a_run_goes_on_where_it_was(tmp_path: Path, scene: Path, sky: Path) -> None:
    wishes: dict[str, Any] = {"mask": f"model:{sky}", "mask_grow": 2, "shard": 64}
    out = run(scene, tmp_path / "out", **wishes)
    parts = {file.name: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}
    before = (out / "classes.tif").read_bytes(), (out / "mask.tif").read_bytes()

    def again(**wishes: Any) -> dict[str, int]:
        run(scene, out, **wishes)
        return {file.name: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}

    assert again(**wishes) == parts
    # the mask's own parts serve for another margin of it, and for the one that was lost
    (kept,) = (out / "parts").glob("mask-*.tif")
    kept.unlink()
    resumed = again(**wishes)
    shards = {name: time for name, time in parts.items() if name.startswith("r")}
    assert len(shards) > 4
    assert {name: resumed[name] for name in shards} == shards
    assert before == ((out / "classes.tif").read_bytes(), (out / "mask.tif").read_bytes())
    # without a model there is no mask of one
    run(scene, out)
    assert not (out / "mask.tif").exists()


def test_a_plan_says_what_the_mask_takes_and_writes_nothing(
    tmp_path: Path, scene: Path, sky: Path
) -> None:
    source = Source(paths=(str(scene),), mask=f"model:{sky}", mask_grow=3)
    request = Request(source=source, out=tmp_path / "out", segmenter=Otsu(index="NDVI"))
    plan = make_plan(request)
    facts = facts_of(plan)["mask"]
    assert facts["left_out"] == ["Cloud shadow", "Cloud"]
    assert facts["grow"] == 3
    assert facts["computed_pixels"] > 150 * 190
    assert facts["worker_bytes"] > 2**28
    said = describe(plan)["mask"]
    assert said.startswith("Cloud shadow, Cloud and 3 px around by sky left out, found first: 1 ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"mask": "=Fog"}, "has no class Fog, but 1 Clear, 3 Haze, 2 Cloud shadow, 4 Cloud"),
        ({"mask": "", "mask_values": (9,)}, "--mask-values 9 is no class of"),
        ({"mask": "", "mask_bits": (1,)}, "no bits; leave --mask-bits out"),
        ({"mask": "-missing"}, "-missing"),
        ({"mask": None, "mask_grow": 1}, "--mask-grow 1 is for masks that a model makes"),
    ],
)
def test_mistakes_are_told_in_a_line_and_leave_nothing(
    tmp_path: Path, scene: Path, sky: Path, wishes: dict[str, Any], told: str
) -> None:
    ending = wishes.pop("mask")
    if ending is not None:
        wishes["mask"] = f"model:{sky}{ending}"
    with pytest.raises(InputError) as mistake:
        run(scene, tmp_path / "out", **wishes)
    assert told in str(mistake.value).replace(str(sky), "sky")
    assert not (tmp_path / "out").exists()


def test_a_model_without_clouds_and_a_map_that_lacks_bands_are_told_before_any_pixel(
    tmp_path: Path, scene: Path, sky: Path
) -> None:
    land = a_bundle(tmp_path / "land").folder
    with pytest.raises(InputError, match=r"is called cloud or shadow; name those .* 1 Water"):
        run(scene, tmp_path / "out", mask=f"model:{land}")
    with pytest.raises(InputError, match="thermal"):
        run(scene, tmp_path / "out", Otsu(index="thermal"), mask=f"model:{sky}")
    assert not (tmp_path / "out").exists()


def test_a_form_takes_the_name_of_a_model_and_a_folder_in_reach(tmp_path: Path, sky: Path) -> None:
    def check(mask: str) -> None:
        source = Source(paths=(str(tmp_path / "a.tif"),), mask=mask)
        with restrict_access(AccessPolicy(roots=(tmp_path,), hosts=())):
            check_places(Request(source=source, out=tmp_path / "out", segmenter=Rules()))

    for in_reach in ("model:csmask-6b-l2a=Cloud", "band=5", "none", "scl"):
        check(in_reach)
    with pytest.raises(InputError, match=r"mask\.tif lies outside"):
        check("/elsewhere/mask.tif")
    check(f"model:{tmp_path}/b=Cloud,Haze")
    with pytest.raises(InputError, match=re.escape(str(sky.parent))):
        check(f"model:{sky}=Cloud")


@pytest.mark.slow
def test_indices_objects_and_training_have_a_mask_made_first(
    tmp_path: Path, scene: Path, sky: Path, landweave: Command
) -> None:
    """As if its file and values had been named; beside what they make, and once."""
    labels = write_labels(tmp_path / "labels.tif", truth_of(draw_pixels(150, 190)))
    work = {
        "train": ("--labels", labels, "--architecture", "random-forest", "--set", "trees=4"),
        "objects": ("--method", "zones"),
        "index": ("NDVI",),
    }
    model = ("--mask", f"model:{sky}=Cloud", "--mask-grow", "2")
    for command, more in work.items():
        out, by_hand = tmp_path / command, tmp_path / f"{command}-by-hand"
        status, _, error = landweave(command, scene, *more, *model, "--out", out)
        assert status == 0, error
        mask = tmp_path / f"{command}-mask" / "mask.tif"
        hidden = np.isin(read(mask), (4, 254))
        assert 0.01 < hidden.mean() < 0.9
        asked = ("--mask", mask, "--mask-values", "4,254", "--out", by_hand)
        status, _, error = landweave(command, scene, *more, *asked)
        assert status == 0, error
        if command == "train":
            taught, by_file = (load(one).card.training for one in (out, by_hand))
            assert taught["labelled pixels"] == by_file["labelled pixels"]
            assert sum(taught["labelled pixels"].values()) <= 150 * 190 - hidden.sum()
            continue
        name = "NDVI.tif" if command == "index" else "objects.tif"
        assert (out / name).read_bytes() == (by_hand / name).read_bytes()
        found = read(out / name)
        assert (np.isnan(found) if command == "index" else found == 0)[hidden].all()
    for command in ("index", "objects"):
        out = tmp_path / command
        before = kept_in(tmp_path / f"{command}-mask"), kept_in(out)
        assert landweave(command, scene, *work[command], *model, "--out", out)[0] == 0
        assert (kept_in(tmp_path / f"{command}-mask"), kept_in(out)) == before


def kept_in(folder: Path) -> dict[str, int]:
    """What a run's folder keeps for later runs, and when it was made."""
    return {part.name: part.stat().st_mtime_ns for part in (folder / "parts").glob("*.tif")}


def test_what_runs_no_model_says_how_to_make_the_mask(tmp_path: Path, scene: Path) -> None:
    source = Source(paths=(str(scene),), mask="model:csmask-6b-l2a")
    with pytest.raises(InputError, match=r"landweave segment --segmenter csmask-6b-l2a --min-area"):
        source.open()
    with pytest.raises(InputError, match="fit each by itself with --fit-each"):
        fit_series(KMeans(), [source], "key", tmp_path, keep=False, fresh=False)
