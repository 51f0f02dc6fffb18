"""`landweave serve`: a Prefect server on this machine and the flows on it, ended together."""

from __future__ import annotations

import asyncio
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

from flows.compute.waiting import tell_of_queue
from flows.deployments.database import database
from flows.pages import fileserver
from tiling.errors import InputError

HOST = "127.0.0.1"

STARTING = 180.0
"""Seconds a server may take to answer: the first start on a slow machine makes the whole
database."""

SETTINGS = {
    # nothing is told to anyone outside
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # the second user interface calls an analytics service from the browser in spite of both; the
    # classic one does not
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # SQLite takes one writer at a time; on a slow machine the others wait longer than the usual 10
    # s
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
    # a run writes its lines together, and seldom: each time other writers wait
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "5",
    # a person waits in front of the form
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    # otherwise the coming and going of workers buries the five lines about the run
    "DASK_LOGGING__DISTRIBUTED": "error",
}


NICE = 10
"""By how much runs and their workers give way to the server: a person waits for it, and it needs
little."""


def serve(port: int = 4200, wanted: str = "", *, files: bool = True) -> None:
    """Offer every flow at http://127.0.0.1:`port` until Ctrl-C or SIGTERM, and the `files` that
    runs write.

    Uses the Prefect server that answers there, or starts one, with the database that is `wanted`,
    and ends it too. Raises `InputError` where another program holds the port or the server does not
    start.
    """
    for number in endings():
        signal.signal(number, _leave)
    files = files and os.environ.get(fileserver.SETTING) != fileserver.OFF
    with server(port, wanted, files=files) as address:
        # read when Prefect is first imported
        os.environ |= SETTINGS | {"PREFECT_API_URL": f"{address}/api"}
        shown = files and fileserver.is_at(address)
        os.environ[fileserver.SETTING] = (
            f"{address}{fileserver.PREFIX}" if shown else fileserver.OFF
        )
        os.nice(NICE)
        asyncio.run(offer(address))


async def offer(address: str) -> None:
    """Run a flow whenever the server at `address` asks for it, until a signal asks to end.

    A run under way is then cancelled: left to itself, Prefect would kill it and show it as running
    for ever.
    """
    from prefect.client.orchestration import get_client
    from prefect.runner import Runner

    from flows.deployments.deploy import START, deploy, keep_lists

    # one run at a time: it takes all cores, and its memory was planned on what is free
    runner = Runner(name="landweave", limit=1)
    deployed = await deploy(runner)
    start = next(place for flow, place in deployed.items() if flow.name == START)
    work, asked = asyncio.create_task(runner.start()), asyncio.Event()
    while not (runner.started or work.done()):
        await asyncio.sleep(0.05)
    for number in endings():  # only now: the runner's start takes SIGTERM
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    page = f"{address}/deployments/deployment/{start}?tab=Description"
    say(f"Landweave is ready: open {page}, which says what is here. Ctrl-C ends it.")
    async with get_client() as client:
        beside = [
            asyncio.create_task(tell_of_queue(client, list(deployed.values()))),
            asyncio.create_task(keep_lists(client, deployed)),
        ]
        await asyncio.wait(
            {work, asyncio.create_task(asked.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in beside:
            task.cancel()
    if not work.done():
        await runner.astop()
    await work


@contextmanager
def server(port: int, wanted: str = "", *, files: bool = False) -> Iterator[str]:
    """The address of a Prefect server at `port`: the one that is there, or one that lives as long
    as the block and keeps its runs in the database that is `wanted`; it shows the `files` of
    runs."""
    address = f"http://{HOST}:{port}"
    if answers(address):
        if wanted:
            raise InputError(
                f"a Prefect server already runs at {address}, with a database; end it, or choose "
                "another --port"
            )
        say(f"A Prefect server already runs at {address}; it will be used and left running.")
        yield address
        return
    if is_port_taken(port):
        raise InputError(f"port {port} is taken by another program; choose another one with --port")
    say(f"Starting Prefect at {address} …")
    places = {
        "PREFECT_UI_API_URL": f"{address}/api",  # the port alone leaves pages calling 4200
        # or any page in the same browser could start runs
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{address},http://localhost:{port}",
    }
    with database(wanted) as chosen:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flows.deployments.prefect_app",
                "--host",
                HOST,
                "--port",
                str(port),
            ]
            + ["--files"] * files,
            env=os.environ | SETTINGS | places | chosen,
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
            raise InputError(
                f"the Prefect server ended with code {process.returncode} before it was ready; "
                "see above why"
            )
        if time.monotonic() > deadline:
            raise InputError(
                f"the Prefect server at {address} does not answer after {STARTING:.0f} s; try again"
            )
        time.sleep(0.2)


def answers(address: str) -> bool:
    """Whether a Prefect server is healthy at `address`."""
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=5) as answer:
            return json.load(answer) is True
    except (urllib.error.URLError, ConnectionError, TimeoutError, ValueError):
        return False


def is_port_taken(port: int) -> bool:
    """True where some program listens at `port`."""
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


def endings() -> tuple[signal.Signals, ...]:
    """The signals that ask to end: Ctrl-C, SIGTERM, and the closing of the terminal unless `nohup`
    says otherwise."""
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return tuple(number for number in asked if signal.getsignal(number) != signal.SIG_IGN)


def say(line: str) -> None:
    print(line, flush=True)


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)
