"""How much there is to do, and what a worker takes for its share of it."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from segmentation.segmenter import Segmenter


class Planned(Protocol):
    """The facts of a plan by which workers are started: its shards, its segmenter, its memory."""

    @property
    def shards(self) -> Sized: ...
    @property
    def segmenter(self) -> Segmenter: ...
    def worker_bytes(self, threads: int, at_once: int = 1) -> int:
        """Projected peak of a worker that computes on so many cores, so many shards at a time."""


@dataclass(frozen=True)
class Work:
    """How much there is to do, and what a worker takes for its share of it."""

    pieces: int = 1
    """Shards, or whatever is handed out one by one."""
    piece_bytes: int | Callable[[int, int], int] = 0
    """Bytes of a worker: for each piece it works on at once, or as a function of its cores and of
    those pieces."""
    gpu: bool = False
    """Whether it goes to workers with a graphics card, where there are any."""

    @classmethod
    def of(cls, plan: Planned) -> Self:
        """The shards of a plan."""
        return cls(len(plan.shards), plan.worker_bytes, plan.segmenter.uses_gpu)

    def worker_bytes(self, cores: int, at_once: int = 1) -> int:
        """Projected peak of a worker that computes on so many cores, so many pieces at a time."""
        if callable(self.piece_bytes):
            return self.piece_bytes(cores, at_once)
        return at_once * self.piece_bytes
