"""Which machine works: this process, processes beside it, or an existing Dask cluster. The only file that knows.

A `Pool` maps a plain function over plain values. The pipeline is written against it and never learns where it runs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tiling.errors import Mistake

if TYPE_CHECKING:
    from distributed import Client

SCHEDULER_TIMEOUT = 15
"""Seconds an existing scheduler has to answer."""

WORTH_A_PROCESS = 4
"""Shards below which a worker process takes longer to start and import its libraries than it saves."""

KEEP_FREED_MEMORY = (
    ("MALLOC_MMAP_THRESHOLD_", -3, 2**30),
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),
    ("MALLOC_ARENA_MAX", -8, 1),
)
"""What keeps glibc from handing freed memory back: environment variable, parameter of mallopt (malloc.h), value.

Otherwise the kernel maps and zeroes the activations of every layer anew, a fifth of a network's time on a CPU. One
arena, because no other than the first holds blocks that large.
"""

T = TypeVar("T")
R = TypeVar("R")


class Pool(Protocol):
    """Somewhere functions run."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items; a bounded number is under way at once; the first failure is raised."""
        ...

    def as_completed(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Exception]]:
        """Each item with its result or its failure, as they finish; a bounded number is under way at once."""
        ...

    def everywhere(self, function: Callable[[], R]) -> dict[str, R]:
        """The function's result in every worker, by worker name."""
        ...


class ThisProcess:
    """A pool of one: everything runs here, one item after the other."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(function, items)

    def as_completed(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Exception]]:
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:  # the caller decides, as it does for a failure on another machine
                yield item, error

    def everywhere(self, function: Callable[[], R]) -> dict[str, R]:
        return {"this process": function()}


class DaskPool:
    """The workers of a Dask cluster. Settings and paths travel; pixels do not."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def _in_flight(self) -> int:
        """Enough that no worker waits for the scheduler, few enough that a cancelled run ends at once."""
        threads = sum(self._client.nthreads().values())
        return max(2, 2 * int(threads))

    def as_completed(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | Exception]]:
        from distributed import as_completed

        waiting, under_way = iter(items), {}
        finished = as_completed(loop=self._client.loop)

        def submit() -> bool:
            for item in waiting:
                future = self._client.submit(function, item, pure=False)
                under_way[future.key] = item
                finished.add(future)
                return True
            return False

        try:
            while len(under_way) < self._in_flight and submit():
                pass
            while under_way:
                future = next(finished)
                item = under_way.pop(future.key)
                error = future.exception()
                result = error if error is not None else future.result()
                future.release()
                submit()
                yield item, result
        finally:
            finished.clear()

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        from collections import deque

        under_way: deque[Any] = deque()
        waiting = iter(items)

        def refill() -> None:
            while len(under_way) < self._in_flight:
                for item in waiting:
                    under_way.append(self._client.submit(function, item, pure=False))
                    break
                else:
                    return

        refill()
        while under_way:
            result = under_way.popleft().result()
            refill()
            yield result

    def everywhere(self, function: Callable[[], R]) -> dict[str, R]:
        return dict(self._client.run(function))


@contextmanager
def start(workers: int | None = 0, scheduler: str = "", *, shards: int = 1, worker_bytes: int = 0) -> Iterator[Pool]:
    """A pool for the time of a `with` block, for `shards` pieces of work of `worker_bytes` each.

    `workers=0` works in this process; a positive number starts that many local worker processes on the loopback
    interface, with the cores shared out between them; None takes as many as cores, memory and shards allow;
    `scheduler` is the address of a Dask cluster that exists.
    """
    if scheduler:
        yield from _existing(scheduler)
        return
    if workers is None:
        workers = fitting(shards, worker_bytes)
    check_memory(max(1, workers), worker_bytes)
    if workers > 0:
        yield from _local(workers)
    else:
        keep_freed_memory()
        yield ThisProcess()


def _local(workers: int) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster

    threads = str(max(1, available_cores() // workers))
    libraries = ("OMP", "MKL", "OPENBLAS", "GDAL")
    environment = {f"{name}_NUM_THREADS": threads for name in libraries} | {"GDAL_CACHEMAX": "256"}
    environment |= {variable: str(value) for variable, _, value in KEEP_FREED_MEMORY}
    with (
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": environment,
                "distributed.scheduler.allowed-failures": 5,
                "distributed.worker.multiprocessing-method": "spawn",
            }
        ),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield DaskPool(client)


def _existing(scheduler: str) -> Iterator[Pool]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=SCHEDULER_TIMEOUT)
    except (OSError, TimeoutError, ValueError) as error:
        raise Mistake(
            f"no Dask scheduler answers at {scheduler}: {error}; start one or leave --scheduler out"
        ) from error
    with client:
        if not client.nthreads():
            raise Mistake(f"the Dask scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}")
        yield DaskPool(client)


def fitting(shards: int, worker_bytes: int) -> int:
    """How many local processes suit this machine and this work: at most one a core; 0 where one would do."""
    workers = min(available_cores(), shards // WORTH_A_PROCESS, available_memory() // max(1, worker_bytes))
    return workers if workers > 1 else 0


def keep_freed_memory() -> None:
    """Let this process reuse what it frees, where its C library is glibc."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for _, parameter, value in KEEP_FREED_MEMORY:
            mallopt(parameter, value)


def check_memory(workers: int, worker_bytes: int) -> None:
    """Refuse work that would not fit into this machine's memory."""
    if workers * worker_bytes > available_memory():
        raise Mistake(
            f"{workers} workers would need {workers * worker_bytes / 2**30:.1f} GiB and "
            f"{available_memory() / 2**30:.1f} GiB are free; take fewer --workers or a smaller --shard or --tile"
        )


def available_memory() -> int:
    """Bytes this machine can still give."""
    import psutil

    return int(psutil.virtual_memory().available)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def agree(answers: dict[str, T], what: str) -> T:
    """The one answer all workers gave; `Mistake` where they differ."""
    values: Sequence[T] = list(answers.values())
    odd = {name: value for name, value in answers.items() if value != values[0]}
    if odd:
        name, value = next(iter(odd.items()))
        raise Mistake(
            f"workers differ in {what}: {next(iter(answers))} has {values[0]}, {name} has {value}; "
            "give all workers the same environment"
        )
    return values[0]
