"""A device with memory of its own: batches are copied there, computed, and copied back, each on a
stream of its own, so that copies run beside what is computed.

A slot is memory of one batch on both sides. What orders its three steps is written once, here, for
whatever has streams: a graphics card, and the stand-ins of tests, whose streams are late by chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

import numpy as np

from segmentation.devices.pipeline import Answers, Packed

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor]
    Compute = Callable[[Tensors], Tensors]
    """Tensors `(batch, …)` on the device to others there."""

SLOTS = 4
"""One is filled, one copied there or computed, one copied back, one read."""


class Event(Protocol):
    """A place in a stream."""

    def wait(self) -> None:
        """Return when everything before it is done, while other threads run; raises what went
        wrong there."""


class Stream(Protocol):
    """A queue of a device: what is put into it is done later, one after the other."""

    def put(self, work: Callable[[], None], after: Event | None = None) -> Event:
        """Queue `work`, not to begin before `after`; need not wait for it."""


class Memory(Protocol):
    """What a device offers."""

    def stream(self) -> Stream:
        """A queue that runs beside all others."""

    def here(self, like: torch.Tensor) -> torch.Tensor:
        """Memory of this side, of that shape and dtype, that the device copies by itself."""

    def there(self, like: torch.Tensor) -> torch.Tensor:
        """Memory of the device, of that shape and dtype, all 0."""

    def repeat(self, work: Callable[[], None]) -> Callable[[], None]:
        """`work`, to be called again and again on the tensors it knows: the same operations by the
        same means each time."""

    def finish(self) -> None:
        """Return when the device has done what this thread asked of it outside the streams."""


class StagedDevice:
    """Streams of a device, and the slots that share them.

    Batches are of `size` items, filled up with zeros; answers named in `stay` are not copied back.
    """

    def __init__(
        self, memory: Memory, compute: Compute, size: int, stay: Collection[str] = ()
    ) -> None:
        self.memory, self.compute, self.size, self.stay = memory, compute, size, stay
        self.up, self.computing, self.down = memory.stream(), memory.stream(), memory.stream()
        self.order = threading.Lock()

    def slots(self, count: int = SLOTS) -> list[StagedSlot]:
        return [StagedSlot(self) for _ in range(count)]


class StagedSlot:
    """Memory of one batch, on both sides; made when the first comes."""

    def __init__(self, device: StagedDevice) -> None:
        self._device = device
        self._sent: dict[str, torch.Tensor] = {}
        self._arrived: dict[str, torch.Tensor] = {}
        self._found: dict[str, torch.Tensor] = {}
        self._returned: dict[str, torch.Tensor] = {}
        self._run: Callable[[], None] | None = None
        self._back: Event | None = None

    def send(self, pack: Callable[[], Packed]) -> None:
        device, packed = self._device, pack()
        if self._run is None:
            with device.order:  # what is captured has the device to itself
                self._run = self._prepare(packed)
        self._fill(packed)
        run = self._run
        with ExitStack() as failed:
            failed.callback(self._land)
            with device.order:  # on every stream batches follow each other in the same order
                arrived = device.up.put(lambda: _copy(self._sent, self._arrived))
                done = device.computing.put(run, after=arrived)
                self._back = device.down.put(lambda: _copy(self._found, self._returned), after=done)
            failed.pop_all()

    def _land(self) -> None:
        """Return when nothing of a batch that was sent in part is under way."""
        device = self._device
        for stream in (device.up, device.computing, device.down):
            with suppress(Exception):  # whatever a device says; what failed first is told
                stream.put(lambda: None).wait()

    def wait(self) -> Answers:
        assert self._back is not None
        self._back.wait()
        stayed = {name: self._found[name] for name in self._device.stay}
        return stayed | {name: one.numpy().copy() for name, one in self._returned.items()}

    def free(self) -> None:
        if self._back is not None:
            with suppress(Exception):  # told where it was asked for
                self._back.wait()
        if self._device.stay:
            with suppress(Exception):
                self._device.memory.finish()
        self._back = None

    def _prepare(self, packed: Packed) -> Callable[[], None]:
        """Memory for batches like this one, and what computes in it."""
        import torch

        memory, compute = self._device.memory, self._device.compute
        for name, (first, *_) in packed.items():
            like = torch.from_numpy(np.zeros((self._device.size, *first.shape), first.dtype))
            self._sent[name], self._arrived[name] = memory.here(like), memory.there(like)
        for name, found in compute(self._arrived).items():
            self._found[name] = memory.there(found)
            if name not in self._device.stay:
                self._returned[name] = memory.here(found)
        memory.finish()

        def run() -> None:
            _copy(compute(self._arrived), self._found)

        return memory.repeat(run)

    def _fill(self, packed: Packed) -> None:
        """The batch into memory of this side; in what is left of it everything is 0."""
        for name, arrays in packed.items():
            room = self._sent[name].numpy()
            for place, array in zip(room, arrays, strict=False):
                place[...] = array
            room[len(arrays) :] = 0


def _copy(origin: Tensors, target: Tensors) -> None:
    for name, tensor in origin.items():
        if name in target:
            target[name].copy_(tensor, non_blocking=True)
