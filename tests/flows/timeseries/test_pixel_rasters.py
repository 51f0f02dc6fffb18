"""Series of pixels as rasters: scipy's answer for each, however the work is cut."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.stats import theilslopes

from flows.composite.images import Images
from flows.compute.cluster import Cluster, start
from flows.compute.pool import ThisProcess
from flows.requests.dates.series import PixelSettings, SeriesRequest
from flows.timeseries import pixel_rasters
from flows.timeseries.pixel_rasters import (
    EPOCH,
    FIGURES,
    PixelPlan,
    compute_pixels,
    write_rasters,
)
from flows.timeseries.run import open_series, run_series
from segmentation.spectral import indices
from segmentation.temporal.trends import YEAR, mann_kendall
from segmentation.temporal.whittaker import smooth
from tests.flows.timeseries.drawn import DAYS, NAMES, SHAPE, draw_images
from tests.tiling.rasters import UTM, write
from tiling.grid.window import Window
from tiling.scene.acquisition import Acquisition
from tiling.scene.from_files import open_scene
from tiling.scene.scene import Scene

SMOOTH = PixelSettings(smooth=5.0, step=30)
"""A blank block of a COG has 512 pixels squared of each step: few make the tests quick."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return draw_images(tmp_path_factory.mktemp("dates"))


def plan_of(images: Sequence[str], out: Path, settings: PixelSettings = SMOOTH) -> PixelPlan:
    asked = SeriesRequest(scenes=tuple(images), names=("NDVI", "NDMI"), out=out, each=settings)
    plan = open_series(asked).pixels
    assert plan is not None
    return plan


def plan_on(dates: Sequence[datetime.date], settings: PixelSettings) -> PixelPlan:
    """A plan of images of which nothing but their dates is known."""
    grid = GeoBox((4, 5), Affine.scale(10, -10), UTM)
    scenes = tuple(Scene(grid, (Acquisition(str(date), (), date=date),)) for date in dates)
    return PixelPlan(Images(scenes, ()), ("NDVI",), settings)


@pytest.fixture(scope="module")
def made(images: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    work, kept = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("kept")
    write_rasters(plan_of(images, out), out, work, kept, ThisProcess(1))
    return out


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with rasterio.open(path) as raster:
        return raster.read(), raster.descriptions


@pytest.mark.slow
def test_bands_are_those_of_the_whole_series(images: list[str], made: Path) -> None:
    scenes = [open_scene([file]) for file in images]
    days = [(datetime.date.fromisoformat(day) - EPOCH).days for day in DAYS]
    for name in ("NDVI", "NDMI"):
        series = np.stack([indices.compute(name, s.read(s.window, NAMES)) for s in scenes])
        pixels, bands = read(made / f"{name}.tif")
        assert bands == FIGURES
        found = dict(zip(bands, pixels, strict=True))
        valid = ~np.isnan(series)
        np.testing.assert_array_equal(found["looks"], valid.sum(axis=0))
        np.testing.assert_array_equal(found["min"], np.fmin.reduce(series))
        np.testing.assert_array_equal(found["max"], np.fmax.reduce(series))
        np.testing.assert_array_equal(found["amplitude"], found["max"] - found["min"])
        flat = series.reshape(len(days), -1)
        p = mann_kendall(flat, days).astype("f4").reshape(SHAPE)
        np.testing.assert_array_equal(found["p"], p)
        for row, col in ((10, 20), (35, 60), (69, 89), (3, 3), (50, 44)):
            there = valid[:, row, col]
            when, values = np.array(days)[there], series[there, row, col]
            if there.any():
                assert (found["first"][row, col], found["last"][row, col]) == (when[0], when[-1])
            if len({*when}) > 1:
                slope = theilslopes(values, when).slope * YEAR
                assert found["slope"][row, col] == pytest.approx(slope, rel=1e-6)
            else:
                assert np.isnan(found["slope"][row, col])


def test_a_curve_has_a_band_for_each_step_and_is_whittakers(images: list[str], made: Path) -> None:
    pixels, bands = read(made / "NDVI_curve.tif")
    assert bands[:2] == ("2023-05-03", "2023-06-02")
    assert len(bands) == 14
    scenes = [open_scene([file]) for file in images]
    series = np.stack([indices.compute("NDVI", s.read(s.window, NAMES)) for s in scenes])
    first = datetime.date.fromisoformat(DAYS[0])
    places = [((datetime.date.fromisoformat(day) - first).days + 15) // 30 for day in DAYS]
    curve = smooth(series[:, :, 40], places, 14, 5.0)
    np.testing.assert_allclose(pixels[:, :, 40], curve, atol=6e-5)
    np.testing.assert_array_equal(np.isnan(pixels[:, :, 40]), np.isnan(curve))


def test_a_stac_item_lists_the_rasters_their_days_and_what_they_come_from(
    images: list[str], made: Path
) -> None:
    item = pystac.Item.from_file(made / "item.json")
    rasters = {path.stem: f"./{path.name}" for path in made.glob("*.tif")}
    assert {name: asset.href for name, asset in item.assets.items()} == rasters
    assert item.properties["start_datetime"] == f"{DAYS[0]}T00:00:00Z"
    assert item.properties["end_datetime"] == f"{DAYS[-1]}T23:59:59Z"
    links = [link.href for link in item.get_links("derived_from")]
    assert sorted(links) == sorted(Path(file).as_uri() for file in images)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "threads"), [(16, 1), (33, 2), (50, 3)])
