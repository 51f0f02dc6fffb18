"""A place watched over time: each call does what is missing, once, whatever happened to the call
before."""

from __future__ import annotations

import csv
import datetime
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from typer.testing import CliRunner

from flows.cli import app
from flows.composite.scenes import FoundScene
from flows.reports.catalogue import ClassRow, Entry, shares_of
from flows.requests.request import Request
from flows.requests.series import MonitorRequest
from flows.requests.source import Source
from flows.run import pipeline
from flows.run.record import Published
from flows.series.monitor import MonitorResult, monitor, neighbours, share_obscured
from flows.storage.lock import folder_lock
from segmentation.classical.rules import Rules
from tests.forks import forks
from tests.scenes import draw_pixels, draw_scene, write_scene
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

DAYS = ("20240501", "20240601", "20240701")
KILLS = 12


def request(inbox: Path, out: Path, **settings: Any) -> MonitorRequest:
    template = Request(
        source=Source(paths=(str(inbox),)),
        out=out,
        segmenter=Rules(),
        products=("classes", "confidence"),
    )
    return MonitorRequest(
        **{"template": template, "title": "The valley", "settle_seconds": 0.0, **settings}
    )


def arrive(inbox: Path, *days: str) -> None:
    inbox.mkdir(exist_ok=True)
    for day in days:
        draw_scene(inbox / f"valley_{day}.tif", 50, 60, int(day) % 97)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / name, encoding="utf-8") as text:
        return list(csv.DictReader(text))


def between(watched: MonitorResult) -> list[tuple[str, str]]:
    return [(change.earlier_date, change.later_date) for change in watched.series.changes]


def assert_consistent(folder: Path) -> None:
    """Whatever the catalogue names is there, whole."""
    if not (folder / "collection.json").exists():
        return
    found = pystac.Collection.from_file(str(folder / "collection.json"))
    for item in found.get_items():
        assert Path(str(item.self_href)).exists()
        for asset in item.assets.values():
            assert Path(str(asset.get_absolute_href())).exists(), asset.href
    for asset in found.assets.values():
        assert Path(str(asset.get_absolute_href())).exists()


# --------------------------------------------------------------------------------------- the series


@pytest.mark.slow
def test_a_call_does_what_is_new_and_nothing_twice(inbox: Path, out: Path) -> None:
    done: list[str] = []

    def counting(one: Request) -> Published:
        done.append(Path(one.source.paths[0]).stem)
        return pipeline.run(one)

    arrive(inbox, DAYS[0])
    first = monitor(request(inbox, out), run=counting)
    assert (first.made, first.compared) == (("valley_20240501",), ())
    assert monitor(request(inbox, out), run=counting).made == ()
    arrive(inbox, DAYS[1], DAYS[2])
    second = monitor(request(inbox, out), run=counting)
    assert second.made == ("valley_20240601", "valley_20240701")
    assert between(second) == [("2024-05-01", "2024-06-01"), ("2024-06-01", "2024-07-01")]
    third = monitor(request(inbox, out), run=counting)
    assert (third.made, third.compared) == ((), ())
    assert sorted(done) == ["valley_20240501", "valley_20240601", "valley_20240701"]
    assert_consistent(out)


@pytest.mark.slow
def test_an_image_that_comes_late_takes_its_place(inbox: Path, out: Path, tmp_path: Path) -> None:
    arrive(inbox, DAYS[0], DAYS[2])
    assert between(monitor(request(inbox, out))) == [("2024-05-01", "2024-07-01")]
    arrive(inbox, DAYS[1])
    late = monitor(request(inbox, out))
    assert late.made == ("valley_20240601",)
    assert between(late) == [("2024-05-01", "2024-06-01"), ("2024-06-01", "2024-07-01")]
    assert sorted(folder.name for folder in (out / "changes").iterdir()) == [
        "valley_20240501--valley_20240601", "valley_20240601--valley_20240701",
    ]  # fmt: skip
    at_once = monitor(request(inbox, tmp_path / "at_once"))
    assert between(at_once) == between(late)
    for name in ("areas.csv", "changes.csv"):
        assert (out / name).read_bytes() == (tmp_path / "at_once" / name).read_bytes()


