"""What a Tuesday brings: workers killed, the client killed, the scheduler lost, a full disk, a
corrupt block.

Processes are real ones, started and killed by the test. Whatever happens, a run that says it is
done has every pixel of an undisturbed one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio

from flows.compute.cluster import Cluster
from flows.compute.dask_pool import SchedulerLost
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.rules import Rules
from tests.forks import forks
from tests.scenes import draw_scene
from tiling.errors import InputError

LENGTH, SHARD = 512, 48
KILLS = 20


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scene(tmp_path_factory.mktemp("scene") / "scene.tif", LENGTH, LENGTH)


@pytest.fixture(scope="module")
def undisturbed(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    pipeline.run(request(scene, folder))
    return folder


def request(scene: Path, folder: Path) -> Request:
    return Request(source=Source(paths=(str(scene),)), out=folder, segmenter=Rules(), shard=SHARD)


def assert_same_products(folder: Path, expected: Path) -> None:
    for name in ("classes.tif", "confidence.tif"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    found, wanted = (pyogrio.read_dataframe(run / "landcover.gpkg") for run in (folder, expected))
    assert found.geometry.to_wkb().tolist() == wanted.geometry.to_wkb().tolist()
    assert found.drop(columns="geometry").equals(wanted.drop(columns="geometry"))


# ---------------------------------------------------------------------------------------- processes


def work(address: str, folder: str) -> None:
    """Be a worker until killed."""
    from distributed import Worker

    async def until_killed() -> None:
        async with Worker(
            address, nthreads=1, local_directory=folder, host="127.0.0.1", dashboard=False
        ) as worker:
            await worker.finished()

    with open(Path(folder) / "worker.log", "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    asyncio.run(until_killed())


class Herd:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "dask",
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
        ]
        with open(folder / "scheduler.log", "ab") as log:
            self.scheduler = subprocess.Popen(
                [*command, "--scheduler-file", str(folder / "scheduler.json")],
                stdout=log,
                stderr=log,
                env=os.environ | {"DASK_LOGGING__DISTRIBUTED": "critical"},
            )
        self.workers: list[ForkServerProcess] = []
        deadline = time.monotonic() + 60
        while not (folder / "scheduler.json").exists():
            assert time.monotonic() < deadline, "no scheduler within a minute"
            time.sleep(0.1)
        self.address = json.loads((folder / "scheduler.json").read_text())["address"]

    def add_worker(self) -> None:
        worker = forks.Process(target=work, args=(self.address, str(self.folder)), daemon=True)
        worker.start()
        self.workers.append(worker)

    def kill_one(self, rng: random.Random) -> None:
        worker = rng.choice(self.workers)
        self.workers.remove(worker)
        worker.kill()
        worker.join()

    def close(self) -> None:
        while self.workers:
            self.kill_one(random.Random(0))
        self.scheduler.kill()
        self.scheduler.wait()


@contextmanager
def herd(folder: Path, workers: int = 3) -> Iterator[Herd]:
    with ExitStack() as stack:
        started = Herd(folder)
        stack.callback(started.close)
        for _ in range(workers):
            started.add_worker()
        wait_for_workers(started.address, workers)
        yield started


def wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, timeout=30) as client:
        client.wait_for_workers(count, timeout=90)


class Chaos(threading.Thread):
    """Kills so many workers at random moments and replaces them, unless it is told to stop."""

    def __init__(self, herd: Herd, seed: int, most: int) -> None:
        super().__init__(daemon=True)
        self.herd, self.rng, self.over, self.kills, self.most = (
            herd,
            random.Random(seed),
            threading.Event(),
            0,
            most,
        )

    def run(self) -> None:
        while self.kills < self.most and not self.over.wait(self.rng.uniform(0.05, 0.8)):
            self.herd.kill_one(self.rng)
            self.herd.add_worker()
            self.kills += 1

    def stop(self) -> None:
        self.over.set()
        self.join()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_workers_cost_time_and_no_pixel(
    scene: Path, undisturbed: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("LANDWEAVE_CHAOS_SEED", secrets.randbelow(10**6)))
    print(f"LANDWEAVE_CHAOS_SEED={seed}")
    kills, runs = 0, 0
    with herd(tmp_path) as started:
        while kills < KILLS:
            folder = tmp_path / f"run-{runs}"
            chaos = Chaos(started, seed + runs, KILLS - kills)
            chaos.start()
            try:
                pipeline.run(request(scene, folder), on=Cluster(kind=started.address))
            except (
                Exception
            ):  # a run may fail when every attempt was killed; the next one finishes it
                chaos.stop()
                wait_for_workers(started.address, 1)
                pipeline.run(request(scene, folder), on=Cluster(kind=started.address))
            chaos.stop()
            kills, runs = kills + chaos.kills, runs + 1
            assert_same_products(folder, undisturbed)
    print(f"{kills} kills in {runs} runs")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_client_goes_on_where_it_was(
    scene: Path, undisturbed: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("LANDWEAVE_CHAOS_SEED", secrets.randbelow(10**6)))
    print(f"LANDWEAVE_CHAOS_SEED={seed}")
    rng, folder = random.Random(seed), tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "segment",
        str(scene),
        "--out",
        str(folder),
        "--shard",
        str(SHARD),
    ]
    shards, killed = len(list((undisturbed / "parts").glob("r*.tif"))), 0
    moments = [
        ("parts/r*.tif", goal) for goal in (*sorted(rng.sample(range(1, shards), 4)), shards)
    ]
    log = (tmp_path / "log").open("wb")
    for pattern, goal in (*moments, ("classes.tif", 1)):
        with subprocess.Popen([*command, "--workers", "0"], stdout=log, stderr=log) as run:
            deadline = time.monotonic() + 60
            while len(list(folder.glob(pattern))) < goal:
                assert time.monotonic() < deadline, (pattern, goal)
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            killed += run.poll() is None
            run.kill()
    assert killed >= 5
    log.close()
    subprocess.run([*command, "--workers", "0"], check=True, stdout=subprocess.DEVNULL)
    assert_same_products(folder, undisturbed)
    assert not list(folder.glob(".*.tmp"))
    assert not list(folder.glob(".work-*"))


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_run_and_loses_nothing(
    scene: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with herd(tmp_path, workers=1) as started:
        killer = threading.Thread(
            target=kill_when_parts_are_there, args=(started.scheduler, folder / "parts")
        )
        killer.start()
        with pytest.raises(SchedulerLost, match="the same command goes on from there"):
            pipeline.run(request(scene, folder), on=Cluster(kind=started.address))
        killer.join()
    done = {part.name for part in (folder / "parts").glob("*.tif")}
    assert done
    assert not (folder / "classes.tif").exists()
    pipeline.run(request(scene, folder))
    assert done <= {part.name for part in (folder / "parts").glob("*.tif")}
    assert_same_products(folder, undisturbed)


def kill_when_parts_are_there(process: subprocess.Popen[bytes], parts: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(parts.glob("*.tif"))) < 3:
        time.sleep(0.02)
    process.kill()


# ---------------------------------------------------------------------------------- disks and files


@pytest.mark.slow
def test_a_corrupt_block_fails_its_shards_and_no_other(
    scene: Path, undisturbed: Path, tmp_path: Path
) -> None:
    broken, folder = tmp_path / "scene.tif", tmp_path / "run"
    with (
        rasterio.open(scene) as source,
        rasterio.open(broken, "w", **source.profile | {"compress": "zstd"}) as target,
    ):
        target.write(source.read())
        target.descriptions, target.scales = source.descriptions, source.scales
    with rasterio.open(broken) as source:
        offset, size = (
            int(source.get_tag_item(f"BLOCK_{what}_3_3", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    whole = broken.read_bytes()
    broken.write_bytes(whole[:offset] + bytes(size) + whole[offset + size :])
    with pytest.raises(
        InputError, match=r"^\d+ of \d+ shards failed and the others are kept; the first, "
    ):
        pipeline.run(request(broken, folder))
    kept = {part.name for part in (folder / "parts").glob("*.tif")}
    assert len(kept) >= 90
    assert not (folder / "classes.tif").exists()
    broken.write_bytes(whole)
    pipeline.run(request(broken, folder))
    with (
        rasterio.open(folder / "classes.tif") as found,
        rasterio.open(undisturbed / "classes.tif") as wanted,
    ):
        assert np.array_equal(found.read(), wanted.read())


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_named_and_nothing_half_written_stays(
    scene: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        (disk / "ballast").write_bytes(bytes(800_000))
        with pytest.raises(InputError, match=r"disk.* is full"):
            pipeline.run(request(scene, disk / "run"))
        assert not list((disk / "run").rglob("*.tmp"))
        assert not (disk / "run" / "classes.tif").exists()
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        pipeline.run(request(scene, disk / "run"))
        assert_same_products(disk / "run", undisturbed)
