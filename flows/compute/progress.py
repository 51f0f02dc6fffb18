"""How a long run says where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tiling.io.spill import Map

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Told the name of a stage, how much of it is done, and how much there is."""


def silent(stage: str, done: int, total: int) -> None:
    """Progress for nobody."""


def report_items(
    items: Iterable[T], stage: str, total: int, progress: Progress, *, start: int = 0
) -> Iterator[T]:
    """Pass items through, and tell progress of each one."""
    for done, item in enumerate(items, start=start + 1):
        yield item
        progress(stage, done, total)


@contextmanager
def report_results(map: Map, stage: str, least: int, progress: Progress) -> Iterator[Map]:
    """A map that tells progress of each of its results, of which there will be `least` or more."""
    done = 0

    def watching(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        nonlocal done
        for result in map(function, items):
            done += 1
            progress(stage, done, max(least, done + 1))
            yield result

    yield watching
    progress(stage, done, done)
