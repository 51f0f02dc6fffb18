"""A run that is cancelled in the pages ends soon, leaves no worker behind, and goes on later."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import rasterio
import rasterio.shutil

from flows.plan.plan import make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.storage.run_folder import open_run
from segmentation.classical.rules import Rules
from tests.scenes import draw_scene
from tests.server import at_home, call, completed, over, started, tasks_of, wait_until
from tests.web import serving_in_part
from tiling.io.remote_cache import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]

SIZE, SHARD = 1024, 128
SHARDS = (SIZE // SHARD) ** 2


@pytest.fixture
def parameters(tmp_path: Path) -> dict[str, Any]:
    """A run of 64 shards, each a fraction of a second of a network's work."""
    scene = draw_scene(tmp_path / "scene.tif", SIZE, SIZE)
    return {
        "scene": [str(scene)],
        "output_folder": str(tmp_path / "out"),
        "segmenter": {"kind": "network", "tile": SHARD},
        "output": {"products": ["classes"]},
        "advanced": {"shard": SHARD, "workers": 2},
    }


def parts(folder: Path) -> dict[str, int]:
    """Finished parts and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("r*.tif")}


def processes_of(run: dict[str, Any]) -> list[psutil.Process]:
    """Processes that work for a flow run: they inherit its id."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run["id"]:
                found.append(process)
    return found


def test_a_cancelled_run_stops_at_once_and_goes_on_later(
    address: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    out = Path(parameters["output_folder"])
    run = started(address, "segment-scene", parameters)
    wait_until(lambda: len(parts(out)) >= 4, 200)
    assert len(processes_of(run)) > 2

    call(
        address,
        f"flow_runs/{run['id']}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )
    asked = time.monotonic()
    time.sleep(5)
    after_five = parts(out)
    state = over(address, run)
    assert state["state_type"] == "CANCELLED", state["state"]
    assert time.monotonic() - asked < 60
    wait_until(lambda: not processes_of(run), 30)
    assert len(after_five) < SHARDS
    assert parts(out) == after_five
    assert not (out / "run.json").exists()

    completed(address, "segment-scene", parameters)
    assert {name: parts(out)[name] for name in after_five} == after_five  # not done again
    assert len(parts(out)) == SHARDS

    undisturbed = at_home(Path(parameters["scene"][0]), tmp_path / "undisturbed", SHARD)
    assert (out / "classes.tif").read_bytes() == (undisturbed / "classes.tif").read_bytes()


def test_a_run_whose_process_is_killed_has_crashed(
    address: str, parameters: dict[str, Any]
) -> None:
    out = Path(parameters["output_folder"])
    run = started(address, "segment-scene", parameters)
    wait_until(lambda: parts(out), 200)
    for process in processes_of(run):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert over(address, run)["state_type"] == "CRASHED"
    assert 0 < len(parts(out)) < SHARDS
    assert not (out / "run.json").exists()


def test_retrying_a_failed_run_in_the_pages_resumes_it(
    address: str, parameters: dict[str, Any]
) -> None:
    scene, out = Path(parameters["scene"][0]), Path(parameters["output_folder"])
    packed = scene.with_name("packed.tif")
    rasterio.shutil.copy(
        scene,
        packed,
        driver="GTiff",
        compress="deflate",
        tiled=True,
        blockxsize=SHARD,
        blockysize=SHARD,
    )
    whole, known = packed.read_bytes(), packed.stat()
    with rasterio.open(packed) as source:
        offset = int(source.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    broken = bytearray(whole)
    broken[offset : offset + 64] = bytes(64)
    parameters |= {"scene": [str(packed)], "segmenter": {"kind": "rules"}}

    packed.write_bytes(broken)
    os.utime(packed, ns=(known.st_atime_ns, known.st_mtime_ns))
    run = over(address, started(address, "segment-scene", parameters))
    assert run["state_type"] == "FAILED"
    assert f"1 of {SHARDS} shards failed and the others are kept" in run["state"]["message"]
    kept = parts(out)
    assert len(kept) == SHARDS - 1

    packed.write_bytes(whole)
    os.utime(packed, ns=(known.st_atime_ns, known.st_mtime_ns))
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}  # what the Retry button sends
    call(address, f"flow_runs/{run['id']}/set_state", retry)
    wait_until(lambda: call(address, f"flow_runs/{run['id']}")["state_type"] != "FAILED", 20)
    again = over(address, run)
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert again["run_count"] == 2
    assert {name: parts(out)[name] for name in kept} == kept
    assert len(parts(out)) == SHARDS


def test_a_stage_whose_storage_was_away_is_tried_again_by_itself(
    address: str, parameters: dict[str, Any], tmp_path: Path
) -> None:
    scene, out = tmp_path / "large.tif", tmp_path / "out"
    drawn = draw_scene(tmp_path / "drawn.tif", 1792, 1792)
    # its index comes first
    rasterio.shutil.copy(drawn, scene, driver="COG", compress="none", overviews="none")
    parameters |= {"segmenter": {"kind": "rules"}, "advanced": {"shard": 896, "workers": 1}}
    assert scene.stat().st_size > SMALL  # not fetched whole at the start
    with serving_in_part(scene, scene.stat().st_size // 2) as (url, back):
        back.set()
        with open_run(
            out
        ) as folder:  # what the scene says of itself is known: the plan needs no pixel
            make_plan(Request(source=Source(paths=(url,)), out=out, segmenter=Rules()), folder)
        back.clear()
        run = started(address, "segment-scene", parameters | {"scene": [url]})

        def segmenting() -> str | None:
            names = {task["name"]: task["state_name"] for task in tasks_of(address, run)}
            return names.get("segment")

        wait_until(lambda: segmenting() == "AwaitingRetry", 120)
        kept = parts(out)
        back.set()
        run = over(address, run)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["run_count"] == 1
    assert {task["name"]: task["run_count"] for task in tasks_of(address, run)}["segment"] == 2
    assert 0 < len(kept) < len(parts(out)) == 4
    assert {name: parts(out)[name] for name in kept} == kept
