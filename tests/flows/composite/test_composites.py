"""Several dates as one image: numpy's answer on the whole stack, however the work is cut."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from scipy.ndimage import distance_transform_edt

from flows.composite import write as composites
from flows.composite.images import Images, open_composite
from flows.composite.write import window_size, work_of, write_composite
from flows.compute.cluster import Cluster, start
from flows.compute.pool import ThisProcess
from flows.requests.source import Source
from segmentation.spectral import indices
from segmentation.spectral.composites import Method, method_of
from tests.killed import Killed, killed_after
from tests.tiling.rasters import UTM, write
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.from_files import open_scene

NAMES = ("blue", "green", "red", "nir")
DAYS = ("2024-05-03", "2024-06-01", "2024-06-01", "2024-07-20", "2024-08-30")
CALIBRATIONS = ((1e-4, 0.0), (1e-4, -0.1), (2e-4, 0.0), (1e-4, 0.0), (1e-4, -0.1))
METHODS = ("median", "mean", "latest", "max=NDVI", "max=EVI2", "best-clear", "best-clear=3")
SHAPE = 70, 90


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five images, two of one day, each with a scale and offset of its own and holes."""
    folder, rng = tmp_path_factory.mktemp("dates"), np.random.default_rng(3)
    files = []
    for number, (day, (scale, offset)) in enumerate(zip(DAYS, CALIBRATIONS, strict=True)):
        pixels = rng.integers(1100, 5000, (4, *SHAPE)).astype("uint16")
        pixels[:, rng.random(SHAPE) < 0.4] = 0
        pixels[1, 5, number] = 0  # no data in one band is none in all
        pixels[:, :8, :8] = 0
        pixels[:, 20:40] = np.round(pixels[:, 20:40] / 1500) * 1500  # ties
        path = folder / f"image{number}_{day}.tif"
        files.append(
            write(path, pixels, names=NAMES, scale=scale, offset=offset, nodata=0, crs=UTM)
        )
    return files


def make(files: list[str], out: Path, method: str, *, pool: Any = None, **how: Any) -> np.ndarray:
    images = open_composite(Source(), files, method_of(method), how.pop("like", ""))
    write_composite(images, method_of(method), out, pool or ThisProcess(1), **how)
    with rasterio.open(out) as raster:
        return raster.read()


def stack_of(files: list[str]) -> np.ndarray:
    """`(date, band, y, x) float32` reflectance in the order of the files, NaN = no data."""
    found = []
    for file in files:
        with rasterio.open(file) as raster:
            pixels = raster.read()
            values = pixels.astype("float32") * np.float32(raster.scales[0])
            values += np.float32(raster.offsets[0])
            values[:, (pixels == 0).any(axis=0)] = np.nan
            found.append(values)
    return np.stack(found)


def expect(files: list[str], method: str) -> np.ndarray:
    """The composite of files in the order of their dates, by numpy on the whole stack."""
    stack = stack_of(files)
    if method == "median":
        return np.nanmedian(stack, axis=0)
    if method == "mean":
        return np.nanmean(stack.astype("float64"), axis=0).astype("float32")
    valid = ~np.isnan(stack[:, 0])
    rank = np.zeros(valid.shape, "float32")
    if method.startswith("best-clear"):
        reach = int(method.partition("=")[2] or 50)
        rank = np.stack([np.minimum(distance_transform_edt(one), reach) for one in valid])
    elif method != "latest":
        scenes = [open_scene([file]) for file in files]
        name = method.removeprefix("max=")
        rank = np.stack([indices.compute(name, one.read(one.window, NAMES)) for one in scenes])
    rank = np.where(valid, rank, -np.inf)
    last = len(files) - 1 - np.argmax(rank[::-1], axis=0)
    return np.take_along_axis(stack, last[None, None], axis=0)[0]


@pytest.mark.filterwarnings("ignore:All-NaN slice", "ignore:Mean of empty slice")
@pytest.mark.parametrize("method", METHODS)
def test_a_composite_is_what_numpy_makes_of_the_whole_stack(
    dates: list[str], tmp_path: Path, method: str
) -> None:
    made = make(dates, tmp_path / "c.tif", method)
    np.testing.assert_array_equal(made[:4], expect(dates, method))
    looks = np.count_nonzero(~np.isnan(stack_of(dates)[:, 0]), axis=0)
    np.testing.assert_array_equal(made[4], looks)
    assert {*np.unique(looks)} == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("method", METHODS)
