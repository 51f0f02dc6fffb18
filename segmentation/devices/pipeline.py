"""Batches on their way through a device: several at once, answers in order.

Whoever has a batch takes a free slot, sends the batch, and goes on to the next; a slot takes
another batch only after its answers were read. This file knows no library of tensors: what computes
may be torch, or anything that takes NumPy arrays.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

Packed = Mapping[str, Sequence[npt.NDArray[Any]]]
"""A batch as it is sent: of each input one array for each of its items, of one shape and dtype."""

Answers = Mapping[str, Any]
"""What was found for a batch: arrays by name, the first axis that of its items. It may be longer
than the batch."""

B = TypeVar("B")
R = TypeVar("R")


class Slot(Protocol):
    """Room on a device for one batch at a time."""

    def send(self, pack: Callable[[], Packed]) -> None:
        """Have what `pack` returns computed; need not wait for it."""

    def wait(self) -> Answers:
        """The answers, once they are there; raises what went wrong on the way.

        Arrays of NumPy are the caller's; tensors that stayed on the device are good until `free`.
        """

    def free(self) -> None:
        """Return when nothing is under way here any more; raises nothing."""


class Pipeline:
    """Slots of one device that several threads share; at least two.

    A run holds all but one of them at most: another that the same thread began goes on meanwhile.
    """

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._most = self._free.qsize() - 1

    def run(
        self,
        batches: Iterable[B],
        pack: Callable[[B], Packed],
        read: Callable[[B, Answers | None], Iterable[R]],
        skip: Callable[[B], bool] = lambda batch: False,
    ) -> Iterator[R]:
        """What `read` makes of the answers to each batch, in order.

        `pack` writes a batch as arrays; what `skip` holds for is not sent, and has None for
        answers. Who has batches under way reads the oldest before waiting for a slot: nobody
        waits for one while holding another, so no two threads wait for each other.
        """
        under_way: deque[tuple[B, Slot | None]] = deque()
        try:
            for batch in batches:
                if skip(batch):
                    under_way.append((batch, None))
                    continue
                while (slot := self._take(under_way)) is None:
                    yield from self._oldest(under_way, read)
                under_way.append((batch, slot))
                slot.send(partial(pack, batch))
            while under_way:
                yield from self._oldest(under_way, read)
        finally:
            # given up, or failed: what is under way must land before its slot takes another batch
            for _, held in under_way:
                self._give_back(held)

    def _oldest(
        self,
        under_way: deque[tuple[B, Slot | None]],
        read: Callable[[B, Answers | None], Iterable[R]],
    ) -> Iterator[R]:
        batch, slot = under_way[0]
        yield from read(batch, None if slot is None else slot.wait())
        under_way.popleft()
        self._give_back(slot)

    def _take(self, under_way: Collection[tuple[B, Slot | None]]) -> Slot | None:
        """A slot for a run with so much under way; None where it shall read its oldest first."""
        if sum(slot is not None for _, slot in under_way) >= self._most:
            return None
        with suppress(queue.Empty):
            return self._free.get(block=not under_way)
        return None

    def _give_back(self, slot: Slot | None) -> None:
        if slot is not None:
            slot.free()
            self._free.put(slot)
