"""Processes that do one piece of work together, one for each device."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from segmentation.errors import InputError

Tell = Callable[..., None]
"""Hears how far a process is, in whatever words both sides agree on."""

MAY_START_NONE = (
    "{size} graphics cards need a process each, and this one, a daemon, may start none; start the "
    "Dask workers with DASK_DISTRIBUTED__WORKER__DAEMON=False or --no-nanny, or show each one card "
    "by CUDA_VISIBLE_DEVICES"
)


def run_together(work: Callable[[int, Tell], None], size: int, hear: Tell) -> None:
    """Have `size` processes call `work(rank, tell)`; what they tell is heard here.

    They wait for each other, so one that fails ends the others: what it raised is raised here, an
    `InputError` as it is, anything else as a `RuntimeError` with its words. Raises `InputError`
    also where this process may have none beside it.
    """
    if multiprocessing.current_process().daemon:
        raise InputError(MAY_START_NONE.format(size=size))
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    team = [
        context.Process(target=_call, args=(told, work, rank, size), daemon=True)
        for rank in range(size)
    ]
    try:
        for process in team:
            process.start()
        _listen(team, told, hear)
    finally:
        for process in team:
            if process.pid is not None:
                process.terminate()
                process.join(30)


def _listen(team: Sequence[BaseProcess], told: Queue[Any], hear: Tell) -> None:
    """Return when all processes are done; raise what the first of them failed with."""
    while True:
        # before what they told: who is over has told all
        over = [process.exitcode for process in team]
        try:
            said = told.get(timeout=0.1)
        except Empty:
            if all(code == 0 for code in over):
                return
            if lost := [rank for rank, code in enumerate(over) if code]:
                raise RuntimeError(
                    f"process {lost[0] + 1} of {len(team)} ended by itself, with status "
                    f"{over[lost[0]]}"
                ) from None
            continue
        if isinstance(said, Exception):
            raise said
        hear(*said)


def _call(told: Queue[Any], work: Callable[[int, Tell], None], rank: int, size: int) -> None:
    try:
        work(rank, lambda *said: told.put(said))
    except InputError as error:
        told.put(error)
    except Exception as error:  # whatever it is, the others wait for this process
        said = " ".join(str(error).split()) or type(error).__name__
        told.put(RuntimeError(f"process {rank + 1} of {size} failed: {said}"))
        raise
