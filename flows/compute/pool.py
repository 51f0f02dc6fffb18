"""Somewhere functions run: this process, or the workers of a Dask cluster.

A `Pool` maps a plain function over plain values. The pipeline is written against it and never
learns where it runs.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from flows.machine import available_cores

if TYPE_CHECKING:
    pass

GPU = "GPU"
"""The resource that workers with a graphics card declare, as Dask's documentation has it."""

ATTEMPTS = 3
"""How often a piece of work is tried that fails for reasons which may pass."""

BACKOFF = 2.0
"""Seconds before the second attempt; each further one waits twice as long."""


PERMANENT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}
"""What another attempt does not mend: full disks, folders that may not be written, files that are
not there."""

MOST_THREADS = 4
"""Threads of one process that map at once: numpy, GDAL and GEOS let go of Python's lock for much of
their work."""

T = TypeVar("T")
R = TypeVar("R")


class Pool(Protocol):
    """Somewhere functions run."""

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results in the order of the items; a bounded number is under way at once; the first
        failure is raised."""
        ...

    def as_completed(
        self, function: Callable[[T], R], items: Iterable[T], *, gpu: bool = False
    ) -> Iterator[tuple[T, R | Exception]]:
        """Each item with its result or its failure, as they finish; a bounded number is under way
        at once.

        With `gpu` the work goes to workers with a graphics card, one piece at a time for each,
        where there are any.
        """
        ...

    def everywhere(
        self, function: Callable[[], R], *, gpu: bool = False
    ) -> dict[str, R | Exception]:
        """The function's result or failure in every worker, or in each that has a graphics card, by
        worker name."""
        ...

    def cards(self) -> dict[str, float]:
        """Graphics cards that workers declare, by worker name; empty where none does."""
        ...


def may_pass(error: BaseException) -> bool:
    """Whether another attempt could succeed: a lost worker or graphics card, a connection, a
    storage that did not answer."""
    if type(error).__name__ in ("KilledWorker", "CommClosedError", "CardFailed", "CardFull"):
        return True
    return (
        isinstance(error, OSError | TimeoutError | ConnectionError) and error.errno not in PERMANENT
    )


class ThisProcess:
    """Everything runs here: what is mapped on a few threads, shards one after the other, as they
    use all cores."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = min(MOST_THREADS, available_cores()) if threads is None else threads

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        under_way: deque[ThreadFuture[R]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="map")
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) > self._threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def as_completed(
        self, function: Callable[[T], R], items: Iterable[T], *, gpu: bool = False
    ) -> Iterator[tuple[T, R | Exception]]:
        for item in items:
            yield item, self._outcome(function, item)

    def everywhere(
        self, function: Callable[[], R], *, gpu: bool = False
    ) -> dict[str, R | Exception]:
        return {"this process": function()}

    def cards(self) -> dict[str, float]:
        return {}

    def _outcome(self, function: Callable[[T], R], item: T) -> R | Exception:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return function(item)
            except (
                Exception
            ) as error:  # the caller decides, as it does for a failure on another machine
                if attempt == ATTEMPTS or not may_pass(error):
                    return error
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns")
