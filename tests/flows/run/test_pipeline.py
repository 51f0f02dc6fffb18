"""The guarantees of the design, end to end on drawn scenes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.compute.cluster import Cluster
from flows.plan.part_key import scene_facts
from flows.plan.plan import PROCESS_BYTES, RESAMPLING_BYTES, make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from flows.storage.run_folder import open_run
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.inference.engine import TORCH_BYTES
from segmentation.inference.network import Network
from segmentation.legend import LAND_COVER, Legend
from segmentation.segmenter import Footprint, Prediction, Segmenter
from tests.scenes import draw_pixels, draw_scene, read, read_beneath, write_scene
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.from_files import open_scene

pytestmark = pytest.mark.usefixtures("white_pictures")


class Blur(Segmenter):
    """Looks at its neighbours: exact only if every chip sees its margin, and the same no data
    beyond the raster."""

    kind: Literal["blur"] = "blur"
    tile: int = 64
    reach: int = 5
    needs_reflectance: ClassVar[bool] = True

    def bands(self, available: Any) -> tuple[str, ...]:
        return ("nir",)

    @property
    def legend(self) -> Legend:
        return LAND_COVER.subset(1, 2)

    @property
    def footprint(self) -> Footprint:
        return Footprint(self.tile, self.reach, 4)

    def __call__(self, chip: xr.Dataset) -> Prediction:
        from scipy.ndimage import uniform_filter

        valid = chip["valid"].values
        sums = uniform_filter(
            np.where(valid, chip["pixels"].values[0], 0).astype(np.int64), 2 * self.reach + 1
        )
        labels = np.where(sums > 1500, 2, 1).astype(np.uint8) * valid
        return Prediction(labels.astype(np.uint8), (sums % 101).astype(np.uint8))


class TiledRules(Rules):
    """The rules, cut as a test says: a method that looks at one pixel must not care."""

    kind: Literal["rules"] = "rules"
    cut: ClassVar[int] = 64

    @property
    def footprint(self) -> Footprint:
        return Footprint(tile=self.cut)


def run(
    scene: Path, out: Path, segmenter: Segmenter | None = None, workers: int = 0, **options: Any
) -> Path:
    request = Request(
        source=Source(paths=(str(scene),)), out=out, segmenter=segmenter or Rules(), **options
    )
    pipeline.run(request, on=Cluster(workers=workers))
    return out


def polygons(out: Path) -> list[tuple[int, int, float, bytes]]:
    frame = geopandas.read_file(out / "landcover.gpkg", layer="landcover")
    rows = zip(
        frame.region_id, frame.class_id, frame.area_m2, shapely.to_wkb(frame.geometry), strict=True
    )
    return sorted(rows)


def assert_same_products(one: Path, other: Path) -> None:
    for name in ("classes.tif", "confidence.tif"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert polygons(one) == polygons(other)
    assert (one / "areas.csv").read_bytes() == (other / "areas.csv").read_bytes()


@settings(max_examples=8)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    shard=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_the_answer_does_not_depend_on_the_shard(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, shard: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    scene = draw_scene(folder / "scene.tif", height, width, seed)
    assert_same_products(
        run(scene, folder / "whole", Blur(), shard=4096),
        run(scene, folder / "cut", Blur(), shard=shard),
    )


@pytest.mark.slow
@settings(max_examples=4)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.integers(8, 70),
    seed=st.integers(0, 99),
)
def test_methods_of_one_pixel_do_not_depend_on_the_tile(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, tile: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("tiles")
    scene = draw_scene(folder / "scene.tif", height, width, seed)
    whole = run(scene, folder / "whole")
    TiledRules.cut = tile
    assert_same_products(whole, run(scene, folder / "cut", TiledRules(), shard=2 * tile))


@pytest.mark.slow
@settings(max_examples=4)
@given(height=st.integers(1, 150), width=st.integers(1, 150), tile=st.sampled_from([8, 20, 33, 64]))
def test_tiled_equals_untiled_where_the_margin_covers_the_reach(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, tile: int
) -> None:
    folder = tmp_path_factory.mktemp("margin")
    scene = draw_scene(folder / "scene.tif", height, width, 3)
    whole, cut = (
        run(scene, folder / name, Blur(tile=size), products=("classes", "confidence"))
        for name, size in (("whole", 4096), ("cut", tile))
    )
    assert (whole / "classes.tif").read_bytes() == (cut / "classes.tif").read_bytes()
    assert (whole / "confidence.tif").read_bytes() == (cut / "confidence.tif").read_bytes()


@settings(max_examples=10)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 99))
def test_every_valid_pixel_gets_one_class_and_no_data_stays(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("valid")
    pixels = draw_pixels(height, width, seed)
    out = run(
        write_scene(folder / "scene.tif", pixels),
        folder / "out",
        products=("classes", "confidence"),
    )
    valid = (pixels > 0).all(axis=0)
    classes, confidence = read(out / "classes.tif"), read(out / "confidence.tif")
    assert np.array_equal(classes > 0, valid)
    assert set(np.unique(classes[valid])) <= set(LAND_COVER.values)
    assert np.array_equal(confidence == 255, ~valid)
    assert (confidence[valid] <= 100).all()


def test_polygons_are_those_of_the_whole_raster(tmp_path: Path) -> None:
    out = run(draw_scene(tmp_path / "scene.tif", 300, 260), tmp_path / "out", shard=64, simplify=0)
    with rasterio.open(out / "classes.tif") as source:
        classes = source.read(1)
        whole = [
            (int(value), shapely.geometry.shape(geometry).normalize().wkb)
            for geometry, value in rasterio.features.shapes(
                classes, mask=classes > 0, connectivity=4, transform=source.transform
            )
        ]
    frame = geopandas.read_file(out / "landcover.gpkg", layer="landcover")
    # ours carry a vertex where three regions meet, GDAL's do not: compare without straight-line
    # vertices
    bare = shapely.normalize(shapely.simplify(frame.geometry.values, 0))
    assert len(frame) == len(whole)
    assert sorted(frame.class_id) == sorted(value for value, _ in whole)
    assert shapely.coverage_is_valid(frame.geometry.values)
    expected = shapely.normalize(shapely.simplify(shapely.from_wkb([wkb for _, wkb in whole]), 0))
    assert sorted(zip(frame.class_id, shapely.to_wkb(bare), strict=True)) == sorted(
        zip([value for value, _ in whole], shapely.to_wkb(expected), strict=True)
    )


def test_an_area_of_interest_shows_the_pixels_of_the_whole_scene(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 200, 180)
    triangle = shapely.Polygon([(500_111, 5_299_812), (500_804, 5_299_433), (500_322, 5_298_801)])
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(geometry=[triangle], crs="EPSG:32633").to_crs("EPSG:4326").to_file(aoi)
    whole = run(scene, tmp_path / "whole", Blur(), shard=64)
    part = run(scene, tmp_path / "part", Blur(), shard=64, aoi=str(aoi))
    with (
        rasterio.open(part / "classes.tif") as clipped,
        rasterio.open(whole / "classes.tif") as full,
    ):
        inside = rasterio.features.geometry_mask(
            [triangle], clipped.shape, clipped.transform, invert=True
        )
        expected = read_beneath(full, clipped)
        assert np.array_equal(clipped.read(1), np.where(inside, expected, 0))
        assert inside.any()
        assert not inside.all()
    assert len(list((part / "parts").glob("*.tif"))) < len(list((whole / "parts").glob("*.tif")))


@pytest.mark.parametrize("north", [-10, 10])
def test_an_area_that_ends_within_a_pixel_holds_those_whose_middles_it_covers(
    tmp_path: Path, north: int
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 40, 40)
    with rasterio.open(scene, "r+") as file:
        file.transform = Affine(10, 0, 500_000, 0, north, 5_300_000)
        transform = file.transform
    (west, one), (east, other) = transform @ (3.3, 4.3), transform @ (20.7, 30.7)
    aoi = tmp_path / "aoi.gpkg"
    geopandas.GeoDataFrame(
        geometry=[shapely.box(west, one, east, other)], crs="EPSG:32633"
    ).to_file(aoi)
    whole = run(scene, tmp_path / "whole", min_area=0)
    part = run(scene, tmp_path / "part", min_area=0, aoi=str(aoi))
    with rasterio.open(part / "classes.tif") as clipped:
        assert clipped.shape == (27, 18)
        assert np.array_equal(clipped.read(1), read(whole / "classes.tif")[4:31, 3:21])


@pytest.mark.parametrize("segmenter", [Rules(), Otsu(index="NDVI")])
def test_a_finished_run_is_not_done_again(tmp_path: Path, segmenter: Segmenter) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 150, 150), tmp_path / "out"
    run(scene, out, segmenter, shard=64)
    first = {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    products = {name: (out / name).read_bytes() for name in ("classes.tif", "confidence.tif")}
    lost = sorted((out / "parts").glob("*.tif"))[0]
    lost.unlink()
    run(scene, out, segmenter, shard=64)
    again = {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    assert again.keys() == first.keys()
    assert [name for name in first if first[name] != again[name]] == [lost.name]
    assert products == {name: (out / name).read_bytes() for name in products}


def test_fresh_does_everything_again(tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 80, 80), tmp_path / "out"
    run(scene, out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.tif")}
    run(scene, out, fresh=True)
    after = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.tif")}
    assert before.keys() == after.keys()
    assert not set(before.items()) & set(after.items())


def test_products_not_asked_for_again_do_not_linger(tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 80, 80), tmp_path / "out"
    run(scene, out)
    run(scene, out, products=("classes",))
    assert (out / "classes.tif").exists()
    assert not (out / "landcover.gpkg").exists()
    assert not (out / "confidence.tif").exists()


def part_keys(scene: Path, segmenter: Segmenter, out: Path, **source: Any) -> set[str]:
    request = Request(source=Source(paths=(str(scene),), **source), out=out, segmenter=segmenter)
    with open_run(out) as folder:
        plan = make_plan(request, folder)
        return {plan.part_key(shard, {"library": "1"}) for shard in plan.shards}


OTHER_VALUES: dict[str, Any] = {"index": "NDWI", "above": "Lush", "below": "Barren"}


@pytest.mark.parametrize("segmenter", [Rules(), Otsu(index="NDVI"), Blur()], ids=lambda s: s.kind)
def test_every_setting_of_a_segmenter_changes_the_part_key(
    tmp_path: Path, segmenter: Segmenter
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 90, 90)
    keys = [part_keys(scene, segmenter, tmp_path / "out")]
    for name, field in type(segmenter).model_fields.items():
        if name in ("kind", "fitted"):
            continue
        value = getattr(segmenter, name)
        other = OTHER_VALUES.get(name) or (
            value + 1 if isinstance(value, int) else round(value * 0.9 + 0.003, 4)
        )
        changed = type(segmenter).model_validate(
            {**segmenter.model_dump(exclude={"fitted"}), name: other}
        )
        keys.append(part_keys(scene, changed, tmp_path / "out"))
        assert field is not None
    for i, one in enumerate(keys):
        for other in keys[i + 1 :]:
            assert not one & other


def test_what_the_pixels_follow_from_changes_the_part_key(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 90, 90)
    keys = [
        part_keys(scene, Rules(), tmp_path / "out"),
        part_keys(scene, Rules(), tmp_path / "out", nodata=7),
        part_keys(scene, Rules(), tmp_path / "out", scale=0.00015),
        part_keys(scene, Rules(), tmp_path / "out", offset=-0.1, scale=0.0001),
        part_keys(scene, Rules(), tmp_path / "out", bands={"red": 1, "green": 2, "nir": 4}),
        part_keys(scene, Rules(), tmp_path / "out", mask="band=6", mask_values=(2,)),
        part_keys(scene, Rules(), tmp_path / "out", mask="band=6", mask_values=(3,)),
    ]
    os.utime(scene, ns=(1, 1))
    keys.append(part_keys(scene, Rules(), tmp_path / "out"))
    for i, one in enumerate(keys):
        for other in keys[i + 1 :]:
            assert not one & other


def test_another_library_or_device_makes_parts_of_its_own(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 90, 90)
    plan = make_plan(
        Request(source=Source(paths=(str(scene),)), out=tmp_path / "out", segmenter=Rules())
    )
    runtimes = [{}, {"torch": "2.6"}, {"torch": "2.7"}, {"torch": "2.6", "device": "cuda"}]
    assert len(
        {plan.part_key(shard, runtime) for shard in plan.shards for runtime in runtimes}
    ) == 4 * len(plan.shards)


def test_what_lies_beneath_in_a_mosaic_changes_the_part_key(tmp_path: Path) -> None:
    upper, lower = (open_scene([str(draw_scene(tmp_path / f"{n}.tif", 40, 40, n))]) for n in (1, 2))
    masked = open_scene([str(tmp_path / "2.tif")], mask="band=6", mask_values=(3,))
    mosaics = [
        upper,
        *(
            replace(upper, acquisitions=(*upper.acquisitions, *below.acquisitions))
            for below in (lower, masked, lower.calibrate(1e-3, 0.0, lower.band_names))
        ),
        replace(
            upper,
            acquisitions=(
                *upper.acquisitions,
                replace(lower.acquisitions[0], extent=Window(0, 0, 9, 9)),
            ),
        ),
    ]
    assert len({json.dumps(scene_facts(scene, ("red", "nir"))) for scene in mosaics}) == len(
        mosaics
    )


def test_the_memory_of_a_worker_counts_what_lies_beneath_what_is_moved_and_what_is_done_at_once(
    tmp_path: Path,
) -> None:
    paths = [str(draw_scene(tmp_path / f"{n}.tif", 300, 300, n)) for n in (1, 2)]
    plain = make_plan(
        Request(
            source=Source(paths=(paths[0],)), out=tmp_path / "out", segmenter=Rules(), shard=128
        )
    )
    images = (*plain.scene.acquisitions, *open_scene([paths[1]]).acquisitions)
    layered = replace(plain, scene=replace(plain.scene, acquisitions=images))
    bands = tuple(replace(band, resampled=True) for band in plain.scene.bands)
    moved = replace(plain.scene, acquisitions=(replace(images[0], bands=bands),))
    shard = max(shard.window.area for shard in plain.shards)
    read = shard * (2 * len(plain.bands) + 1)
    assert layered.worker_bytes(1) - plain.worker_bytes(1) == read
    assert (
        plain.worker_bytes(1, 3) - plain.worker_bytes(1, 2)
        == read + shard * plain.segmenter.bytes_kept
    )
    assert replace(plain, scene=moved).worker_bytes(1) - plain.worker_bytes(1) == RESAMPLING_BYTES
    assert plain.worker_bytes(1) > PROCESS_BYTES
    demo = replace(plain, segmenter=Network(bundle="demo", device="cpu"))
    lean = replace(plain, segmenter=Network(bundle="demo", device="cpu", runtime="openvino"))
    assert demo.worker_bytes(1) - lean.worker_bytes(1) == TORCH_BYTES


def test_a_scale_that_pixels_showed_is_remembered(tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 150, 150), tmp_path / "out"
    with rasterio.open(scene, "r+") as file:
        file.scales = (1.0,) * file.count
    run(scene, out, shard=64)
    before = {part.name: part.stat().st_mtime_ns for part in (out / "parts").iterdir()}
    products = {name: (out / name).read_bytes() for name in ("classes.tif", "areas.csv")}
    run(scene, out, shard=64, simplify=0)
    assert {part.name: part.stat().st_mtime_ns for part in (out / "parts").iterdir()} == before
    assert {name: (out / name).read_bytes() for name in products} == products
    assert len(np.unique(read(out / "classes.tif"))) > 3


def test_the_shard_and_the_products_leave_the_fit_alone(tmp_path: Path) -> None:
    scene, out = draw_scene(tmp_path / "scene.tif", 150, 150), tmp_path / "out"
    run(scene, out, Otsu(index="NDVI"), shard=64)
    fits = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("fit-*.json")}
    run(scene, out, Otsu(index="NDVI"), shard=100, products=("classes",))
    assert fits == {
        path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("fit-*.json")
    }
    assert len(fits) == 1


class Broken(Blur):
    """Fails on the second row of shards."""

    def __call__(self, chip: xr.Dataset) -> Prediction:
        if chip["pixels"].values.max() > 60_000:
            raise RuntimeError("this chip is too bright")
        return super().__call__(chip)


def test_a_shard_that_fails_fails_the_run_and_the_others_are_kept(tmp_path: Path) -> None:
    pixels = draw_pixels(200, 60)
    pixels[:, 150, 20] = 65_000
    scene, out = write_scene(tmp_path / "scene.tif", pixels), tmp_path / "out"
    with pytest.raises(
        RuntimeError,
        match=r"1 of 3 shards failed and the others are kept; the first, rows 136–199, columns "
        r"0–59: .*too bright",
    ):
        run(scene, out, Broken(), shard=64)
    assert len(list((out / "parts").glob("*.tif"))) == 2
    assert not (out / "classes.tif").exists()
    assert not (out / "run.json").exists()


class Liar(Blur):
    """Labels a pixel that has no data."""

    def __call__(self, chip: xr.Dataset) -> Prediction:
        return Prediction(np.ones(chip["valid"].shape, np.uint8))


def test_a_segmenter_that_labels_no_data_is_named(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 60, 60)
    with pytest.raises(
        RuntimeError, match="blur broke its contract: it labelled pixels that are not valid"
    ):
        run(scene, tmp_path / "out", Liar())


def test_two_runs_in_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 60, 60)
    with (
        open_run(tmp_path / "out"),
        pytest.raises(InputError, match=rf"in use by process {os.getpid()} on"),
    ):
        run(scene, tmp_path / "out")


def test_who_is_refused_a_folder_reads_which_run_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 60, 60)
    monkeypatch.setenv("LANDWEAVE_RUN", "valley · rules")
    with (
        open_run(tmp_path / "out"),
        pytest.raises(InputError, match=r"process \d+ on \S+, the run “valley · rules”;"),
    ):
        run(scene, tmp_path / "out")


def test_the_record_tells_what_was_done(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 120, 100)
    out = run(scene, tmp_path / "out", Otsu(index="NDVI"), reference=str(scene_truth(scene)))
    record = json.loads((out / "run.json").read_text())
    assert record["segmenter"]["kind"] == "otsu"
    assert record["segmenter"]["fitted"]
    assert {band["name"] for band in record["scene"]["bands"]} == {"nir", "red"}
    assert record["scene"]["files"][0]["size"] == scene.stat().st_size
    assert sum(area["pixels"] for area in record["areas"]) == int((read(scene, 3) > 0).sum())
    assert record["accuracy"]["overall_accuracy"] == 1.0
    assert set(record["seconds"]) == {"plan", "segment", "join", "vectorise", "publish"}


def scene_truth(scene: Path) -> Path:
    """The map itself, made once more elsewhere, as a reference with which it must agree."""
    return run(scene, scene.parent / "truth", Otsu(index="NDVI")) / "classes.tif"


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 400, 300)
    alone = run(scene, tmp_path / "alone", Otsu(index="NDVI"), shard=64)
    assert_same_products(
        alone, run(scene, tmp_path / "two", Otsu(index="NDVI"), workers=2, shard=100)
    )


@pytest.fixture(scope="module")
def of_many_shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scene of 36 shards of 256 pixels squared, and an undisturbed run of it."""
    folder = tmp_path_factory.mktemp("many")
    scene = draw_scene(folder / "scene.tif", 1500, 1400)
    return scene, run(scene, folder / "undisturbed", shard=256)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_run_resumes_to_the_same_bytes(
    tmp_path: Path, of_many_shards: tuple[Path, Path], after: int
) -> None:
    """kill -9 in the middle costs the shard in hand and nothing else."""
    (scene, undisturbed), out = of_many_shards, tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "segment",
        str(scene),
        "--out",
        str(out),
        "--shard",
        "256",
    ]
    process = subprocess.Popen(
        [*command, "--workers", "0"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200  # on a busy machine Python's imports take a minute
    while len(done := list((out / "parts").glob("r*.tif"))) < after and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert len(done) >= after
    assert not (out / "run.json").exists(), "the run was quicker than the kill"
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("r*.tif")}
    assert len(kept) < 30, "so little was left to do that nothing is shown"
    run(scene, out, shard=256)
    assert (
        kept.items()
        <= {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("r*.tif")}.items()
    )
    assert_same_products(undisturbed, out)
    assert not list(out.glob(".work-*")) + list((out / "parts").glob(".*"))