def test_no_cut_and_no_order_of_the_images_changes_a_byte(
    dates: list[str], tmp_path: Path, method: str
) -> None:
    make(dates, tmp_path / "c.tif", method)
    whole = (tmp_path / "c.tif").read_bytes()
    orders = list(permutations(dates))
    for cut, (size, threads) in enumerate(((16, 1), (33, 3), (64, 2), (512, 4)), start=1):
        order = list(orders[29 * cut])
        pool = ThisProcess(threads)
        make(order, tmp_path / str(cut) / "c.tif", method, pool=pool, size=size)
        assert (tmp_path / str(cut) / "c.tif").read_bytes() == whole


@pytest.mark.slow
def test_worker_processes_make_the_same_file(dates: list[str], tmp_path: Path) -> None:
    make(dates, tmp_path / "here" / "c.tif", "median")
    with start(Cluster(workers=1)) as pool:
        make(dates, tmp_path / "there" / "c.tif", "median", pool=pool, size=32)
    there = (tmp_path / "there" / "c.tif").read_bytes()
    assert there == (tmp_path / "here" / "c.tif").read_bytes()


def test_a_mask_of_each_image_hides_its_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    clouds = rng.random((2, 30, 30)) < 0.5
    values = [np.full((30, 30), value, "uint16") for value in (2000, 3000)]
    files = [
        write(tmp_path / f"{day}.tif", np.stack([value, cloud]), names=("red", ""), scale=1e-4)
        for day, value, cloud in zip(DAYS[:2], values, clouds, strict=True)
    ]
    source = Source(bands={"red": 1}, mask="band=2")
    images = open_composite(source, files, method_of("median"))
    write_composite(images, method_of("median"), tmp_path / "c.tif", ThisProcess(1))
    with rasterio.open(tmp_path / "c.tif") as raster:
        red, looks = raster.read()
    np.testing.assert_array_equal(looks, 2 - clouds.sum(axis=0))
    either = np.where(clouds[1], np.float32(0.2), np.float32(0.3))
    seen = np.where(looks == 2, np.float32(0.25), either)
    np.testing.assert_allclose(red, np.where(looks == 0, np.nan, seen), rtol=1e-6)


def test_images_of_other_grids_are_resampled_as_the_rasters_of_a_scene_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(500, 4000, (2, 1, 40, 40)).astype("uint16")
    shift = rasterio.Affine(15, 0, 500_004, 0, -15, 4_999_991)
    first = write(tmp_path / "2024-01-01.tif", pixels[0], names=["red"], scale=1e-4)
    second = write(
        tmp_path / "2024-02-02.tif", pixels[1], names=["red"], scale=1e-4, transform=shift
    )
    scene = open_scene([first, f"later={second}"])
    chip = scene.read(scene.window, ["later.red"])
    later = np.where(chip["valid"], chip["pixels"][0].values.astype("f4") * np.float32(1e-4), 0)
    made = make([first, second], tmp_path / "c.tif", "latest")
    former = pixels[0, 0].astype("f4") * np.float32(1e-4)
    np.testing.assert_array_equal(made[0], np.where(chip["valid"], later, former))
    turned = make([second, first], tmp_path / "d.tif", "latest", like=first)
    np.testing.assert_array_equal(turned, made)


def test_a_composite_is_a_scene_of_reflectance_without_its_count(
    dates: list[str], tmp_path: Path
) -> None:
    make(dates, tmp_path / "c.tif", "median")
    scene = open_scene([str(tmp_path / "c.tif")])
    assert scene.band_names == NAMES
    assert {band.units for band in scene.bands} == {"reflectance"}
    with rasterio.open(tmp_path / "c.tif") as raster:
        assert raster.descriptions == (*NAMES, "looks")
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.tags()["ACQUIRED"] == "2024-05-03/2024-08-30"
    assert not scene.read(scene.window, NAMES)["valid"].values[:8, :8].any()


