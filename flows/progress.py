"""How a long run says where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Told the name of a stage, how much of it is done, and how much there is."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress for nobody."""


def counted(items: Iterable[T], stage: str, total: int, progress: Progress, *, start: int = 0) -> Iterator[T]:
    """The same items; progress hears of each one as it passes."""
    for done, item in enumerate(items, start=start + 1):
        yield item
        progress(stage, done, total)
