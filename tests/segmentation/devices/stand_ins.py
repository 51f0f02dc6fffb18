"""A graphics card of threads, for machines without one: its streams begin late by chance, and its
memory is other memory than that of this side. What is not waited for is not there yet."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch

from segmentation.devices.staged import Event, Stream


def chance(seed: int) -> Callable[[], float]:
    """Seconds of lateness, mostly none."""
    dice = random.Random(seed)
    return lambda: dice.choice((0, 0, 0.001, 0.004))


class LateCard:
    """A device whose streams are threads; it has `free` bytes, and work takes `peak` of them."""

    def __init__(
        self,
        lateness: Callable[[], float] = lambda: 0.0,
        *,
        captures: bool = True,
        free: int = 2**40,
        peak: int = 0,
    ) -> None:
        self._lateness, self._captures = lateness, captures
        self._free, self._peak = free, peak

    def stream(self) -> Stream:
        return LateStream(self._lateness)

    def here(self, like: torch.Tensor) -> torch.Tensor:
        return torch.zeros(like.shape, dtype=like.dtype)

    def there(self, like: torch.Tensor) -> torch.Tensor:
        return torch.zeros(like.shape, dtype=like.dtype)

    def repeat(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def finish(self) -> None:
        """Nothing is done beside the streams."""

    def free_bytes(self) -> int:
        return self._free

    def peak_bytes(self, work: Callable[[], object]) -> int:
        work()
        return self._peak


class LateStream:
    """Work that is done in turn by a thread which is late."""

    def __init__(self, lateness: Callable[[], float]) -> None:
        self._pool, self._lateness = ThreadPoolExecutor(1), lateness

    def put(self, work: Callable[[], None], after: Event | None = None) -> Event:
        def later() -> None:
            if after is not None:
                after.wait()
            time.sleep(self._lateness())
            work()

        return LateEvent(self._pool.submit(later))


class LateEvent(NamedTuple):
    future: Future[None]

    def wait(self) -> None:
        self.future.result()


class AtOnce(LateCard):
    """Work is done when it is put into a stream, and fails there too: as kernels that are launched
    one by one."""

    def stream(self) -> Stream:
        return _Now()


class _Now:
    def put(self, work: Callable[[], None], after: Event | None = None) -> Event:
        work()
        return self

    def wait(self) -> None:
        """It is done."""
