"""Fields that are watched, on a real server: a table, an event, and nothing twice."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flows.crops.drawn import DAYS, WEAK, draw_fields, draw_images
from tests.flows.deployments.linked_pages import in_one_line
from tests.server import assets, call, completed, is_done, left_by, settles, task_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


def events(address: str, folder: Path) -> list[dict[str, Any]]:
    """What was emitted of the fields in a folder."""
    wanted = {"filter": {"event": {"name": ["landweave.crops.dropped"]}}}
    found = call(address, "events/filter", wanted)["events"]
    return [one for one in found if one["payload"]["folder"] == str(folder)]


def test_crop_monitor_tells_of_a_field_that_fell_once(address: str, tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "valley"
    inbox.mkdir()
    for file in draw_images(inbox):
        os.utime(file, (time.time() - 100,) * 2)
    draw_fields(tmp_path / "fields.gpkg")
    parameters = {
        "folders_or_catalogue": [str(inbox)],
        "fields": str(tmp_path / "fields.gpkg"),
        "output_folder": str(out),
        "watch": {"drop": 0.2},
        "judging": {"crop": "crop", "column": "plot"},
    }
    run = completed(address, "crop-monitor", parameters)
    assert run["state"]["message"] == f"+5 scenes, 1 field dropped; 5 scenes in {out}"
    assert run["name"].endswith(" → +5 scenes, 1 field dropped")
    left = left_by(address, run)
    assert is_done(left, run, "crop-monitor")
    (row,) = json.loads(left["alerts-valley"]["data"])
    assert (row["field"], row["name"], row["before"]) == (str(WEAK + 1), f"plot {WEAK}", DAYS[-2])
    page = left["crops-valley"]["data"]
    assert "crops.gpkg" in page
    files = " ".join(sorted(map(str, inbox.iterdir())))
    layer = tmp_path / "fields.gpkg"
    line = f"landweave crops {files} --fields {layer} --crop crop --column plot --out {out}"
    assert line in in_one_line(page)
    settles(lambda: len(events(address, out)), 1)
    (event,) = events(address, out)
    assert event["resource"]["prefect.resource.name"] == "valley"
    assert event["resource"]["prefect.resource.id"].startswith("landweave.crops.valley-")
    assert event["payload"]["count"] == 1
    assert event["payload"]["message"].startswith(f"plot {WEAK}: NDVI fell from 0.")
    related = {one["prefect.resource.id"] for one in event["related"]}
    assert f"prefect.flow-run.{run['id']}" in related
    assert assets(address, run) == {f"{out}/crops.gpkg"}
    settles(lambda: task_runs(address, run), {"open": "COMPLETED", "report": "COMPLETED"})
    again = completed(address, "crop-monitor", parameters)
    assert again["state"]["message"] == f"no news; 5 scenes in {out}"
    assert not [key for key in left_by(address, again) if not key.startswith("progress-")]
    assert (assets(address, again), task_runs(address, again)) == (set(), {})
    assert len(events(address, out)) == 1
