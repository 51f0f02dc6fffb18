"""Flows that map many scenes, by hand and by a schedule, on a real server: what they make, what
they leave in the pages, and what they do not do twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flows.deployments.linked_pages import (
    arrived,
    count_pictures,
    in_one_line,
    linked,
    of_scene,
)
from tests.scenes import BANDS, draw_scene
from tests.server import (
    ENDS,
    PICTURE,
    assets,
    call,
    completed,
    is_done,
    left_by,
    makes,
    run_and_wait,
    settles,
    task_runs,
    wait_until,
)
from tests.stac import asset, catalogue, item

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


def test_segment_collection_maps_every_scene_and_reports_on_all(address: str, place: Path) -> None:
    out = place / "atlas"
    run = completed(
        address, "segment-collection", {"scenes": [str(place / "inbox")], "output_folder": str(out)}
    )
    names = ("valley_20240501", "valley_20240601")
    assert run["state"]["message"] == f"+2 scenes; 2 scenes in {out}"
    assert run["name"].endswith(" → +2 scenes")
    wanted = [*of_scene(names[0]), *of_scene(names[1]), "report"]
    settles(lambda: task_runs(address, run), dict.fromkeys(wanted, "COMPLETED"))
    left = left_by(address, run)
    assert is_done(left, run, "segment-collection")
    page = left["report-atlas"]["data"]
    assert PICTURE in page
    files = {
        "report.html",
        "index.md",
        "areas.csv",
        "areas.png",
        "scenes.csv",
        "runs.gpkg",
        "runs.parquet",
    }
    assert linked(page) >= {*files, "quicklook.png", "landcover.gpkg", *names}
    assert all(what for what in re.findall(r"\| \[[^|]*\| ([^|]*) \|", page))
    assert {row["date"] for row in json.loads(left["areas-atlas"]["data"])} == {
        "2024-05-01",
        "2024-06-01",
    }
    assert {f"land-cover-{slug}" for slug in ("valley-20240501", "valley-20240601")} < set(left)
    maps = [out / name / file for name in names for file in ("classes.tif", "landcover.gpkg")]
    makes(address, run, *maps, out / "report.html", out / "runs.gpkg")


def test_a_collection_with_a_broken_scene_fails_with_its_name_and_keeps_the_others(
    address: str, place: Path
) -> None:
    (place / "mixed").mkdir()
    draw_scene(place / "mixed" / "good.tif", 64, 64)
    (place / "mixed" / "torn.tif").write_bytes(b"II*\0 and then nothing")
    out = place / "kept"
    run = run_and_wait(
        address, {"scenes": [str(place / "mixed")], "output_folder": str(out)}, "segment-collection"
    )
    assert run["state_type"] == "FAILED"
    assert (
        "1 of 2 scenes failed and the others are done; the first, torn: " in run["state"]["message"]
    )
    assert "> **torn:** failed: " in left_by(address, run)["report-kept"]["data"]
    assert (out / "good" / "landcover.gpkg").exists()


def test_a_collection_is_searched_for_in_a_stac_catalogue(address: str, place: Path) -> None:
    scenes = [place / "inbox" / f"valley_20240{month}01.tif" for month in (5, 6)]
    items = [
        item(
            scene.stem, {"all": asset(scene, BANDS, nodata=0, scale=1e-4)}, day=f"2024-0{month}-01"
        )
        for month, scene in zip((5, 6), scenes, strict=True)
    ]
    parameters = {
        "scenes": [catalogue(place / "stac", items)],
        "output_folder": str(place / "searched"),
        "series": {"search": True, "dates": "2024-06"},
    }
    run = completed(address, "segment-collection", parameters)
    assert run["state"]["message"].startswith("+1 scene; ")
    assert (place / "searched" / "2024-06-01" / "landcover.gpkg").exists()


@contextmanager
def scheduled(address: str, flow: str, seconds: int, parameters: dict[str, Any]) -> Iterator[str]:
    """A deployment that runs every so many seconds."""
    deployment = call(address, f"deployments/name/{flow}/{flow}")["id"]
    wanted = {"schedule": {"interval": seconds}, "active": True, "parameters": parameters}
    (schedule,) = call(address, f"deployments/{deployment}/schedules", [wanted])
    try:
        yield deployment
    finally:
        call(address, f"deployments/{deployment}/schedules/{schedule['id']}", method="DELETE")
        for run in fired(address, deployment):
            if run["state_type"] not in ENDS:
                call(
                    address,
                    f"flow_runs/{run['id']}/set_state",
                    {"state": {"type": "CANCELLED"}, "force": True},
                )


def fired(address: str, deployment: str) -> list[dict[str, Any]]:
    """Runs that a schedule started, in the order of their start."""
    wanted = {"deployments": {"id": {"any_": [deployment]}}, "sort": "START_TIME_ASC"}
    return [run for run in call(address, "flow_runs/filter", wanted) if run["auto_scheduled"]]


def test_land_use_monitor_runs_by_its_schedule_takes_what_is_new_and_nothing_twice(
    address: str, place: Path, tmp_path: Path
) -> None:
    inbox, out = tmp_path / "incoming", tmp_path / "valley"
    inbox.mkdir()
    arrived(draw_scene(inbox / "valley_20240501.tif", 256, 256, seed=5))
    with scheduled(
        address, "land-use-monitor", 6, {"folders": [str(inbox)], "output_folder": str(out)}
    ) as deployment:

        def over_with(text: str) -> dict[str, Any] | None:
            """The first scheduled run that ended so."""
            runs = [run for run in fired(address, deployment) if run["state_type"] in ENDS]
            assert all(run["state_type"] == "COMPLETED" for run in runs), [
                run["state"]["message"] for run in runs
            ]
            return next((run for run in runs if run["state"]["message"].startswith(text)), None)

        first = wait_until(lambda: over_with("+1 scene;"), 120)
        wait_until(lambda: over_with("no news;"), 120)
        arrived(draw_scene(inbox / "valley_20240601.tif", 256, 256, seed=6))
        second = wait_until(lambda: over_with("+1 scene, "), 120)
        made = {path: path.stat().st_mtime_ns for path in out.rglob("classes.tif")}
        assert len(made) == 2
        quiet = wait_until(
            lambda: next(
                (
                    run
                    for run in fired(address, deployment)
                    if run["state_type"] == "COMPLETED" and run["start_time"] > second["end_time"]
                ),
                None,
            ),
            120,
        )
    assert quiet["state"]["message"] == f"no news; 2 scenes in {out}"
    assert quiet["name"].endswith(" → no news")
    assert re.search(r" → \+1 scene, [\d,]+ ha changed$", second["name"])
    assert {path: path.stat().st_mtime_ns for path in out.rglob("classes.tif")} == made
    assert task_runs(address, quiet) == {}
    assert not [key for key in left_by(address, quiet) if not key.startswith("progress-")]
    assert assets(address, quiet) == set()
    settles(
        lambda: task_runs(address, first),
        dict.fromkeys([*of_scene("valley_20240501"), "report"], "COMPLETED"),
    )
    settles(
        lambda: task_runs(address, second),
        dict.fromkeys([*of_scene("valley_20240601"), "report"], "COMPLETED"),
    )
    for one in (quiet, second):
        assert is_done(left_by(address, one), one, "land-use-monitor")
    left = left_by(address, second)
    page = left["report-valley"]["data"]
    assert "### From 2024-05-01 to 2024-06-01" in page
    assert count_pictures(page) == 3  # the newest map, shares over time, what became of what
    assert linked(page) >= {"report.html", "changes.csv", "change.gpkg", "quicklook.png"}
    assert f"landweave monitor {inbox} --out {out}" in in_one_line(page)
    assert {row["date"] for row in json.loads(left["areas-valley"]["data"])} == {
        "2024-05-01",
        "2024-06-01",
    }
