"""Whatever a form sends while a run works exists afterwards."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest

from tests.scenes import draw_scene
from tests.server import call, over, started, tasks_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]

SUBMITS = 60


def test_of_sixty_submits_during_a_run_none_is_lost(address: str, tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 2048, 2048)
    parameters = {
        "scene": [str(scene)],
        "output_folder": str(tmp_path / "out"),
        "segmenter": {"kind": "network", "tile": 128},
        "advanced": {"shard": 128, "workers": 2},
    }
    work = started(address, "segment-scene", parameters)
    wait_until(lambda: "segment" in {task["name"] for task in tasks_of(address, work)}, 120)
    deployment = call(address, "deployments/name/segment-scene/segment-scene")["id"]

    def submit(number: int) -> str:
        """What the form sends, once, as the browser does; the id of the run that is then."""
        body = json.dumps(
            {"parameters": parameters | {"output_folder": str(tmp_path / str(number))}}
        ).encode()
        asked = urllib.request.Request(
            f"{address}/api/deployments/{deployment}/create_flow_run",
            body,
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=90) as answer:
            return str(json.load(answer)["id"])

    ids, waits = [], []
    for number in range(SUBMITS):
        began = time.monotonic()
        ids.append(submit(number))
        waits.append(time.monotonic() - began)
        time.sleep(0.2)
    print(f"a submit took {max(waits):.1f} s at most")
    assert len(set(ids)) == SUBMITS
    assert [call(address, f"flow_runs/{one}")["parameters"]["output_folder"] for one in ids] == [
        str(tmp_path / str(number)) for number in range(SUBMITS)
    ]
    for one in ids:
        call(address, f"flow_runs/{one}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    call(
        address,
        f"flow_runs/{work['id']}/set_state",
        {"state": {"type": "CANCELLING", "name": "Cancelling"}},
    )
    over(address, work)
