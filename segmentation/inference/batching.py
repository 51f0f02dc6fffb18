"""How many chips at once, and answers in the order of the chips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import xarray as xr

from segmentation.inference.device import GPU_LANES, Device, pool_of
from segmentation.inference.transfer import BATCH

_AT_ONCE = 4 * 1152**2
"""Pixels that are on their way at once, at most: the four chips of a common shard."""

R = TypeVar("R")


def parallel_chips(chip_pixels: int, threads: int) -> int:
    """How many chips of that size run at once on the CPU, each on a thread of its own."""
    return min(threads, max(2, _AT_ONCE // chip_pixels))


def in_order(
    chips: Iterable[xr.Dataset],
    compute: Callable[[Sequence[xr.Dataset]], Sequence[R]],
    nothing: Callable[[xr.Dataset], R],
    device: Device,
    at_once: int,
) -> Iterator[R]:
    """One result a chip, in order. Chips without a valid pixel cost `nothing`."""
    (pool, _), waiting = pool_of(device), deque[Future[R]]()
    most = BATCH[device] * (at_once if device == "cpu" else GPU_LANES)
    batch: list[tuple[xr.Dataset, Future[R]]] = []

    def work(taken: list[tuple[xr.Dataset, Future[R]]]) -> None:
        try:
            found = compute([chip for chip, _ in taken])
        except BaseException as error:  # raised again where the result is asked for
            for _, future in taken:
                future.set_exception(error)
        else:
            for (_, future), result in zip(taken, found, strict=True):
                future.set_result(result)

    def send() -> None:
        pool.submit(work, batch.copy())
        batch.clear()

    def first() -> R:
        if batch and waiting[0] is batch[0][1]:
            send()
        return waiting.popleft().result()

    for chip in chips:
        future: Future[R] = Future()
        waiting.append(future)
        if chip["valid"].values.any():
            batch.append((chip, future))
            if len(batch) == BATCH[device]:
                send()
        else:
            future.set_result(nothing(chip))
        if len(waiting) > most:
            yield first()
    while waiting:
        yield first()