@pytest.mark.slow
def test_cloudy_scenes_are_told_of_and_skipped_over(inbox: Path, out: Path) -> None:
    arrive(inbox, DAYS[0], DAYS[2])
    pixels = draw_pixels(50, 60, 5)
    pixels[:, :30] = 0  # a cloud mask took them
    write_scene(inbox / f"valley_{DAYS[1]}.tif", pixels)
    watched = monitor(request(inbox, out, max_invalid=0.4))
    assert watched.series.unused.keys() == {"valley_20240601"}
    assert between(watched) == [("2024-05-01", "2024-07-01")]
    assert {row["date"] for row in table(out, "areas.csv")} == {"2024-05-01", "2024-07-01"}
    kinder = monitor(request(inbox, out, max_invalid=0.9))
    assert kinder.made == ()  # the map was there
    assert len(between(kinder)) == 2
    assert_consistent(out)


def test_clouds_are_no_change(inbox: Path, out: Path) -> None:
    """The bright corner of the second scene is called cloud by the rules."""
    inbox.mkdir()
    land = np.broadcast_to(
        np.array([400, 700, 500, 3500, 1500, 700], np.uint16)[:, None, None], (6, 40, 40)
    ).copy()
    write_scene(inbox / f"a_{DAYS[0]}.tif", land)
    land[:, :10, :10] = np.array([7000, 7000, 7000, 7200, 5000, 4000], np.uint16)[:, None, None]
    write_scene(inbox / f"b_{DAYS[1]}.tif", land)
    watched = monitor(request(inbox, out))
    assert "Cloud" in {row["class_name"] for row in table(out, "areas.csv")}
    assert watched.series.changes[0].changed_m2 == 0
    shares = shares_of(watched.series)
    assert "Cloud" not in shares
    assert all(percent == 100 for points in shares.values() for _, percent in points), (
        "a cloud takes no forest away"
    )
    assert "percent of the ground that was seen" in (out / "report.html").read_text()
    strict = monitor(request(inbox, out, max_invalid=0.05))
    assert "6 % is cloud" in strict.series.unused[f"b_{DAYS[1]}"]


def test_what_is_missing_is_said(inbox: Path, out: Path) -> None:
    inbox.mkdir()
    empty = monitor(request(inbox, out))
    assert empty.series.warnings == ("there is no usable scene yet",)
    arrive(inbox, DAYS[0])
    (inbox / f"broken_{DAYS[1]}.tif").write_bytes(b"half of it")
    draw_scene(inbox / "undated.tif", 50, 60)
    told = monitor(request(inbox, out, expect_days=30), today=datetime.date(2024, 7, 1)).series
    assert "the newest usable scene is 61 days old, and one is expected every 30" in told.warnings
    assert any(warning.startswith(f"broken_{DAYS[1]} failed: ") for warning in told.warnings)
    assert told.unused == {
        "undated": "nothing tells its date; put it into the file's name, like 2024-06-30"
    }
    punctual = monitor(request(inbox, out, expect_days=30), today=datetime.date(2024, 5, 20)).series
    assert not any("days old" in warning for warning in punctual.warnings)
    page = (out / "index.md").read_text()
    assert f"broken_{DAYS[1]} failed" in page


def test_a_file_still_being_copied_waits(inbox: Path, out: Path) -> None:
    arrive(inbox, *DAYS[:2])
    before = time.time() - 100
    os.utime(inbox / f"valley_{DAYS[0]}.tif", (before, before))
    watched = monitor(request(inbox, out, settle_seconds=60.0))
    assert watched.made == ("valley_20240501",)


def test_maps_stay_when_their_images_go(inbox: Path, out: Path) -> None:
    arrive(inbox, *DAYS[:2])
    monitor(request(inbox, out))
    (inbox / f"valley_{DAYS[0]}.tif").unlink()
    watched = monitor(request(inbox, out))
    assert (watched.made, len(watched.series.used)) == ((), 2)


def test_only_maps_of_one_place_are_compared(tmp_path: Path, out: Path) -> None:
    scenes = []
    for day, (where, shift) in zip(DAYS, (("west", 0), ("east", 600), ("west", 100)), strict=True):
        path = draw_scene(tmp_path / f"{where}_{day}.tif", 50, 60)
        with rasterio.open(path, "r+") as source:
            source.transform = Affine.translation(shift, 0) @ source.transform
        scenes.append(FoundScene((str(path),)))
    watched = monitor(request(tmp_path, out), lambda: scenes)
    assert [(c.earlier, c.later) for c in watched.series.changes] == [
        ("west_20240501", "west_20240701")
    ]
    assert len(list(neighbours(watched.series.used))) == 1


