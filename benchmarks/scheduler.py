"""How many tasks a second our client and Dask's scheduler sustain, and what they take of a core for
each, with many workers.

    python -m benchmarks.scheduler --workers 10 100 300 1000 [--tasks 3000] [--out FILE.json]

Scheduler and workers are Dask's own, each kind in a process of its own; the client is `DaskPool`,
as a run has it, with the jobs of a real plan. The tasks are stand-ins: they wait for as long as is
said, and answer with a part. A task that waits takes no core, so a thousand workers fit into one
process. What counts is processor time: on a core to itself a client or a scheduler sustains one
divided by it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import multiprocessing
import os
import tempfile
import time
from functools import partial
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from flows.plan.shard import ShardJob
from tiling.formats.shard_tiff import Part

SIDE = 64
"""Shards along the drawn scene."""


async def answer(seconds: float, job: ShardJob) -> Part:
    """A stand-in for `make_part`: as long, and nothing done."""
    await asyncio.sleep(seconds)
    return Part(job.slot.path, job.shard.core, 300 * 2**20)


def serve_scheduler(told: Connection) -> None:
    """A scheduler on this machine; its address is told."""
    from distributed import Scheduler

    logging.getLogger("distributed").setLevel(logging.ERROR)

    async def serve() -> None:
        async with Scheduler(port=0, host="127.0.0.1", dashboard=False) as scheduler:
            told.send(scheduler.address)
            await scheduler.finished()

    asyncio.run(serve())


def serve_workers(address: str, n: int) -> None:
    """So many workers of one thread each."""
    from distributed import Worker

    logging.getLogger("distributed").setLevel(logging.ERROR)

    async def serve() -> None:
        for _ in range(n):
            await Worker(address, nthreads=1, memory_limit=0, host="127.0.0.1", dashboard=False)
        await asyncio.Event().wait()

    asyncio.run(serve())


def jobs_of(folder: Path, n: int) -> list[ShardJob]:
    """The jobs of a plan, over and over."""
    from benchmarks.scale import Trivial, sparse_scene
    from flows.requests.request import Request
    from flows.requests.source import Source
    from flows.run import pipeline
    from flows.storage.run_folder import open_run

    scene = sparse_scene(folder / "scene.tif", 16 * SIDE, ("nir",), 3)
    request = Request(
        source=Source(paths=(str(scene),)), out=folder / "run", segmenter=Trivial(), shard=16,
        products=("classes",), min_area=0,
    )  # fmt: skip
    with open_run(request.out) as run:
        plan = pipeline.prepare(request, run)
        return list(islice(cycle([plan.job(shard, {}, run) for shard in plan.shards]), n))


def measure(workers: int, tasks: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Processor time of each kind of process for a task."""
    from distributed import Client

    from flows.compute.dask_pool import DaskPool

    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    scheduler = processes.Process(target=serve_scheduler, args=(there,), daemon=True)
    scheduler.start()
    address = here.recv()
    many = processes.Process(target=serve_workers, args=(address, workers), daemon=True)
    many.start()
    try:
        with Client(address) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(workers, timeout=600)
            pool, jobs = DaskPool(client), jobs_of(folder, tasks)
            gc.collect()
            roles = {"client": os.getpid(), "scheduler": scheduler.pid, "workers": many.pid}
            before, began = {role: cpu(pid) for role, pid in roles.items()}, time.perf_counter()
            done = sum(
                not isinstance(outcome, Exception)
                for _, outcome in pool.as_completed(partial(answer, seconds), jobs)
            )
            wall = time.perf_counter() - began
            assert done == tasks, f"{tasks - done} failed"
            spent = {
                f"{role}_ms": round(1000 * (cpu(pid) - before[role]) / tasks, 3)
                for role, pid in roles.items()
            }
    finally:
        for process in (many, scheduler):
            process.terminate()
            process.join()
    return {
        "workers": workers, "tasks": tasks, "task_s": seconds, "wall_s": round(wall, 2),
        "tasks_per_s": round(tasks / wall, 1), **spent,
    }  # fmt: skip


def cpu(pid: int | None) -> float:
    """Processor seconds of a process."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100], help="how many")
    parser.add_argument("--tasks", type=int, default=2000, help="tasks in all, at least 4 a worker")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a task takes")
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    rows = []
    for workers in given.workers:
        with tempfile.TemporaryDirectory() as folder:
            tasks = max(given.tasks, 4 * workers)
            rows.append(measure(workers, tasks, given.seconds, Path(folder)))
        print(rows[-1], flush=True)
        if given.out:
            machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0]}
            given.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    # under its own name, so that fresh processes find what is pickled
    from benchmarks.scheduler import main as named_main

    named_main()
