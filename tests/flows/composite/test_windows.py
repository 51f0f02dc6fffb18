"""Windows of time as one scene: the composites of those who make them by hand, and one map."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from flows.composite.images import open_composite
from flows.composite.windows import stack_windows, windows_for_a_look
from flows.composite.write import write_composite
from flows.compute.pool import ThisProcess
from flows.errors import INPUT_ERRORS
from flows.requests.commandline import segment_line
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import Source
from flows.run.pipeline import run
from flows.stac.query import Search
from segmentation.spectral.composites import method_of
from tests.stac import asset, catalogue, item
from tests.tiling.rasters import UTM, write
from tiling.errors import InputError

DAYS = ("2024-04-03", "2024-05-11", "2024-05-30", "2024-08-02", "2024-08-30", "2024-10-01")
WINDOWS = {"early": "2024-04/2024-05", "late": "2024-08"}
SHAPE = 40, 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six dated images, the last in no window, and beside it labels."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(8)
    for number, day in enumerate(DAYS):
        pixels = rng.integers(500, 900, (3, *SHAPE)).astype("uint16")
        pixels[2, :, 25:] += 3000 if number < 3 else 0  # green on the right in spring
        pixels[2, 20:] += 2500 if number >= 3 else 0  # and below in summer
        pixels[:, rng.random(SHAPE) < 0.2] = 0
        write(folder / f"s2_{day}.tif", pixels, names=("green", "red", "nir"), scale=1e-4,
              nodata=0, crs=UTM)  # fmt: skip
    return folder


def source_of(folder: Path, **more: Any) -> Source:
    return Source(paths=(str(folder),), windows=WINDOWS, **more)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tif")}


def test_a_window_is_the_composite_of_the_images_in_it(folder: Path, tmp_path: Path) -> None:
    made = stack_windows(source_of(folder), tmp_path / "w")
    scene = made.open()
    assert scene.band_names == (
        "early.green", "early.red", "early.nir", "late.green", "late.red", "late.nir",
    )  # fmt: skip
    images = [str(folder / f"s2_{day}.tif") for day in DAYS[:3]]
    median = method_of("median")
    write_composite(
        open_composite(Source(), images, median), median, tmp_path / "early.tif", ThisProcess(1)
    )
    assert (tmp_path / "w" / "early.tif").read_bytes() == (tmp_path / "early.tif").read_bytes()
    item = (tmp_path / "w" / "late.json").read_text()
    assert DAYS[3] in item
    assert DAYS[5] not in item


@pytest.mark.parametrize("method", ["median", "latest", "max=NDVI"])
def test_no_order_of_the_images_changes_a_byte(folder: Path, tmp_path: Path, method: str) -> None:
    stack_windows(source_of(folder, window_method=method), tmp_path / "folder")
    first, *others = [str(folder / f"s2_{day}.tif") for day in DAYS]
    listed = Source(paths=(first, *others[::-1]), windows=WINDOWS, window_method=method)
    stack_windows(listed, tmp_path / "files")
    assert files_of(tmp_path / "files") == files_of(tmp_path / "folder")


def test_what_is_there_is_made_again_only_if_it_follows_from_other_images(
    folder: Path, tmp_path: Path
) -> None:
    def times() -> list[int]:
        return [(tmp_path / f"{name}.tif").stat().st_mtime_ns for name in WINDOWS]

    stack_windows(source_of(folder), tmp_path)
    before = times()
    stack_windows(source_of(folder), tmp_path)
    assert times() == before
    moved = {**WINDOWS, "late": "2024-08/2024-10"}
    stack_windows(Source(paths=(str(folder),), windows=moved), tmp_path)
    assert (times()[0] == before[0], times()[1] == before[1]) == (True, False)


def test_a_look_leaves_nothing(folder: Path) -> None:
    with windows_for_a_look(source_of(folder)) as source:
        files = [Path(path.partition("=")[2]) for path in source.composites]
        assert len(files) == 2
        assert all(file.exists() for file in files)
    assert not any(file.exists() for file in files)


@pytest.fixture(scope="module")
def mapped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("map") / "run"
    segmenter = choose_segmenter("kmeans", {"k": 4})
    request = Request(source=source_of(folder), out=out, segmenter=segmenter, products=("classes",))
    run(request)
    return out


def test_a_map_of_windows_tells_apart_what_no_date_alone_does(mapped: Path) -> None:
    with rasterio.open(mapped / "classes.tif") as raster:
        classes = raster.read(1)
    halves = (classes[:20], classes[20:])
    quarters = [part for half in halves for part in (half[:, :25], half[:, 25:])]
    most = [np.bincount(quarter.ravel(), minlength=5).argmax() for quarter in quarters]
    assert len({*most}) == 4
    assert (mapped / "windows" / "early.tif").exists()


def test_a_map_of_windows_is_that_of_the_files_by_hand(
    mapped: Path, tmp_path: Path, landweave: Any
) -> None:
    windows = [f"{name}={mapped / 'windows' / name}.tif" for name in WINDOWS]
    status, _, error = landweave(
        "segment", *windows, "--segmenter", "kmeans", "--set", "k=4", "--products",
        "classes", "--workers", "0", "--shard", "512", "-o", tmp_path / "run",
    )  # fmt: skip
    assert status == 0, error
    assert (tmp_path / "run" / "classes.tif").read_bytes() == (mapped / "classes.tif").read_bytes()


def test_a_map_of_windows_is_made_again_by_the_words_that_made_it(
    mapped: Path, folder: Path, landweave: Any
) -> None:
    record = json.loads((mapped / "run.json").read_text())
    line = segment_line(Request.model_validate(record["request"]))
    assert f"{folder} --window early=2024-04/2024-05,late=2024-08" in line
    before = {path.name: path.stat().st_mtime_ns for path in (mapped / "windows").iterdir()}
    classes = (mapped / "classes.tif").read_bytes()
    status, _, error = landweave(*shlex.split(line)[1:], "--workers", "0")
    assert status == 0, error
    assert {p.name: p.stat().st_mtime_ns for p in (mapped / "windows").iterdir()} == before
    assert (mapped / "classes.tif").read_bytes() == classes


def test_an_index_is_computed_in_each_window(folder: Path, tmp_path: Path, landweave: Any) -> None:
    windows = ("--window", "early=2024-04/2024-05", "--window", "late=2024-08")
    status, out, error = landweave("index", folder, "NDVI", *windows, "-o", tmp_path, "--json")
    assert status == 0, error
    files = json.loads(out)["files"]
    assert list(files) == ["early/NDVI", "late/NDVI"]
    for name in WINDOWS:
        alone = tmp_path / f"{name}-alone"
        landweave("index", tmp_path / "windows" / f"{name}.tif", "NDVI", "-o", alone)
        made = (tmp_path / name / "NDVI.tif").read_bytes()
        assert made == (alone / "NDVI.tif").read_bytes()


@pytest.mark.slow
def test_plan_objects_and_train_take_windows(folder: Path, tmp_path: Path, landweave: Any) -> None:
    windows = ("--window", "early=2024-04/2024-05,late=2024-08")
    status, out, error = landweave("plan", folder, *windows, "--segmenter", "kmeans")
    assert (status, "early.nir" in out) == (0, True), error
    status, _, error = landweave(
        "objects", folder, *windows, "--workers", "0", "-o", tmp_path / "objects"
    )
    assert status == 0, error
    labels = np.ones(SHAPE, "uint8")
    labels[20:] = 2
    write(tmp_path / "labels.tif", labels, crs=UTM, nodata=0)
    status, _, error = landweave(
        "train", folder, *windows, "--labels", tmp_path / "labels.tif", "--architecture",
        "random-forest", "-o", tmp_path / "model",
    )  # fmt: skip
    assert status == 0, error
    assert "late.nir" in (tmp_path / "model" / "model.json").read_text()


@pytest.mark.parametrize(
    ("windows", "more", "message"),
    [
        ({"early": "2023"}, {}, "none of the 6 images is of that time; they are of 2024-04-03"),
        ({"red": "2024"}, {}, "names a band or is no name"),
        ({"b": "2024"}, {}, "names a band or is no name"),
        ({"é": "2024"}, {}, "names a band or is no name"),
        ({"early": "spring"}, {}, "--window spring is no date"),
        ({"early": "2024"}, {"window_method": "best"}, "there is no method 'best'"),
        ({"early": "2024"}, {"mask": "model:csmask-6b-l2a"}, "runs a model on each image"),
    ],
)
def test_what_cannot_be_a_window_is_said_in_a_line(
    folder: Path, tmp_path: Path, windows: dict[str, str], more: dict[str, str], message: str
) -> None:
    with pytest.raises(INPUT_ERRORS, match=message) as raised:
        stack_windows(Source(paths=(str(folder),), windows=windows, **more), tmp_path / "w")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "w").exists()


def test_a_command_that_makes_no_composites_says_who_does(folder: Path) -> None:
    with pytest.raises(InputError, match="make each with landweave composite"):
        source_of(folder).open()


def test_a_search_gives_a_mosaic_for_each_day(folder: Path, tmp_path: Path) -> None:
    items = []
    for day in DAYS:
        file = folder / f"s2_{day}.tif"
        bands = {"visual": asset(file, ["green", "red", "nir"], scale=1e-4, nodata=0)}
        items.append(item(f"i{day}", bands, day=day))
    place = catalogue(tmp_path / "catalogue", items)
    found = Source(search=Search(catalogue=place), windows=WINDOWS)
    made = stack_windows(found, tmp_path / "search").open()
    assert made.band_names[:3] == ("early.green", "early.red", "early.nir")
    stack_windows(source_of(folder), tmp_path / "files")
    for name in WINDOWS:
        with (
            rasterio.open(tmp_path / "search" / f"{name}.tif") as one,
            rasterio.open(tmp_path / "files" / f"{name}.tif") as other,
        ):
            np.testing.assert_array_equal(one.read(), other.read())
