"""Graphics cards of workers: which there are, whether they compute, and what becomes of one that
fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

OUT_OF_MEMORY = 2
"""cudaErrorMemoryAllocation, as the CUDA runtime numbers its errors."""

LAST_WORDS = 1.0
"""Seconds in which a worker's answer leaves before its process ends."""


class CardFailed(RuntimeError):
    """The graphics card of a worker, or its driver, failed. The same work may well succeed
    elsewhere."""

    def __init__(self, worker: str, process: int, reason: str) -> None:
        super().__init__(worker, process, reason)
        self.worker = worker
        """Address of the nanny, which outlives the process; the worker's own where it has none."""
        self.process = process
        self.reason = reason

    def __str__(self) -> str:
        return f"the graphics card of worker {self.worker} failed: {self.reason}"


class CardFull(RuntimeError):
    """A graphics card had no memory left for a piece of work. There may be some later."""


def visible_cards() -> list[str]:
    """The graphics cards, or slices of them, that this process may use: as its environment says,
    else all there are."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [card for card in named.split(",") if card.strip() not in ("", "-1", "NoDevFiles")]
    if (tool := shutil.which("nvidia-smi")) is None:
        return []
    answer = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=60, check=False)
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    uuids = [
        found[1] for line in lines if (found := re.search(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", line))
    ]
    slices = [uuid for uuid in uuids if uuid.startswith("MIG-")]
    return slices or uuids  # a card that is cut into slices computes through these alone


class OnCard(Generic[T, R]):
    """A function as a worker with a graphics card calls it: what goes wrong with the card itself
    is told as such.

    After an illegal access or a memory error CUDA is lost to a process for good: each further call
    fails at once, and a worker that fails that fast draws all the work there is. So the process
    ends, and its nanny starts another.
    """

    def __init__(self, function: Callable[[T], R]) -> None:
        self._function = function

    def __call__(self, item: T) -> R:
        try:
            return self._function(item)
        except RuntimeError as error:
            if (problem := _problem(error)) is None:
                raise
            # its frames hold on to all that the card could not take
            error.__traceback__ = None
        raise problem


def _problem(error: RuntimeError) -> CardFailed | CardFull | None:
    """What an error says of the card; None where it says nothing of it."""
    # by name: neither this process nor a worker without a network need import torch
    kind, code = type(error).__name__, getattr(error, "error_code", None)
    reason = " ".join(str(error).split()) or kind
    if kind == "OutOfMemoryError" or (kind == "AcceleratorError" and code == OUT_OF_MEMORY):
        _free_memory()
        return CardFull(reason)
    if kind != "AcceleratorError":
        return None
    return CardFailed(_end_soon(), os.getpid(), reason)


def _free_memory() -> None:
    import torch

    torch.cuda.empty_cache()


def _end_soon() -> str:
    """Let this worker's process end when its answer has left; its nanny's address, else its
    own."""
    from distributed import get_worker

    try:
        worker: Any = get_worker()
    except ValueError:  # no worker of Dask: whoever called hears of it
        return "here"
    if worker.nanny:
        threading.Thread(target=_end, daemon=True).start()
    return str(worker.nanny or worker.address)


def _end() -> None:
    time.sleep(LAST_WORDS)
    os._exit(1)


def card_problem() -> str | None:
    """Why torch finds no graphics card in this process; None where it finds one."""
    import torch

    if torch.cuda.is_available():
        return None
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split())
    return "torch finds none"
