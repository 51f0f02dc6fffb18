"""Large scenes and large remote files: what is held follows from what is under way, what is fetched
from the file."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from benchmarks.scale import client
from flows.compute import dask_pool
from flows.compute.dask_pool import DaskPool
from flows.requests.request import Request
from flows.requests.segmenters import segmenter_from
from flows.requests.source import Source
from flows.run import pipeline
from flows.run.pipeline import Failures
from tests.forks import forks
from tests.ranges import ranges
from tests.scenes import write_scene
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.remote_cache import SMALL

# --------------------------------------------------------------------------------------- the client


@pytest.mark.slow
def test_a_client_holds_less_than_a_kilobyte_for_each_shard() -> None:
    with ProcessPoolExecutor(1, forks) as alone:  # what others of its threads hold is counted too
        figures = alone.submit(client, 196).result()
    assert (figures["shards"], figures["tiles"]) == (196, 784)
    assert figures["bytes for each shard"] < 1000
    assert figures["bytes at most for each part while joining"] < 1000


def test_of_failures_one_is_kept() -> None:
    """An error holds its traceback, the traceback its frames, and these the pixels of a shard."""
    failures, kept = Failures(), {}
    for row in (3, 1, 4, 0, 2):
        error = InputError(f"shard {row}")
        failures.add(Window(row, 0, 1, 1), error)
        kept[row] = weakref.ref(error)
    del error
    assert [row for row, error in kept.items() if error() is not None] == [0]
    assert (
        str(failures.error(9))
        == "5 of 9 shards failed and the others are kept; the first, rows 0–0, columns 0–0: shard 0"
    )


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as started:
        yield started


def test_the_scheduler_knows_only_what_is_under_way(cluster: LocalCluster) -> None:
    with Client(cluster) as here:
        pool, known, done = DaskPool(here), [], 0
        for item, outcome in pool.as_completed(abs, iter(range(200))):
            assert item == outcome
            known.append(max(len(cluster.scheduler.tasks), len(here.futures)))
            done += 1
    assert done == 200
    assert max(known) <= 2 * 4  # twice as many as threads, and what it has not heard to be over


def test_the_scheduler_is_not_asked_for_its_workers_with_each_task(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a thousand workers the answer is long, and everything waits for it."""
    monkeypatch.setattr(dask_pool, "FRESH", 1e9)
    asked = []
    with Client(cluster) as here:
        for name in ("nthreads", "scheduler_info"):
            method = getattr(here, name)
            monkeypatch.setattr(
                here, name, lambda *a, m=method, **k: (asked.append(m.__name__), m(*a, **k))[1]
            )
        pool = DaskPool(here)
        assert len(list(pool.as_completed(abs, range(20)))) == 20
        assert list(pool.map(abs, range(20))) == list(range(20))
    assert asked == ["scheduler_info"]


# ------------------------------------------------------------------------------- large remote files

THREADS = """
import sys, threading
from tiling.io.datasets import environment, open_dataset

def read():
    for _ in range(3):
        with environment(sys.argv[1]), open_dataset(sys.argv[1]) as dataset:
            dataset.read(1, window=((0, 64), (0, 64)))

threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("ended")
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster just too large to be fetched whole."""
    folder = tmp_path_factory.mktemp("large")
    pixels = np.random.default_rng(0).integers(1, 4000, (5, 1920, 1920), np.uint16)
    scene = write_scene(
        folder / "scene.tif", pixels, names=("blue", "green", "red", "nir", "swir16")
    )
    assert SMALL < scene.stat().st_size < 1.2 * SMALL
    return scene


def process(*arguments: object, **variables: str) -> str:
    """What a Python process prints; a process that hangs is an error."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_threads_read_a_remote_file_in_turns_and_end_though_its_server_is_busy(large: Path) -> None:
    """At once they would wait for each other for ever, now and then: see
    `tiling.io.datasets.environment`."""
    with ranges(large.parent, busy=0.2, pause=0.02) as server:
        url = f"{server.address}/{large.name}"
        said = process("-c", THREADS, url, GDAL_HTTP_MAX_RETRY="30", GDAL_HTTP_RETRY_DELAY="0.01")
    assert said == "ended\n"
    assert server.most_at_once == 1


OTSU = ("--segmenter", "otsu", "--set", "index=NDVI", "--shard", "512")


@pytest.fixture(scope="module")
def local(large: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The classes of the large file where it lies on this machine."""
    out = tmp_path_factory.mktemp("local") / "run"
    pipeline.run(
        Request(
            source=Source(paths=(str(large),)),
            out=out,
            segmenter=segmenter_from("otsu", {"index": "NDVI"}),
            shard=512,
            products=("classes",),
        )
    )
    return (out / "classes.tif").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.usefixtures("white_pictures")
def test_a_large_file_is_fetched_once_though_a_sample_is_looked_at_before(
    large: Path, local: bytes, tmp_path: Path, workers: str
) -> None:
    with ranges(large.parent) as server:
        source = f"{server.address}/{large.name}"
        command = (
            "-m",
            "flows.cli",
            "segment",
            source,
            "--out",
            tmp_path / "run",
            *OTSU,
            "--products",
            "classes",
        )
        process(*command, "--workers", workers, LANDWEAVE_SCRATCH=str(tmp_path))
        assert large.stat().st_size <= server.served < 1.02 * large.stat().st_size
    assert not list(tmp_path.glob("landweave-*/copies/*"))  # it goes with the run
    assert (tmp_path / "run" / "classes.tif").read_bytes() == local


@pytest.mark.slow
def test_a_small_file_is_fetched_once_though_workers_are_other_processes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 4000, (2, 1024, 1024), np.uint16)
    small = write_scene(tmp_path / "scene.tif", pixels, names=("red", "nir"))
    with ranges(tmp_path) as server:
        command = (
            "-m",
            "flows.cli",
            "segment",
            f"{server.address}/{small.name}",
            "--out",
            tmp_path / "run",
            *OTSU,
        )
        process(
            *command, "--products", "classes", "--workers", "2", LANDWEAVE_SCRATCH=str(tmp_path)
        )
        # who it is was asked now and then
        assert small.stat().st_size <= server.served < small.stat().st_size + 100
