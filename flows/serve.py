"""`landweave serve`: a Prefect server on this machine and the flow on it, ended together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from tiling.errors import Mistake

HOST = "127.0.0.1"

STARTING = 180.0
"""Seconds a server may take to answer: the first start on a slow machine makes the whole database."""

SETTINGS = {
    # nothing is told to anyone outside
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # the second user interface calls an analytics service from the browser in spite of both; the classic one does not
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # a person waits in front of the form
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    # otherwise the coming and going of workers buries the five lines about the run
    "DASK_LOGGING__DISTRIBUTED": "error",
}


def serve(port: int = 4200) -> None:
    """Offer `segment-scene` at http://127.0.0.1:`port` until Ctrl-C or SIGTERM.

    Uses the Prefect server that answers there, or starts one and ends it too. Raises `Mistake` where another program
    holds the port or the server does not start.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)  # the terminal was closed
    with server(port) as address:
        # Prefect reads these when it is first imported
        os.environ |= SETTINGS | {"PREFECT_API_URL": f"{address}/api"}
        from prefect import serve as run_deployments
        from prefect.deployments.runner import EntrypointType

        from flows.segment import segment_scene

        deployment = segment_scene.to_deployment(name="segment-scene", entrypoint_type=EntrypointType.MODULE_PATH)
        say(f"Landweave is ready: open {address}/deployments and run segment-scene. Ctrl-C ends it.")
        # one run at a time: it takes all cores, and its memory was planned on what is free
        run_deployments(deployment, limit=1, print_starting_message=False)


@contextmanager
def server(port: int) -> Iterator[str]:
    """The address of a Prefect server at `port`: the one that is there, or one that lives as long as the block."""
    address = f"http://{HOST}:{port}"
    if answers(address):
        say(f"A Prefect server already runs at {address}; it will be used and left running.")
        yield address
        return
    if taken(port):
        raise Mistake(f"port {port} is taken by another program; choose another one with --port")
    say(f"Starting Prefect at {address} …")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)],
        env=os.environ | SETTINGS | {"PREFECT_UI_API_URL": f"{address}/api"},  # --port alone leaves pages calling 4200
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches it through us, after the flow has let go of it
    )
    try:
        wait_until_it_answers(process, address)
        yield address
    finally:
        end(process)


def wait_until_it_answers(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + STARTING
    while not answers(address):
        if process.poll() is not None:
            raise Mistake(f"the Prefect server ended with code {process.returncode} before it was ready; see above why")
        if time.monotonic() > deadline:
            raise Mistake(f"the Prefect server at {address} does not answer after {STARTING:.0f} s; try again")
        time.sleep(0.2)


def answers(address: str) -> bool:
    """Whether a Prefect server is healthy at `address`."""
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=5) as answer:
            return json.load(answer) is True
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
        return False


def taken(port: int) -> bool:
    """Whether some program listens at `port`."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, and after 15 s by force."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def say(line: str) -> None:
    print(line, flush=True)


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)
