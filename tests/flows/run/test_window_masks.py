"""A model's mask of each image in a window of time: the composites are those of the images without
what the model says, however they were named and whoever worked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.composite.windows import stack_windows, windows_for_a_look
from flows.compute import cluster
from flows.compute.cluster import Cluster
from flows.crops.run import CropsPlan, open_crops
from flows.crops.watch import watch_crops
from flows.products import mask
from flows.requests.crops.request import CropsRequest
from flows.requests.crops.watch import Alerts, CropsWatch
from flows.requests.dates.series import PixelSettings, SeriesRequest
from flows.requests.source import Source
from flows.run import pipeline
from flows.run.mask_first import mask_first, open_masked
from flows.timeseries.run import open_series, run_series
from tests.conftest import Run as Command
from tests.flows.run.test_mask import SKY
from tests.scenes import draw_pixels, read, write_scene
from tests.segmentation.small_networks import a_bundle
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

DAYS = ("2024-04-03", "2024-05-11", "2024-08-02", "2024-10-01")
WINDOWS = {"early": "2024-04/2024-05", "year": "2024-04/2024-08"}
HIDDEN = (2, 4)
"""Cloud shadow and Cloud."""


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that sees clouds here and there."""
    return a_bundle(tmp_path_factory.mktemp("sky") / "b", legend=SKY, name="sky").folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of four days, each the land turned another way; the last in no window."""
    folder, land = tmp_path_factory.mktemp("images"), draw_pixels(90, 90)
    turned = (np.ascontiguousarray(np.rot90(land, turns, (1, 2))) for turns in range(4))
    return [
        write_scene(folder / f"s2_{day}.tif", one) for day, one in zip(DAYS, turned, strict=True)
    ]


def make(
    images: list[Path], sky: Path, out: Path, windows: dict[str, str] = WINDOWS, **more: Any
) -> dict[str, bytes]:
    """The composites of windows, with masks by the model; their bytes."""
    on = more.pop("on", Cluster(workers=0))
    asked = Source(paths=tuple(map(str, images)), windows=windows, mask=f"model:{sky}", **more)
    made = stack_windows(mask_first(asked, out, on=on), out / "windows", on)
    assert not made.has_model
    assert made.mask == asked.mask
    return {path.name: path.read_bytes() for path in (out / "windows").glob("*.tif")}


@pytest.fixture(scope="module")
def made(images: list[Path], sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, with its composites and, beside it, its masks."""
    out = tmp_path_factory.mktemp("made") / "out"
    make(images, sky, out, mask_grow=2)
    return out


def test_composites_are_those_of_images_without_what_the_model_says(
    images: list[Path], made: Path, tmp_path: Path
) -> None:
    """By hand: pixels of each image that its mask hides are cut out of the file by numpy."""
    folders = sorted((made.parent / "out-mask").iterdir())
    assert [folder.name[:10] for folder in folders] == list(DAYS[:3])  # each once, in two windows
    for image, folder in zip(images, folders, strict=False):
        hidden = np.isin(read(folder / "mask.tif"), (*HIDDEN, 254))
        assert 0.02 < hidden.mean() < 0.9
        with rasterio.open(image) as file:
            pixels, profile, names = file.read(), file.profile, file.descriptions
        pixels[:, hidden] = 0
        with rasterio.open(tmp_path / image.name, "w", **profile | {"nodata": 0}) as cut:
            cut.write(pixels)
            cut.descriptions, cut.scales = names, [1e-4] * len(names)
    stack_windows(Source(paths=(str(tmp_path),), windows=WINDOWS), tmp_path / "windows")
    for name in WINDOWS:
        with (
            rasterio.open(tmp_path / "windows" / f"{name}.tif") as expected,
            rasterio.open(made / "windows" / f"{name}.tif") as found,
        ):
            np.testing.assert_array_equal(found.read(), expected.read())


def test_neither_order_nor_cut_change_a_byte(
    images: list[Path], sky: Path, made: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask, "_BLOCK", 31)
        first, *others = images
        found = make([first, *others[::-1]], sky, tmp_path / "out", mask_grow=2)
    assert found == {path.name: path.read_bytes() for path in (made / "windows").glob("*.tif")}


