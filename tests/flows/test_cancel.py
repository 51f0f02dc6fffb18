"""A run that is cancelled in the pages ends soon, leaves no worker behind, and goes on later."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio

from tests.flows.test_serve import call, over, serving, started
from tests.scenes import draw_scene

pytestmark = [pytest.mark.slow, pytest.mark.trial, pytest.mark.timeout(580)]

SIZE, SHARD = 1024, 128
SHARDS = (SIZE // SHARD) ** 2


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("serve")) as (address, _):
        yield address


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


def wait_until(true: Callable[[], Any], seconds: float) -> float:
    """How long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return time.monotonic() - began


def test_a_cancelled_run_stops_at_once_and_goes_on_later(address: str, parameters: dict[str, Any]) -> None:
    out = Path(parameters["output_folder"])
    run = started(address, "segment-scene", parameters)
    wait_until(lambda: len(parts(out)) >= 4, 200)

    call(address, f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    asked = time.monotonic()
    time.sleep(5)
    after_five = parts(out)
    state = over(address, run)
    assert state["state_type"] == "CANCELLED", state["state"]
    assert time.monotonic() - asked < 60
    assert len(after_five) < SHARDS
    time.sleep(3)
    assert len(parts(out)) <= len(after_five) + 2  # the shards in hand
    assert not (out / "run.json").exists()

    kept = parts(out)
    again = over(address, started(address, "segment-scene", parameters))
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert {name: parts(out)[name] for name in kept} == kept  # not done again
    assert len(parts(out)) == SHARDS


def test_retrying_a_failed_run_in_the_pages_resumes_it(address: str, parameters: dict[str, Any]) -> None:
    scene, out = Path(parameters["scene"][0]), Path(parameters["output_folder"])
    whole, known = scene.read_bytes(), scene.stat()
    with rasterio.open(scene) as source:
        offset = int(source.get_tag_item("BLOCK_OFFSET_0_0", ns="TIFF", bidx=1))
    broken = bytearray(whole)
    broken[offset : offset + 64] = os.urandom(64)
    assert broken != whole
    parameters["segmenter"] = {"kind": "rules"}

    scene.write_bytes(broken)
    os.utime(scene, ns=(known.st_atime_ns, known.st_mtime_ns))
    run = over(address, started(address, "segment-scene", parameters))
    assert run["state_type"] == "FAILED"
    assert f"1 of {SHARDS} shards failed and the others are kept" in run["state"]["message"]
    kept = parts(out)
    assert len(kept) == SHARDS - 1

    scene.write_bytes(whole)
    os.utime(scene, ns=(known.st_atime_ns, known.st_mtime_ns))
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}  # what the Retry button sends
    call(address, f"flow_runs/{run['id']}/set_state", retry)
    wait_until(lambda: call(address, f"flow_runs/{run['id']}")["state_type"] != "FAILED", 20)
    again = over(address, run)
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert again["run_count"] == 2
    assert {name: parts(out)[name] for name in kept} == kept