def test_what_fails_leaves_the_file_that_was_there(dates: list[str], tmp_path: Path) -> None:
    out = tmp_path / "c.tif"
    out.write_text("before")

    class Dies(ThisProcess):
        def map(self, function: Callable[[Any], Any], items: Any) -> Any:
            for number, item in enumerate(items):
                if number == 2:
                    raise OSError("killed")
                yield function(item)

    with pytest.raises(OSError, match="killed"):
        make(dates, out, "median", pool=Dies(), size=32)
    assert {path.name for path in tmp_path.iterdir()} == {"c.tif", ".c.tif.parts"}
    assert out.read_text() == "before"


def test_a_composite_that_was_killed_goes_on(
    dates: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(dates, tmp_path / "whole" / "c.tif", "median", size=32)
    combine, combined = composites._combine_window, []

    def count(images: Images, method: Method, part: tuple[Window, Path]) -> None:
        combined.append(part[0])
        combine(images, method, part)

    monkeypatch.setattr(composites, "_combine_window", count)
    out = tmp_path / "killed" / "c.tif"
    for calls in (0, 3):
        with pytest.raises(Killed):
            make(dates, out, "median", size=32, progress=killed_after(calls))
        assert not out.exists()
    make(dates[::-1], out, "median", size=32)
    assert sorted(combined) == sorted(Window.of_shape(*SHAPE).blocks(32))  # each once
    assert out.read_bytes() == (tmp_path / "whole" / "c.tif").read_bytes()
    assert not (out.parent / ".c.tif.parts").exists()


def test_windows_shrink_so_that_many_dates_fit(dates: list[str]) -> None:
    median = method_of("median")
    images = open_composite(Source(), dates, median)
    many = type(images)(images.scenes * 30, images.bands)
    assert window_size(images, median) == 1024
    assert window_size(many, median) == 512
    assert work_of(many, median).worker_bytes(1) < 2**30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{0}", "{0}"), "is given twice"),
        (("{0}", "{1}", "--method", "best"), "there is no method 'best'"),
        (("{0}", "{1}", "--method", "max=MNDWI"), "swir16"),
        (("{0}", "{1}", "--method", "best-clear=0"), "from 1 to 500"),
        (("{0}", "{dn}"), "digital numbers of unknown scale; say how"),
        (("{0}", "{other}"), "no band in common"),
        (("{dn}", "--method", "latest"), "nothing says on which day undated was taken"),
    ],
)
def test_what_cannot_be_one_image_is_refused_in_a_line(
    dates: list[str], tmp_path: Path, landweave: Any, arguments: tuple[str, ...], message: str
) -> None:
    places = {
        "dn": write(tmp_path / "undated.tif", np.ones((4, *SHAPE), "uint16"), names=NAMES),
        "other": write(tmp_path / "other.tif", np.ones(SHAPE, "uint16"), names=["swir22"]),
    }
    asked = [one.format(*dates, **places) for one in arguments]
    status, _, error = landweave("composite", *asked, "--workers", "0", "-o", tmp_path / "c.tif")
    assert (status, error.count("\n")) == (2, 1)
    assert message in error
    assert not (tmp_path / "c.tif").exists()


def test_best_clear_shows_the_date_whose_cloud_is_farther(tmp_path: Path) -> None:
    files = []
    for day, cloud in (("2024-01-01", 2), ("2024-02-02", 26)):
        pixels = np.full((10, 30), 1000 * (cloud % 7), "uint16")
        pixels[:, cloud] = 0
        files.append(write(tmp_path / f"{day}.tif", pixels, names=["red"], scale=1e-4, nodata=0))
    red, looks = make(files, tmp_path / "c.tif", "best-clear")
    assert (red[:, :14] == red[0, 0]).all()  # far from the second image's cloud
    assert (red[:, 15:] == red[0, 29]).all()
    assert red[0, 0] != red[0, 29]
    assert (looks[:, [2, 26]] == 1).all()
    near, _ = make(files, tmp_path / "d.tif", "best-clear=5")
    assert (near[:, 8:21] == near[0, 0]).all()  # both are clear: the later one


def test_a_composite_does_not_replace_an_image(dates: list[str]) -> None:
    with pytest.raises(InputError, match="is one of the images"):
        make(dates, Path(dates[0]), "mean")