@pytest.mark.slow
def test_workers_change_no_byte(images: list[Path], sky: Path, tmp_path: Path) -> None:
    windows = {"early": "2024-04"}
    found = [
        make(images[:1], sky, tmp_path / str(workers), windows, on=Cluster(workers=workers))
        for workers in (0, 2)
    ]
    assert found[0] == found[1]


def test_a_later_run_makes_again_only_what_another_mask_changes(
    images: list[Path], sky: Path, made: Path
) -> None:
    def times() -> list[int]:
        files = [*(made / "windows").glob("*.tif"), *(made.parent / "out-mask").glob("*/parts/*")]
        return [file.stat().st_mtime_ns for file in sorted(files)]

    before = times()
    same = make(images, sky, made, mask_grow=2)
    assert times() == before
    assert make(images, sky, made) != same
    assert make(images, sky, made, mask_grow=2) == same


def test_a_map_an_index_and_a_plan(
    images: list[Path], sky: Path, made: Path, tmp_path: Path, landweave: Command
) -> None:
    asked = (images[0].parent, "--window", "early=2024-04/2024-05,year=2024-04/2024-08")
    model = ("--mask", f"model:{sky}", "--mask-grow", "2", "--out", tmp_path / "out")
    status, _, error = landweave(
        "segment", *asked, "--segmenter", "kmeans", "--products", "classes", "--min-area", "0",
        "--workers", "0", *model,
    )  # fmt: skip
    assert status == 0, error
    for name in WINDOWS:
        there = tmp_path / "out" / "windows" / f"{name}.tif"
        assert there.read_bytes() == (made / "windows" / f"{name}.tif").read_bytes()
    status, _, error = landweave("index", *asked, "NDVI", *model)
    assert status == 0, error
    with (
        rasterio.open(made / "windows" / "early.tif") as early,
        rasterio.open(tmp_path / "out" / "early" / "NDVI.tif") as index,
    ):
        looks = early.read(early.count)
        assert (looks == 0).any()
        assert np.isnan(index.read(1)[looks == 0]).all()
    status, _, error = landweave("plan", *asked, "--segmenter", "kmeans", *model)
    assert (status, error.count("\n")) == (2, 1), error
    assert "which segment, objects, train and index do" in error


def test_mistakes_are_told_before_a_model_looks(
    images: list[Path], sky: Path, tmp_path: Path
) -> None:
    asked = Source(paths=(str(images[0]),), windows={"late": "2023"}, mask=f"model:{sky}")
    with pytest.raises(InputError, match="none of the 1 images is of that time"):
        mask_first(asked, tmp_path / "out")
    with pytest.raises(InputError, match="has no class Fog"):
        make(images, Path(f"{sky}=Fog"), tmp_path / "out")
    with (
        pytest.raises(InputError, match="name the raster of a mask"),
        windows_for_a_look(asked.model_copy(update={"windows": WINDOWS})),
    ):
        pass
    assert not any(tmp_path.iterdir())


def test_a_composite_and_a_series_of_dates(
    images: list[Path], sky: Path, made: Path, tmp_path: Path, landweave: Command
) -> None:
    model = ("--mask", f"model:{sky}", "--mask-grow", "2", "--workers", "0")
    out = tmp_path / "early.tif"
    status, _, error = landweave(
        "composite", *images[1::-1], "--like", images[0], "--out", out, *model
    )
    assert status == 0, error
    assert len([*(tmp_path / "early.tif-mask").iterdir()]) == 2
    with rasterio.open(out) as found, rasterio.open(made / "windows" / "early.tif") as expected:
        np.testing.assert_array_equal(found.read()[:-1], expected.read()[: found.count - 1])
    status, _, error = landweave(
        "series", *images[:3], "--index", "NDVI", "--pixels", "--out", tmp_path / "season", *model
    )
    assert status == 0, error
    status, _, error = landweave("composite", *images, "--method", "max=XX", "--out", out, *model)
    assert status == 2


