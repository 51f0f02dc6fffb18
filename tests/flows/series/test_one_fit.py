"""One threshold for a whole series: figures of different dates compare one rule, whatever came
first."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.filters import threshold_otsu
from typer.testing import CliRunner

from flows.cli import app
from flows.composite.scenes import FoundScene
from flows.requests.commandline import collection_line, monitor_line
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.series.collection import collect
from flows.series.monitor import monitor
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.segmenter import Segmenter
from tests.scenes import BANDS, draw_pixels, read, write_scene

pytestmark = pytest.mark.usefixtures("white_pictures")

DAYS = ("20240501", "20240601", "20240701")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Three days of one place, each greener than the one before."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for seed, day in enumerate(DAYS):
        arrive(folder, day, seed)
    return folder


def arrive(folder: Path, day: str, seed: int) -> None:
    pixels = draw_pixels(70, 90, seed).astype(np.float64)
    pixels[BANDS.index("nir")] *= 1 + 0.6 * seed
    write_scene(folder / f"valley_{day}.tif", np.minimum(pixels, 60_000).astype(np.uint16))


def template(place: Path, out: Path, segmenter: Segmenter | None = None) -> Request:
    return Request(
        source=Source(paths=(str(place),)),
        out=out,
        segmenter=segmenter or Otsu(index="NDVI"),
        products=("classes",),
    )


def thresholds(out: Path) -> set[float]:
    return {
        json.loads(run.read_text())["segmenter"]["fitted"]["threshold"]
        for run in out.glob("**/run.json")
    }


def ndvi(scene: Path) -> np.ndarray[Any, Any]:
    red, nir = (
        read(scene, BANDS.index(name) + 1).astype(np.float32) * np.float32(1e-4)
        for name in ("red", "nir")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((nir - red) / (nir + red))[(red > 0) & (nir > 0)].astype(np.float64)


def test_the_threshold_is_scikit_images_of_all_scenes_together(inbox: Path, tmp_path: Path) -> None:
    collected = collect(CollectionRequest(template=template(inbox, tmp_path / "out")))
    together = np.concatenate([ndvi(scene) for scene in sorted(inbox.iterdir())])
    expected = threshold_otsu(np.clip(together, *np.percentile(together, (0.1, 99.9))))
    (threshold,) = thresholds(tmp_path / "out")
    assert threshold == pytest.approx(expected, abs=2e-6)
    assert collected.warnings == ()
    (note,) = collected.notes
    assert note.startswith(f"Vegetation is where NDVI exceeds {threshold:g}: ")
    assert "found on all 3 scenes together" in note
    for page in ("report.html", "index.md"):
        assert "found on all 3 scenes together" in (tmp_path / "out" / page).read_text()


@pytest.mark.slow
def test_the_same_bytes_whatever_the_order_of_the_scenes(inbox: Path, tmp_path: Path) -> None:
    files, maps = sorted(inbox.iterdir()), []
    for seed in range(3):
        random.Random(seed).shuffle(files)
        out = tmp_path / f"out{seed}"
        collect(
            CollectionRequest(template=template(inbox, out)),
            [FoundScene((str(file),)) for file in files],
        )
        maps.append([(out / f"valley_{day}" / "classes.tif").read_bytes() for day in DAYS])
    assert maps[0] == maps[1] == maps[2]


@pytest.mark.slow
def test_another_scene_may_move_a_collections_threshold_and_all_are_mapped_anew(
    inbox: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    collect(CollectionRequest(template=template(inbox, out)))
    before = thresholds(out)
    assert collect(CollectionRequest(template=template(inbox, out))).made == ()
    arrive(inbox, "20240801", 4)
    assert len(collect(CollectionRequest(template=template(inbox, out))).made) == 4
    assert len(thresholds(out)) == 1
    assert thresholds(out) != before


@pytest.mark.slow
def test_a_monitor_keeps_its_threshold_and_maps_nothing_twice(inbox: Path, tmp_path: Path) -> None:
    request = MonitorRequest(template=template(inbox, tmp_path / "out"), settle_seconds=0)
    assert len(monitor(request).made) == 3
    before = thresholds(tmp_path / "out")
    arrive(inbox, "20240801", 4)
    seen = monitor(request)
    assert seen.made == ("valley_20240801",)
    assert thresholds(tmp_path / "out") == before
    (note,) = seen.series.notes
    assert "kept for those that come" in note
    again = request.model_copy(
        update={"template": request.template.model_copy(update={"fresh": True})}
    )
    monitor(again)
    assert thresholds(tmp_path / "out") != before


@pytest.mark.slow
def test_whoever_wants_a_threshold_for_each_scene_is_warned_beside_the_figures(
    inbox: Path, tmp_path: Path
) -> None:
    collected = collect(
        CollectionRequest(template=template(inbox, tmp_path / "out"), fit_each=True)
    )
    assert len(thresholds(tmp_path / "out")) == 3
    (warning,) = collected.warnings
    assert "compare different rules (valley_20240501: Vegetation is where NDVI exceeds" in warning
    assert "compare different rules" in (tmp_path / "out" / "report.html").read_text()
    watched = monitor(
        MonitorRequest(
            template=template(inbox, tmp_path / "watched"), settle_seconds=0, fit_each=True
        )
    )
    assert any("compare different rules" in warning for warning in watched.series.warnings)


def test_scenes_that_cannot_be_read_move_no_threshold(inbox: Path, tmp_path: Path) -> None:
    collect(CollectionRequest(template=template(inbox, tmp_path / "whole")))
    (inbox / "valley_20240801.tif").write_bytes(b"no raster")
    result = collect(CollectionRequest(template=template(inbox, tmp_path / "out")))
    assert [entry.name for entry in result.failed] == ["valley_20240801"]
    assert thresholds(tmp_path / "out") == thresholds(tmp_path / "whole")


def test_rules_look_at_each_scene_because_its_haze_is_its_own(inbox: Path, tmp_path: Path) -> None:
    collected = collect(CollectionRequest(template=template(inbox, tmp_path / "out", Rules())))
    assert (collected.notes, collected.warnings) == ((), ())
    assert not (tmp_path / "out" / "fit.json").exists()


@pytest.mark.slow
def test_the_command_line_says_the_threshold_and_takes_the_wish(
    inbox: Path, tmp_path: Path
) -> None:
    words = [
        str(inbox),
        "--segmenter",
        "otsu",
        "--set",
        "index=NDVI",
        "--products",
        "classes",
        "--workers",
        "0",
    ]
    done = CliRunner().invoke(app, ["collection", *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Vegetation is where NDVI exceeds" in done.stdout
    done = CliRunner().invoke(
        app, ["monitor", *words, "--settle", "0", "--fit-each", "--out", str(tmp_path / "m")]
    )
    assert done.exit_code == 0, done.output
    assert "compare different rules" in done.stderr
    one = template(inbox, tmp_path / "out")
    assert "--fit-each" in collection_line(CollectionRequest(template=one, fit_each=True))
    assert "--fit-each" in monitor_line(MonitorRequest(template=one, fit_each=True))
    assert "--fit-each" not in collection_line(CollectionRequest(template=one))


@pytest.mark.slow
def test_a_frame_that_nobody_declared_is_told_of_in_the_report_and_not_in_logs_alone(
    tmp_path: Path,
) -> None:
    """255 around the image, and nothing says that it is none."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for day in DAYS:
        picture = np.random.default_rng(int(day)).integers(1, 250, (4, 90, 100)).astype(np.uint8)
        picture[:, :24] = picture[:, :, -24:] = 255
        write_scene(inbox / f"flight_{day}.tif", picture, names=("blue", "green", "red", "nir"))
    collected = collect(CollectionRequest(template=template(inbox, tmp_path / "out")))
    assert all("--nodata 255" in entry.warnings[0] for entry in collected.entries)
    for page in ("report.html", "index.md"):
        text = (tmp_path / "out" / page).read_text()
        assert (
            text.count("are 255 in all 2 bands, which looks like no image and is mapped as land")
            == 1
        )
        assert "flight_20240701, flight_20240601, flight_20240501: " in text
    words = [
        str(inbox),
        "--segmenter",
        "otsu",
        "--set",
        "index=NDVI",
        "--products",
        "classes",
        "--workers",
        "0",
    ]
    done = CliRunner().invoke(
        app, ["monitor", *words, "--settle", "0", "--out", str(tmp_path / "watched")]
    )
    assert "flight_20240701, flight_20240601, flight_20240501: " in done.stderr
