"""A series that was killed: the same command computes only the rest, and makes the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from flows.compute.pool import ThisProcess
from flows.requests.dates.series import PixelSettings, SeriesRequest
from flows.timeseries import pixel_rasters, publish, zone_figures
from flows.timeseries.run import open_series, run_series
from flows.timeseries.zone_figures import measure_zones
from tests.flows.timeseries.drawn import draw_images, draw_zones
from tests.killed import Killed, killed_after
from tiling.io.files import make_folder

DATES, WINDOWS = 6, 4
"""What a series of the drawn images computes: zones at each date, and windows of pixels."""


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """No charts, which take most of the time, and windows of 48 pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "MOST_CHARTS", 0)
        patch.setattr(pixel_rasters, "BUDGET", 48**2 * 4 * (DATES + 16))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    draw_zones(folder / "zones.gpkg")
    return folder


@pytest.fixture(scope="module")
def images(folder: Path) -> list[str]:
    return draw_images(folder)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The parts that are computed, one after the other."""
    found: list[Path] = []
    for module, name in ((zone_figures, "_tally_window"), (pixel_rasters, "_compute_window")):
        compute: Any = getattr(module, name)

        def count(*arguments: Any, compute: Any = compute) -> None:
            compute(*arguments)
            found.append(arguments[-1][1])

        monkeypatch.setattr(module, name, count)
    return found


def ask(images: list[str], folder: Path, out: Path) -> SeriesRequest:
    return SeriesRequest(
        scenes=tuple(images),
        names=("NDVI",),
        zones=str(folder / "zones.gpkg"),
        out=out,
        each=PixelSettings(pixels=True),
    )


def bytes_in(out: Path) -> dict[str, bytes]:
    names = ("series.csv", "series.parquet", "NDVI.tif")
    return {name: (out / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def undisturbed(images: list[str], folder: Path) -> dict[str, bytes]:
    run_series(open_series(ask(images, folder, folder / "out")), ThisProcess(1))
    return bytes_in(folder / "out")


@pytest.mark.parametrize("calls", [0, 2, DATES, DATES + WINDOWS - 1])
def test_a_series_that_was_killed_goes_on(
    images: list[str], folder: Path, undisturbed: dict[str, bytes], tmp_path: Path,
    computed: list[Path], calls: int,
) -> None:  # fmt: skip
    request = ask(images, folder, tmp_path / "out")
    with pytest.raises(Killed):
        run_series(open_series(request), ThisProcess(1), killed_after(calls))
    assert not (tmp_path / "out" / "series.json").exists()
    before = len(computed)
    assert before >= calls
    turned = request.model_copy(update={"scenes": (images[0], *images[:0:-1])})
    run_series(open_series(turned), ThisProcess(2))
    assert len(computed) == len({*computed}) == DATES + WINDOWS  # none twice
    assert bytes_in(tmp_path / "out") == undisturbed
    assert not (tmp_path / "out" / ".parts").exists()


def test_with_a_date_more_zones_are_not_measured_again_at_the_others(
    images: list[str], folder: Path, undisturbed: dict[str, bytes], tmp_path: Path,
    computed: list[Path],
) -> None:  # fmt: skip
    few = ask(images[:-1], folder, tmp_path / "out")
    with pytest.raises(Killed):
        run_series(open_series(few), ThisProcess(1), killed_after(DATES - 1))
    before = len(computed)
    run_series(open_series(ask(images, folder, tmp_path / "out")), ThisProcess(1))
    assert len(computed) - before == 1 + WINDOWS
    assert bytes_in(tmp_path / "out") == undisturbed


def test_a_date_that_was_measured_in_part_goes_on(
    images: list[str], folder: Path, tmp_path: Path, computed: list[Path]
) -> None:
    plan = open_series(ask(images[:2], folder, tmp_path / "out"))
    assert plan.shapes is not None
    figures = []
    for name, calls in (("whole", 10**6), ("killed", 5), ("killed", 10**6)):
        kept = make_folder(tmp_path / name)
        measured = plan.images, plan.names, plan.shapes, tmp_path, kept, ThisProcess(1)
        try:
            figures.append(measure_zones(*measured, killed_after(calls), pixels=300).values)
        except Killed:
            continue
    np.testing.assert_array_equal(*figures)
    assert len({*computed}) == len(computed) > 20
    assert len(computed) % 2 == 0


def test_what_other_pixels_were_computed_from_is_computed_again(
    folder: Path, tmp_path: Path
) -> None:
    images = draw_images(tmp_path)
    for out, calls in (("killed", DATES + 2), ("killed", 10**6), ("anew", 10**6)):
        request = ask(images, folder, tmp_path / out)
        try:
            run_series(open_series(request), ThisProcess(1), killed_after(calls))
        except Killed:
            with rasterio.open(images[2], "r+") as raster:
                raster.write(raster.read()[:, ::-1])
    assert bytes_in(tmp_path / "killed") == bytes_in(tmp_path / "anew")
