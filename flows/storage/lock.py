"""One run at a time in a folder on a disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.errors import InputError

RUN = "LANDWEAVE_RUN"
"""What this process does, as a person knows it: whoever is refused its folder reads for what to
wait."""


@contextmanager
def folder_lock(path: Path, name: str = "") -> Iterator[None]:
    """Keep a folder, made if need be, for this process alone while the block lasts; what a crash
    left there goes.

    A person calls it by `name`, or by its path. Raises `InputError` where the folder cannot be
    written or is in use.
    """
    name = name or str(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _check_links(path, name)
        lock = open(path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - closed by the `with` below
    except OSError as error:
        raise InputError(
            f"cannot write to {name}: {error.strerror}; name another folder with --out"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            raise InputError(
                f"{name} is in use by {owner}; wait for it or name another folder with --out"
            ) from error
        lock.truncate(0)
        run = os.environ.get(RUN)
        lock.write(
            f"process {os.getpid()} on {socket.gethostname()}"
            + (f", the run “{run}”" if run else "")
        )
        lock.flush()
        for leftover in path.glob(".*.tmp"):
            leftover.unlink()
        for leftover in path.glob(".work-*"):
            if not leftover.is_symlink():
                shutil.rmtree(leftover)
        yield


def _check_links(path: Path, name: str) -> None:
    """A run folder may be a link; what a run writes through inside may not, or it would write
    elsewhere.

    Products may: they are replaced, and what they pointed to stays.
    """
    for inside in (".lock", "parts"):
        if (path / inside).is_symlink():
            raise InputError(
                f"{name}/{inside} is a link, and a run writes into its own folder alone; remove "
                "the link"
            )
