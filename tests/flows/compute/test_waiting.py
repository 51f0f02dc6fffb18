"""A run that waits says why, and behind what."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from flows.compute.waiting import workers_watched
from tests.scenes import draw_scene
from tests.server import call, over, started, wait_until


def test_a_cluster_that_loses_its_workers_is_told_of_and_so_is_their_return() -> None:
    counts, said, heard = iter([2, 0, 0, 1]), list[str](), threading.Event()

    def told(line: str) -> None:
        said.append(line)
        if line.startswith("goes on"):
            heard.set()

    with workers_watched(lambda: next(counts, 1), "the scheduler", told, every=0.01):
        assert heard.wait(30)
    assert said == [
        "waits: the scheduler has no worker; start some, the work goes on by itself",
        "goes on: the scheduler has 1 worker",
    ]


def test_a_scheduler_that_does_not_answer_ends_no_watch() -> None:
    asked = threading.Event()

    def count() -> int:
        asked.set()
        raise OSError

    with workers_watched(count, "the scheduler", print, every=0.01):
        assert asked.wait(30)


def lines(address: str, run: dict[str, Any]) -> list[str]:
    """What the log of a run says."""
    wanted = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
    return [line["message"] for line in call(address, "logs/filter", wanted)]


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_run_that_waits_for_another_says_for_which_and_then_goes_on(
    address: str, tmp_path: Path
) -> None:
    large = draw_scene(tmp_path / "large.tif", 1024, 1024)
    small = draw_scene(tmp_path / "small.tif", 64, 64)
    slow = {"kind": "network", "tile": 128}
    first = started(
        address,
        "segment-scene",
        {
            "scene": [str(large)],
            "output_folder": str(tmp_path / "one"),
            "segmenter": slow,
            "advanced": {"shard": 128},
        },
    )
    wait_until(
        lambda: call(address, f"flow_runs/{first['id']}")["state_type"] in ("PENDING", "RUNNING"),
        120,
    )
    second = started(
        address, "segment-scene", {"scene": [str(small)], "output_folder": str(tmp_path / "two")}
    )
    why = "waits for large · network: one run works at a time here"

    def state() -> dict[str, Any]:
        return dict(call(address, f"flow_runs/{second['id']}")["state"])

    waiting = wait_until(lambda: state() if state()["message"] == why else None, 60)
    assert waiting["type"] == "SCHEDULED"
    assert lines(address, second) == [why]
    call(address, f"flow_runs/{first['id']}/set_state", {"state": {"type": "CANCELLING"}})
    assert over(address, second)["state_type"] == "COMPLETED"
