"""A Prefect server with every flow on it, as `landweave serve` starts it, and its API as tests ask
it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.inference.network import Network

PICTURE = "](data:image/png;base64,"
"""How a picture begins on a page."""

ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Which of the processes that share a run of the tests this one is."""

_ports = iter(range(20_000 + 1_000 * (WORKER % 10), 21_000 + 1_000 * (WORKER % 10)))


def free_port() -> int:
    """A port at which nobody listens and that no other test is given.

    Each process of a run has a thousand of its own, below those that the system hands out by
    itself: a server that starts later finds its port still free.
    """
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def call(address: str, path: str, body: Any = None, method: str | None = None) -> Any:
    """What Prefect's API answers; None where it has nothing to say."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        f"{address}/api/{path}", data, {"content-type": "application/json"}, method=method
    )
    for attempt in range(6):
        try:
            with urllib.request.urlopen(asked, timeout=90) as answer:
                return json.loads(answer.read() or b"null")
        except (
            urllib.error.HTTPError
        ) as error:  # of a busy database Prefect says 503, and its own clients ask again
            if error.code != 503 or attempt == 5:
                raise
        time.sleep(2)
    raise AssertionError("the last attempt returns")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of `landweave serve`, whose Prefect lives in `folder`."""
    port = free_port()
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "LANDWEAVE_ALLOWED_HOSTS": "127.0.0.1",
    }
    with (
        open(folder / "serve.log", "w", encoding="utf-8") as log,
        subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", "--port", str(port)],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 280
            while "Landweave is ready" not in (
                said := (folder / "serve.log").read_text(encoding="utf-8")
            ):
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}", process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def listening(process: psutil.Process) -> set[str]:
    """The addresses at which a process and all it started accept connections."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        found |= {c.laddr.ip for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return found


def wait_until(true: Callable[[], Any], seconds: float) -> Any:
    """What `true` says, once it is something."""
    deadline = time.monotonic() + seconds
    while not (said := true()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.2)
    return said


def settles(ask: Callable[[], Any], wanted: Any, seconds: float = 30) -> None:
    """Assert that the answer comes to what is wanted: the server hears of task runs and assets
    after the fact."""
    deadline = time.monotonic() + seconds
    while (answer := ask()) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert answer == wanted


def started(address: str, flow: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """A new flow run of these parameters."""
    deployment = call(address, f"deployments/name/{flow}/{flow}")["id"]
    return dict(
        call(address, f"deployments/{deployment}/create_flow_run", {"parameters": parameters})
    )


def over(address: str, run: dict[str, Any]) -> dict[str, Any]:
    """The flow run, once it is over."""
    deadline = time.monotonic() + 280
    while (run := call(address, f"flow_runs/{run['id']}"))["state_type"] not in ENDS:
        assert time.monotonic() < deadline, run["state"]
        time.sleep(0.5)
    return dict(run)


def run_and_wait(
    address: str, parameters: dict[str, Any], flow: str = "segment-scene"
) -> dict[str, Any]:
    """The flow run of these parameters, once it is over."""
    return over(address, started(address, flow, parameters))


def completed(address: str, flow: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The same, where it has to succeed."""
    run = run_and_wait(address, parameters, flow)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    return run


def at_home(scene: Path, out: Path, shard: int) -> Path:
    """What the small network makes of a scene where nobody disturbs it: a run in this process,
    without a server."""
    pipeline.run(
        Request(
            source=Source(paths=(str(scene),)),
            out=out,
            segmenter=Network(tile=shard),
            shard=shard,
            products=("classes",),
        )
    )
    return out


def of_run(run: dict[str, Any]) -> dict[str, Any]:
    """Asks the API for what belongs to a flow run."""
    return {"flow_runs": {"id": {"any_": [run["id"]]}}}


def left_by(address: str, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a run left to be looked at, by key without the mark of its folder."""
    there = [one for one in call(address, "artifacts/filter", of_run(run)) if one["key"]]
    return {re.sub(r"-[0-9a-f]{6}$", "", one["key"]): one for one in there}


def assets(address: str, run: dict[str, Any]) -> set[str]:
    """Paths of what a run made, as its events say."""
    wanted = {
        "event": {"name": ["prefect.asset.materialization.succeeded"]},
        "related": {"id": [f"prefect.flow-run.{run['id']}"]},
    }
    events = call(address, "events/filter", {"filter": wanted, "limit": 50})["events"]
    return {event["resource"]["prefect.resource.id"].removeprefix("file://") for event in events}


def makes(address: str, run: dict[str, Any], *files: Path) -> None:
    """Assert that these are the run's assets."""
    settles(lambda: assets(address, run), set(map(str, files)))


def is_done(left: dict[str, dict[str, Any]], run: dict[str, Any], flow: str) -> bool:
    """Whether a run has one bar, at its end, that says what came of it."""
    bars = {key: one for key, one in left.items() if one["type"] == "progress"}
    (bar,) = bars.values()
    return (
        list(bars) == [f"progress-{flow}"]
        and bar["data"] == 100
        and bar["task_run_id"] is None
        and bar["description"].startswith("done in ")
        and bar["description"].endswith(run["state"]["message"])
    )


def task_runs(address: str, run: dict[str, Any]) -> dict[str, str]:
    """The task runs of a flow run and how they stand."""
    return {one["name"]: one["state_type"] for one in tasks_of(address, run)}


def tasks_of(address: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The task runs of a flow run with all that is known of them."""
    return list(call(address, "task_runs/filter", of_run(run)))
