"""A cluster over a network: machines of their own, talking TLS, and nobody else let in.

Network namespaces stand for the machines: a scheduler, a worker, and this process on a bridge
between them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from flows.compute import cluster
from flows.compute.cluster import Cluster
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.scenes import draw_scene
from tiling.errors import InputError

pytestmark = pytest.mark.slow

BRIDGE, NET = f"lw{os.getpid() % 10_000}", "10.213.77"

GIVE_UP_SOON = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s"}
"""How long a silent worker is waited for; otherwise five minutes."""


class Keys(NamedTuple):
    """What a machine needs to be let in, as files."""

    ca: str
    cert: str
    key: str

    @property
    def settings(self) -> dict[str, str]:
        return {"ca_file": self.ca, "cert": self.cert, "key": self.key}


def keys(folder: Path) -> Keys:
    """Keys signed by an authority of their own."""
    from distributed import Security

    folder.mkdir()
    made = Security.temporary()
    for name, content in (
        ("ca", made.tls_ca_file),
        ("cert", made.tls_client_cert),
        ("key", made.tls_client_key),
    ):
        (folder / f"{name}.pem").write_text(content)
    return Keys(*(str(folder / f"{name}.pem") for name in Keys._fields))


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces with an address each, behind a bridge on which this process has one
    too."""
    names = (f"{BRIDGE}a", f"{BRIDGE}b")
    with ExitStack() as stack:
        try:
            ip("link", "add", BRIDGE, "type", "bridge")
            stack.callback(subprocess.run, ["ip", "link", "del", BRIDGE], capture_output=True)
            ip("addr", "add", f"{NET}.1/24", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            for number, name in enumerate(names, start=2):
                ip("netns", "add", name)
                stack.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)
                ip("link", "add", f"{name}0", "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("link", "set", f"{name}0", "master", BRIDGE, "up")
                ip("-n", name, "addr", "add", f"{NET}.{number}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(
                f"no network namespaces can be made here: {getattr(error, 'stderr', error)!r}"
            )
        yield names


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return keys(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def address(
    machines: tuple[str, str], ours: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A scheduler and a worker on one machine, a worker on the other."""
    folder = tmp_path_factory.mktemp("dask")
    tls = [
        "--tls-ca-file",
        ours.ca,
        "--tls-cert",
        ours.cert,
        "--tls-key",
        ours.key,
        "--no-dashboard",
    ]

    def start(machine: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", machine, sys.executable, "-m", "dask", *arguments, *tls]
        with open(folder / f"{machine}.log", "ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | GIVE_UP_SOON
            )
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    with ExitStack() as stack:
        known = folder / "scheduler.json"
        scheduler = ("scheduler", "--protocol", "tls", "--host", f"{NET}.2", "--port", "8786")
        start(machines[0], *scheduler, "--scheduler-file", str(known))
        wait_until(known.exists)
        for number, machine in enumerate(machines, start=2):
            start(
                machine,
                "worker",
                f"tls://{NET}.2:8786",
                "--host",
                f"{NET}.{number}",
                "--no-nanny",
                "--nthreads",
                "1",
            )
        found = json.loads(known.read_text())["address"]
        with pytest.MonkeyPatch.context() as patient:
            patient.setattr(cluster, "SCHEDULER_TIMEOUT", 60)
            with cluster.start(Cluster(kind=found, settings=ours.settings, workers=2)):
                pass
        yield found


def wait_until(happened) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.1)


def test_a_run_over_the_network_is_the_run_at_home(
    address: str, ours: Keys, tmp_path: Path
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 200, 300)
    request = Request(
        source=Source(paths=(str(scene),)), out=tmp_path / "home", segmenter=Rules(), shard=64
    )
    pipeline.run(request)
    away = request.model_copy(update={"out": tmp_path / "away"})
    pipeline.run(away, on=Cluster(kind=address, settings=ours.settings))
    assert address.startswith(f"tls://{NET}.2")
    for name in ("classes.tif", "confidence.tif", "areas.csv"):
        assert (tmp_path / "away" / name).read_bytes() == (tmp_path / "home" / name).read_bytes()


def test_whoever_has_other_keys_is_not_let_in(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_TIMEOUT", 5)
    theirs = keys(tmp_path / "theirs")
    with pytest.raises(InputError, match=rf"no Dask scheduler answers at {address}"):
        cluster.start(Cluster(kind=address, settings=theirs.settings)).__enter__()


def test_whoever_speaks_plainly_is_not_let_in(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_TIMEOUT", 5)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        cluster.start(Cluster(kind=address.replace("tls://", "tcp://"))).__enter__()


def test_a_machine_cut_off_in_the_middle_costs_time_and_no_pixel(
    address: str, machines: tuple[str, str], ours: Keys, tmp_path: Path
) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 600, 600)
    request = Request(
        source=Source(paths=(str(scene),)),
        out=tmp_path / "home",
        segmenter=Rules(),
        shard=40,
        products=("classes",),
    )
    pipeline.run(request)
    away = request.model_copy(update={"out": tmp_path / "away"})

    def cut_off() -> None:
        wait_until(lambda: len(list((tmp_path / "away" / "parts").glob("*.tif"))) > 10)
        ip("-n", machines[1], "link", "set", "eth0", "down")

    cutter = threading.Thread(target=cut_off)
    cutter.start()
    try:
        pipeline.run(away, on=Cluster(kind=address, settings=ours.settings))
    finally:
        cutter.join()
        ip("-n", machines[1], "link", "set", "eth0", "up")
    assert (tmp_path / "away" / "classes.tif").read_bytes() == (
        tmp_path / "home" / "classes.tif"
    ).read_bytes()
