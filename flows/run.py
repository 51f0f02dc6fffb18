"""The run folder: request and record, parts that survive a crash, products under their final names."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tiling.errors import Mistake
from tiling.files import on_disk, write_file

LIBRARIES = ("landweave", "numpy", "rasterio", "torch", "segmentation-models-pytorch", "shapely", "pyogrio", "dask")


def content_key(facts: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of `facts`, as 64 hexadecimal digits."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    write_file(path, text.encode())


def versions() -> dict[str, str]:
    """Versions of the libraries that decide results, read without importing them."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run at a time."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a stage of the run."""
        began = time.perf_counter()
        with on_disk(self.path):
            yield
        self.seconds[name] = round(time.perf_counter() - began, 3)

    @property
    def parts(self) -> Path:
        return self.path / "parts"

    def product(self, name: str) -> Path:
        return self.path / name

    def record(self, facts: dict[str, Any]) -> None:
        """Write `run.json`."""
        write_whole(self.path / "run.json", json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n")

    def remembered(self, kind: str, key: str) -> dict[str, Any] | None:
        """What an earlier run wrote down under `key`, if it did."""
        path = self.path / "parts" / f"{kind}-{key[:16]}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def remember(self, kind: str, key: str, facts: dict[str, Any]) -> None:
        """Write down what is costly to find out again and must not change on resume."""
        write_whole(self.path / "parts" / f"{kind}-{key[:16]}.json", json.dumps(facts, sort_keys=True))


@contextmanager
def open_run(path: Path, *, fresh: bool = False) -> Iterator[RunFolder]:
    """The run folder at `path`, made if need be and held for this process alone while the block lasts.

    `fresh` drops the parts of earlier runs. Raises `Mistake` where the folder cannot be written or is in use.
    """
    folder, known = RunFolder(path), path.exists()
    try:
        folder.parts.mkdir(parents=True, exist_ok=True)
        lock = open(path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - closed by the `with` below
    except OSError as error:
        raise Mistake(f"cannot write to {path}: {error.strerror}; name another folder with --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            raise Mistake(f"{path} is in use by {owner}; wait for it or name another folder with --out") from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        for leftover in (*folder.parts.glob(".*.tmp"), *path.glob(".*.tmp")):
            leftover.unlink()
        for leftover in path.glob(".work-*"):
            shutil.rmtree(leftover)
        if fresh:
            for part in folder.parts.iterdir():
                part.unlink()
        try:
            yield folder
        finally:
            if not known and not any(folder.parts.iterdir()) and not (path / "run.json").exists():
                shutil.rmtree(path)  # nothing was done here, so nothing is left behind