def test_a_file_that_was_replaced_gets_a_mask_of_its_own(
    images: list[Path], sky: Path, made: Path, tmp_path: Path
) -> None:
    """Of the same name and size, before a run and while a model looks."""
    here, out = tmp_path / images[0].name, tmp_path / "out"
    shutil.copy(images[0], here)
    early = {"early": "2024-04"}
    first = make([here], sky, out, early)
    shutil.copy(images[2], here)
    second = make([here], sky, out, early)
    fresh = make([here], sky, tmp_path / "other", early)
    assert second == fresh != first

    def replace(*_: object) -> None:
        os.utime(here, (1, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "make_parts", replace)
        with pytest.raises(InputError, match="was replaced while a model looked"):
            make([here], sky, tmp_path / "raced", early)
    asked = Source(paths=(str(here),), windows=early, mask=f"model:{sky}")
    masked = mask_first(asked, out)
    os.utime(here, (2, 2))
    with pytest.raises(InputError, match="was replaced after a model looked"):
        stack_windows(masked, out / "windows")


@pytest.mark.slow
def test_what_is_to_be_known_of_a_mask_is_told(
    images: list[Path], tmp_path: Path, landweave: Command
) -> None:
    """By everything that has a model look first: of which images, and each thing once."""
    model = a_bundle(tmp_path / "model", legend=SKY, name="sky", gsd=5).folder
    how = ("--mask", f"model:{model}", "--workers", "0")
    kmeans = ("--segmenter", "kmeans", "--products", "classes", "--min-area", "0")
    both = "and 1 more: sky wants pixels of 5 m"
    for number, (told, *line) in enumerate(
        [
            (both, "composite", *images[:2]),
            (both, "segment", *images[:2], "--window", "year=2024", *kmeans),
            (": sky wants pixels of 5 m", "index", images[0], "NDVI"),
            (": sky wants pixels of 5 m", "objects", images[0], "--method", "superpixels"),
        ]
    ):
        out = ("--out", tmp_path / f"{number}.tif")
        workers = how[:2] if line[0] == "index" else how
        status, _, error = landweave(*line, *workers, *out)
        assert status == 0, error
        assert error.count(f"of the mask of {images[0].stem} {told}".replace(" :", ":")) == 1, error


def test_fresh_makes_masks_again(images: list[Path], sky: Path, tmp_path: Path) -> None:
    asked = Source(paths=(str(images[0]),), mask=f"model:{sky}")

    def times(**how: bool) -> list[int]:
        mask_first(asked, tmp_path / "out", on=Cluster(workers=0), **how)
        files = sorted((tmp_path / "out-mask" / "parts").iterdir())
        return [file.stat().st_mtime_ns for file in files]

    before = times()
    assert times() == before
    assert not {*times(fresh=True)} & {*before}


@pytest.mark.slow
def test_workers_mask_a_series_and_watched_fields_as_this_process_does(
    images: list[Path], sky: Path, tmp_path: Path, two_workers: str
) -> None:
    with rasterio.open(images[0]) as file:
        west, south, east, north = file.bounds
        field = shapely.box(west, south, (west + east) / 2, north)
        frame = geopandas.GeoDataFrame(geometry=[field], crs=file.crs)
    frame.to_file(tmp_path / "fields.gpkg")
    mask, two = f"model:{sky}", (str(images[0]), str(images[1]))
    found: list[list[tuple[str, bytes]]] = []
    for on in (Cluster(workers=0), Cluster(kind=two_workers)):
        out = tmp_path / str(len(found))
        asked = SeriesRequest(
            scenes=two,
            names=("NDVI",),
            out=out / "series",
            each=PixelSettings(pixels=True),
            source=Source(mask=mask),
        )
        plan = open_masked(asked, open_series, on=on)
        with cluster.start(on, plan.work) as pool:
            run_series(plan, pool)
        crops = CropsRequest(
            scenes=(),
            fields=str(tmp_path / "fields.gpkg"),
            out=out / "crops",
            names=("NDVI",),
            source=Source(paths=two, mask=mask),
        )

        def look(
            crops: CropsRequest, paths: Sequence[tuple[str, ...]], on: Cluster = on
        ) -> CropsPlan:
            return open_masked(crops, partial(open_crops, paths=paths), images=paths, on=on)

        watch_crops(CropsWatch(crops=crops, alerts=Alerts(settle_seconds=0)), open=look, on=on)
        masks = sorted(out.glob("*-mask/*/parts/mask-*.tif"))
        assert len(masks) == 2 * len(two)
        files = [*masks, *(out / "series").glob("*.tif"), out / "crops" / "crops.csv"]
        found.append([(file.name, file.read_bytes()) for file in files])
    assert found[0] == found[1]
