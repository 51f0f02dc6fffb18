"""The cores of this machine as a device: nothing is copied, and each batch has a core to itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, wait
from typing import Any

import numpy.typing as npt

from segmentation.devices.pipeline import Answers, Packed

Compute = Callable[[Mapping[str, npt.NDArray[Any]]], Answers]
"""A batch of one, arrays of first length 1, to what is found of it."""


class CoreSlot:
    """A batch of one item, packed and computed by a thread of a pool.

    `pool` is asked for whenever a batch is sent: its threads compute on one core each.
    """

    def __init__(self, pool: Callable[[], Executor], compute: Compute) -> None:
        self._pool, self._compute = pool, compute
        self._found: Future[Answers] | None = None

    def send(self, pack: Callable[[], Packed]) -> None:
        def work() -> Answers:
            return self._compute({name: array[None] for name, (array,) in pack().items()})

        self._found = self._pool().submit(work)

    def wait(self) -> Answers:
        assert self._found is not None
        return self._found.result()

    def free(self) -> None:
        if self._found is not None:
            wait([self._found])
        self._found = None