def test_no_cut_and_no_order_of_the_images_changes_a_byte(
    images: list[str], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    size: int, threads: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(pixel_rasters, "_AT_ONCE", 40 * size)  # pixels looked at together too
    (tmp_path / "out").mkdir()
    order = [images[0], *images[: -size % 6 : -1], *images[1 : -size % 6 + 1]]
    assert sorted(order) == sorted(images)
    plan = plan_of(order, tmp_path)
    windows = list(Window.of_shape(*SHAPE).blocks(size))
    pool = ThisProcess(threads)
    write_rasters(plan, tmp_path / "out", tmp_path, tmp_path, pool, windows=windows)
    assert bytes_in(tmp_path / "out") == bytes_in(made)


@pytest.mark.slow
def test_worker_processes_make_the_same_files(
    images: list[str], made: Path, tmp_path: Path
) -> None:
    asked = SeriesRequest(
        scenes=tuple(images), names=("NDVI", "NDMI"), out=tmp_path / "out", each=SMOOTH
    )
    plan = open_series(asked)
    with start(Cluster(workers=1), plan.work) as pool:
        run_series(plan, pool)
    assert bytes_in(tmp_path / "out") == bytes_in(made)
    assert "NDVI_seasons.tif" in (tmp_path / "out" / "series.json").read_text()


def test_a_drawn_season_is_found_within_a_step_in_each_of_two_years() -> None:
    first = datetime.date(2022, 1, 3)
    dates = [first + datetime.timedelta(5 * number) for number in range(146)]
    rng = np.random.default_rng(2)
    middles = rng.uniform(150, 220, (2, 20))  # days of the year
    series = []
    for date in dates:
        height = sum(
            0.5 * np.exp(-((((date - datetime.date(year, 1, 1)).days + 1 - middle) / 40) ** 2))
            for year, middle in zip((2022, 2023), middles, strict=True)
        )
        series.append(np.where(rng.random(20) < 0.4, np.nan, 0.2 + height))
    plan = plan_on(dates, PixelSettings(smooth=1.0, step=5))
    pixels = compute_pixels(plan, np.array(series, np.float32))[2]
    found = dict(zip(plan.rasters["_seasons"], pixels, strict=True))
    half = 40 * np.sqrt(np.log(5))
    for year, middle in zip((2022, 2023), middles, strict=True):
        np.testing.assert_allclose(found[f"start_{year}"], middle - half, atol=5)
        np.testing.assert_allclose(found[f"peak_{year}"], middle, atol=5)
        np.testing.assert_allclose(found[f"end_{year}"], middle + half, atol=5)
        np.testing.assert_allclose(found[f"length_{year}"], 2 * half, atol=5)
        np.testing.assert_allclose(found[f"amplitude_{year}"], 0.5, atol=0.05)


def test_years_of_seasons_may_begin_in_any_month() -> None:
    dates = [datetime.date.fromisoformat(day) for day in DAYS]
    by_month = {
        month: [(one.year, one.begin, one.stop) for one in plan_on(dates, settings).years]
        for month in (1, 7)
        for settings in [PixelSettings(smooth=1, step=10, season_month=month)]
    }
    # of 39 steps from 3 May 2023 on
    assert by_month[1] == [(2023, 0, 25), (2024, 25, 39)]
    assert by_month[7] == [(2022, 0, 6), (2023, 6, 39)]


def test_a_worker_takes_what_a_window_of_one_block_takes_however_large_the_raster(
    images: list[str], tmp_path: Path
) -> None:
    plan = plan_of(images, tmp_path, PixelSettings(pixels=True))
    few = plan.work.worker_bytes(1)
    many = type(plan.images)(plan.images.scenes * 17, plan.images.bands)
    assert few < PixelPlan(many, plan.names, plan.settings).work.worker_bytes(1) < 2**30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--smooth", "0"), "smooth: Input should be greater than 0"),
        (("--smooth", "10", "--step", "0"), "--step"),
        (("--pixels", "--season-threshold", "1"), "threshold"),
        (("--smooth", "10", "--season-month", "13"), "--season-month"),
    ],
)
def test_settings_out_of_bounds_are_refused_in_a_line(
    images: list[str], tmp_path: Path, landweave: Any, arguments: tuple[str, ...], message: str
) -> None:
    status, _, error = landweave(
        "series", *images, "--index", "NDVI", *arguments, "-o", tmp_path / "out"
    )
    assert (status, error.count("\n")) == (2, 1), error
    assert message in error


def test_a_curve_of_too_many_steps_is_refused_with_a_step_that_would_do(
    tmp_path: Path, landweave: Any
) -> None:
    pixels = np.full((2, 9, 9), 9, "uint16")
    days = ("1985-07-01", "2020-07-01")
    files = [write(tmp_path / f"{day}.tif", pixels, names=("red", "nir")) for day in days]
    asked = ("series", *files, "--index", "NDVI", "--smooth", "10", "-o", tmp_path / "out")
    status, _, error = landweave(*asked)
    assert status == 2
    assert "--step 33" in error
