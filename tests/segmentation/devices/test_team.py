"""Processes that work together: one that fails, or is ended, ends all with its words."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import pytest

from segmentation.devices.team import Tell, run_together
from segmentation.errors import InputError


def count(rank: int, tell: Tell) -> None:
    for number in range(3):
        tell(rank, number)


def fail_as_asked(rank: int, tell: Tell) -> None:
    if rank == 0:
        time.sleep(600)
    raise InputError("the disk is full; make room")


def fail_oddly(rank: int, tell: Tell) -> None:
    if rank == 0:
        time.sleep(600)
    raise KeyError("no such\nweight")


def end(rank: int, tell: Tell) -> None:
    if rank == 0:
        time.sleep(600)
    os._exit(3)


def ask_for_two(said: Any) -> None:
    try:
        run_together(count, 2, lambda *_: None)
    except InputError as error:
        said.put(str(error))


def test_a_daemon_such_as_a_worker_of_dask_is_told_how_it_may_have_processes() -> None:
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    daemon = context.Process(target=ask_for_two, args=(said,), daemon=True)
    daemon.start()
    assert "DASK_DISTRIBUTED__WORKER__DAEMON=False or --no-nanny" in said.get(timeout=100)
    daemon.join()


def test_all_of_them_are_heard() -> None:
    heard: list[Any] = []
    run_together(count, 2, lambda *said: heard.append(said))
    assert sorted(heard) == [(rank, number) for rank in range(2) for number in range(3)]


@pytest.mark.parametrize(
    ("work", "error", "words"),
    [
        (fail_as_asked, InputError, "the disk is full; make room"),
        (fail_oddly, RuntimeError, "process 2 of 2 failed: .*no such.*weight"),
        (end, RuntimeError, "process 2 of 2 ended by itself, with status 3"),
    ],
)
def test_one_that_fails_ends_all(work: Any, error: type[Exception], words: str) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=words):
        run_together(work, 2, lambda *said: None)
    assert time.monotonic() - began < 100, "nobody waits for those that wait for it"
