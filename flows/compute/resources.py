"""Cores and memory: what this machine has, what workers are given, and whether their work fits."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar, cast

from flows.compute.dask_pool import DaskPool
from flows.compute.work import Work
from flows.machine import available_cores, rest_threads
from tiling.errors import InputError
from tiling.io.gdal_config import CACHE

WORTH_A_PROCESS = 4
"""Shards below which a worker process takes longer to start and import its libraries than it
saves."""

KEEP_FREED_MEMORY = (
    ("MALLOC_MMAP_THRESHOLD_", -3, 2**30),
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),
    ("MALLOC_ARENA_MAX", -8, 1),
)
"""What keeps glibc from handing freed memory back: environment variable, parameter of mallopt
(malloc.h), value.

Otherwise the kernel maps and zeroes the activations of every layer anew, a fifth of a network's
time on a CPU. One arena, because no other than the first holds blocks that large.
"""

T = TypeVar("T")


def environment_of(processes: int) -> dict[str, str]:
    """Variables of each of so many processes that share this machine's cores, set before they
    import a library."""
    threads = str(max(1, available_cores() // processes))
    libraries = ("OMP", "MKL", "OPENBLAS", "GDAL")
    environment = {f"{name}_NUM_THREADS": threads for name in libraries} | rest_threads()
    environment["GDAL_CACHEMAX"] = str(CACHE >> 20)
    return environment | {variable: str(value) for variable, _, value in KEEP_FREED_MEMORY}


@contextmanager
def keep_environment() -> Iterator[None]:
    """Variables of this process are at the end what they were before.

    Dask's nannies set those of the processes they start here too, and leave them. GDAL would then
    decode in several threads, and a process that is forked later waits for threads that it has not.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def worker_count(work: Work) -> int:
    """How many local processes suit this machine and this work: at most one a core; 0 where one
    would do."""
    cores, memory = available_cores(), available_memory()
    most = min(cores, work.pieces // WORTH_A_PROCESS)
    fit = (n for n in range(most, 1, -1) if n * work.worker_bytes(cores // n) <= memory)
    return next(fit, 0)


def shards_at_once(cards: int, work: Work) -> int:
    """Pieces of work that a process with a graphics card takes at once: some are read while others
    are computed, as far as this machine's memory goes for so many cards."""
    cores, memory = max(1, available_cores() // cards), available_memory()
    fit = (n for n in (4, 3, 2) if cards * work.worker_bytes(cores, n) <= memory)
    return next(fit, 1)


def check_memory(workers: int, work: Work) -> None:
    """Refuse work that would not fit into this machine's memory."""
    needed = workers * work.worker_bytes(max(1, available_cores() // workers))
    if needed > available_memory():
        raise InputError(
            f"{workers} workers would need {needed / 2**30:.1f} GiB and "
            f"{available_memory() / 2**30:.1f} GiB are free; take fewer --workers or a smaller "
            "--shard or --tile"
        )


def available_memory() -> int:
    """Bytes this machine can still give."""
    import psutil

    return int(psutil.virtual_memory().available)


def keep_freed_memory() -> None:
    """Let this process reuse what it frees, where its C library is glibc."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for _, parameter, value in KEEP_FREED_MEMORY:
            mallopt(parameter, value)


def check_workers(pool: DaskPool, work: Work) -> DaskPool:
    """The pool, each of whose workers that get the work has the memory for its share, by what it
    says of itself."""
    sizes = pool.sizes(gpu=work.gpu)
    cores = pool.everywhere(_cores_given(), gpu=work.gpu)
    for address, (limit, at_once) in sizes.items():
        own = cores.get(address)
        if not isinstance(own, int):
            continue  # what keeps it from answering is told when workers are checked
        if 0 < limit < (needed := work.worker_bytes(own, at_once)):
            raise InputError(
                f"worker {address} would take {needed / 2**30:.1f} GiB on its {own} cores, "
                f"{at_once} pieces of work at "
                f"once, and may use {limit / 2**30:.1f}; take a smaller --shard or --tile, or "
                "start workers with fewer "
                "OMP_NUM_THREADS or --nthreads, or a higher --memory-limit"
            )
    return pool


def _cores_given() -> Callable[[], int]:
    """A function that tells on how many cores a process computes. It travels by value, as `probe`
    has it."""

    def cores_given() -> int:
        import os

        given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        if given.isdecimal() and int(given) > 0:
            return int(given)
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )

    return cores_given


def require_same_answer(answers: Mapping[str, T | Exception], what: str) -> T:
    """The one answer all workers gave; `InputError` where they differ or one could not say."""
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            raise InputError(f"worker {name} cannot say {what}: {answer}")
    values = list(answers.values())
    odd = {name: value for name, value in answers.items() if value != values[0]}
    if odd:
        name, value = next(iter(odd.items()))
        mend = "give all workers the same environment"
        devices = {fact.get("device") for fact in values if isinstance(fact, dict)}
        if len(devices) > 1:
            mend = (
                "declare those that have a graphics card with --resources GPU=1, or compute on "
                "cores with --set device=cpu"
            )
        raise InputError(
            f"workers differ in {what}: {next(iter(answers))} has {values[0]}, {name} has {value}; "
            f"{mend}"
        )
    return cast(T, values[0])