def test_zones_are_measured_at_every_date(inbox: Path, out: Path, tmp_path: Path) -> None:
    arrive(inbox, *DAYS[:2])
    west, north = 500_000, 5_300_000
    boxes = [
        shapely.box(west, north - 500, west + 300, north),
        shapely.box(west + 300, north - 500, west + 600, north),
    ]
    layer = tmp_path / "zones.gpkg"
    geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=boxes, crs="EPSG:32633").to_file(layer)
    monitor(request(inbox, out, zones=str(layer)))
    rows = table(out, "zones.csv")
    assert [(row["date"], row["name"]) for row in rows] == [
        ("2024-05-01", "a"), ("2024-05-01", "b"), ("2024-06-01", "a"), ("2024-06-01", "b"),
    ]  # fmt: skip
    for day in ("2024-05-01", "2024-06-01"):
        mapped = sum(float(row["mapped_m2"]) for row in rows if row["date"] == day)
        assert mapped == pytest.approx(
            sum(float(r["area_m2"]) for r in table(out, "areas.csv") if r["date"] == day)
        )
    assert (out / "runs" / "valley_20240501" / "zones.gpkg").exists()
    monitor(request(inbox, out))
    assert not (out / "zones.csv").exists()
    with pytest.raises(InputError, match=r"nowhere\.gpkg is not there"):
        monitor(request(inbox, out, zones="nowhere.gpkg"))


def test_changes_over_time_say_what_each_change_says(inbox: Path, out: Path) -> None:
    arrive(inbox, *DAYS)
    monitor(request(inbox, out))
    rows = table(out, "changes.csv")
    for folder in (out / "changes").iterdir():
        own = [row for row in table(folder, "transition.csv") if row["from_id"] != row["to_id"]]
        earlier, _, later = folder.name.partition("--")
        here = [row for row in rows if (row["earlier"], row["later"]) == (earlier, later)]
        assert {(r["from_name"], r["to_name"], r["pixels"], r["area_m2"]) for r in here} == {
            (r["from_name"], r["to_name"], r["pixels"], r["area_m2"]) for r in own
        }


@pytest.mark.slow
def test_a_change_is_made_again_when_what_it_follows_from_has_changed(
    inbox: Path, out: Path
) -> None:
    arrive(inbox, *DAYS[:2])
    both = ("valley_20240501--valley_20240601",)
    template = request(inbox, out).template
    assert monitor(request(inbox, out)).compared == both
    settings: dict[str, Any] = {}
    for further in (
        {"min_confidence": 20.0},
        {"cloud_classes": ("Cloud", "Water")},
        {"min_change_area": 500.0},
        {"template": template.model_copy(update={"simplify": 0.0})},
        {
            "template": template.model_copy(update={"simplify": 0.0, "segmenter": Rules(reach=0.3)})
        },  # other maps
    ):
        settings |= further
        assert monitor(request(inbox, out, **settings)).compared == both, further
        assert monitor(request(inbox, out, **settings)).compared == (), further


def test_zones_are_measured_again_when_they_or_the_maps_have_changed(
    inbox: Path, out: Path, tmp_path: Path
) -> None:
    arrive(inbox, DAYS[0])
    layer, mark = tmp_path / "zones.gpkg", out / "runs" / f"valley_{DAYS[0]}" / "zones.json"

    def draw_zone(width: int) -> None:
        box = shapely.box(500_000, 5_299_500, 500_000 + width, 5_300_000)
        geopandas.GeoDataFrame({"name": ["a"]}, geometry=[box], crs="EPSG:32633").to_file(layer)

    draw_zone(300)
    monitor(request(inbox, out, zones=str(layer)))
    first, keys = table(out, "zones.csv"), [mark.read_text()]
    monitor(request(inbox, out, zones=str(layer)))
    assert mark.read_text() == keys[0]
    draw_zone(200)
    os.utime(layer, ns=(1, 1))
    monitor(request(inbox, out, zones=str(layer)))
    keys.append(mark.read_text())
    (row,) = table(out, "zones.csv")
    assert float(row["mapped_m2"]) < 0.8 * float(first[0]["mapped_m2"])
    os.utime(layer, ns=(2, 2))
    monitor(request(inbox, out, zones=str(layer)))
    keys.append(mark.read_text())
    template = request(inbox, out).template.model_copy(update={"segmenter": Rules(reach=0.3)})
    monitor(request(inbox, out, zones=str(layer), template=template))
    keys.append(mark.read_text())
    other = layer.rename(tmp_path / "renamed.gpkg")
    monitor(request(inbox, out, zones=str(other), template=template))
    keys.append(mark.read_text())
    assert len(set(keys)) == len(keys)


def test_a_second_call_at_the_same_time_is_refused(inbox: Path, out: Path) -> None:
    arrive(inbox, DAYS[0])
    with folder_lock(out), pytest.raises(InputError, match="in use"):
        monitor(request(inbox, out))
    assert not (out / "runs").exists()


def an_entry(name: str, date: str, invalid: float = 0.0, **shares: float) -> Entry:
    areas = tuple(
        ClassRow(n, what, "#000000", 1, 1.0, share)
        for n, (what, share) in enumerate(shares.items(), start=1)
    )
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]}
    return Entry(name, name, "done", (), date, invalid=invalid, areas=areas, footprint=square)


def test_clouds_hide_a_part_of_what_is_not_without_data(inbox: Path, out: Path) -> None:
    asked = request(inbox, out)
    assert share_obscured(asked, an_entry("a", "2024-05-01", 0.5, Cloud=0.5, Water=0.5)) == 0.75
    assert share_obscured(asked, an_entry("a", "2024-05-01", 0.2, Water=1.0)) == 0.2
    assert share_obscured(asked, an_entry("a", "2024-05-01", 0.0, Cloud=0.25, Water=0.75)) == 0.25


def test_maps_of_one_day_are_no_neighbours() -> None:
    maps = [an_entry("a", "2024-05-01"), an_entry("b", "2024-06-01"), an_entry("c", "2024-06-01")]
    assert [(one.name, other.name) for one, other in neighbours(maps)] == [("a", "b"), ("a", "c")]


def test_a_change_that_breaks_off_leaves_no_word_of_the_one_before(
    inbox: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("in the middle")

    arrive(inbox, *DAYS[:2])
    monitor(request(inbox, out))
    (entry,) = (out / "changes").glob("*/entry.json")
    monkeypatch.setattr("flows.series.monitor.change", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        monitor(request(inbox, out, min_change_area=500.0))
    assert not entry.exists()


def test_a_folder_that_is_not_there_is_a_mistake(tmp_path: Path, out: Path) -> None:
    with pytest.raises(InputError, match="name the folder that new scenes arrive in"):
        monitor(request(tmp_path / "nowhere", out))


# ------------------------------------------------------------------------------------------ kill -9


def one_call(inbox: Path, out: Path, ready: Any) -> None:
    """What a process of its own does."""
    os.setsid()
    ready.set()
    monitor(request(inbox, out))


def start(inbox: Path, out: Path) -> ForkServerProcess:
    """A process that has imported everything and begins with a call."""
    ready = forks.Event()
    process = forks.Process(target=one_call, args=(inbox, out, ready))
    process.start()
    assert ready.wait(60)
    return process


def ended(process: ForkServerProcess) -> int | None:
    process.join(200)
    return process.exitcode


def published(
    folder: Path, names: Sequence[str] = ("areas.csv", "changes.csv", "scenes.csv")
) -> dict[str, bytes]:
    files = {name: (folder / name).read_bytes() for name in names}
    rasters = sorted(folder.glob("runs/*/classes.tif")) + sorted(
        folder.glob("changes/*/change.tif")
    )
    return files | {str(path.relative_to(folder)): path.read_bytes() for path in rasters}


@pytest.mark.slow
def test_killed_anywhere_the_next_call_catches_up(inbox: Path, out: Path, tmp_path: Path) -> None:
    arrive(inbox, *DAYS)
    # whatever is slow once in the process that forks
    assert ended(start(inbox, tmp_path / "first")) == 0
    began = time.monotonic()
    assert ended(start(inbox, tmp_path / "undisturbed")) == 0
    seconds = time.monotonic() - began
    expected = published(tmp_path / "undisturbed")
    lot, killed = random.Random(1), 0
    for attempt in range(KILLS):
        if attempt % 4 == 0:
            shutil.rmtree(out, ignore_errors=True)
        process = start(inbox, out)
        time.sleep(lot.uniform(0, 0.7 * seconds))
        if process.is_alive():
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        assert_consistent(out)
        for entry in out.glob("*/*/entry.json"):
            json.loads(entry.read_text(encoding="utf-8"))
    assert killed >= KILLS // 2
    assert ended(start(inbox, out)) == 0
    assert published(out) == expected
    assert_consistent(out)
    assert not list(out.rglob(".work-*"))
    assert monitor(request(inbox, out)).made == ()


def test_the_command_line_catches_up(inbox: Path, out: Path) -> None:
    arrive(inbox, *DAYS[:2])
    command = [
        "monitor",
        str(inbox),
        "--out",
        str(out),
        "--workers",
        "0",
        "--settle",
        "0",
        "--products",
        "classes",
    ]
    assert "new: 2 scenes, 1 changes" in CliRunner().invoke(app, command).output
    again = CliRunner().invoke(app, command)
    assert (again.exit_code, "new: 0 scenes, 0 changes" in again.output) == (0, True)
