"""Graphs that were translated for a runtime, kept on this machine by all they follow from.

To translate one takes torch and seconds, to read it neither. What is kept is a copy: what is
missing, damaged or somebody else's is made anew, and nothing that is computed depends on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SETTING, OFF = "LANDWEAVE_GRAPHS", "off"
"""The variable that names another folder for graphs, or keeps none of them."""

MOST_BYTES = 2 * 2**30
"""Of all graphs together; those that were not used for longest go first."""

PATIENCE = 60.0
"""Seconds that a process waits while another one makes a graph."""

_MARK = b"landweave graph 1\n"
_ENDING = ".graph"
_DAY = 86400.0

Parts = Mapping[str, bytes]
"""What a graph consists of, by name."""


def graph_folder() -> Path | None:
    """Where graphs are kept; None where they are not."""
    if said := os.environ.get(SETTING):
        return None if said == OFF else Path(said).expanduser()
    platform = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or platform).expanduser() / "landweave" / "graphs"


def load_parts(facts: Mapping[str, Any]) -> dict[str, bytes] | None:
    """What was kept for these facts, whole; None where there is nothing."""
    if (folder := graph_folder()) is None:
        return None
    file = _file(folder, facts)
    try:
        content = file.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(file)  # used last: it stays longest
    return _unpack(content, facts)


def keep_parts(facts: Mapping[str, Any], parts: Parts) -> None:
    """Keep a graph, whole or not at all; a folder that cannot be written keeps none."""
    if (folder := graph_folder()) is None:
        return
    content = _pack(facts, parts)
    if len(content) > MOST_BYTES:
        return
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, len(content))
        new = folder / f".new.{uuid.uuid4().hex}"
        try:
            new.write_bytes(content)
            new.replace(_file(folder, facts))
        finally:
            new.unlink(missing_ok=True)


@contextmanager
def lone_maker() -> Iterator[None]:
    """Let one process of this machine at a time make graphs, so that others find what it made.

    Who has waited for `PATIENCE` goes on, and makes its own.
    """
    folder = graph_folder()
    with suppress(OSError):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    try:
        held = None if folder is None else (folder / ".lock").open("a")
    except OSError:
        held = None
    if held is None:
        yield
        return
    import fcntl

    with held:  # to close it is to let go of it
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
            else:
                break
        yield


def _file(folder: Path, facts: Mapping[str, Any]) -> Path:
    return folder / f"{hashlib.sha256(_told(facts)).hexdigest()[:40]}{_ENDING}"


def _told(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _pack(facts: Mapping[str, Any], parts: Parts) -> bytes:
    """A mark, the hash of all that follows, a line of JSON that says what that is, the parts."""
    head = {"facts": facts, "parts": [[name, len(part)] for name, part in parts.items()]}
    rest = b"\n".join([_told(head), b"".join(parts.values())])
    return _MARK + hashlib.sha256(rest).digest() + rest


def _unpack(content: bytes, facts: Mapping[str, Any]) -> dict[str, bytes] | None:
    """The parts of a file that `_pack` made for these facts; None for any other."""
    start = len(_MARK) + 32
    rest = memoryview(content)[start:]
    whole = hashlib.sha256(rest).digest() == content[len(_MARK) : start]
    if not content.startswith(_MARK) or not whole:
        return None
    end = content.index(b"\n", start)
    head = json.loads(content[start:end])
    if _told(head["facts"]) != _told(facts):
        return None
    found, at = {}, end + 1
    for name, length in head["parts"]:
        found[name] = content[at : at + length]
        at += length
    return found


def _make_room(folder: Path, length: int) -> None:
    """Remove what was not used for longest, until so many bytes more are within bounds; and what a
    process left that was stopped while it wrote."""
    for left in folder.glob(".new.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                left.unlink()
    used: list[tuple[float, int, Path]] = []
    for file in folder.glob(f"*{_ENDING}"):
        with suppress(OSError):  # somebody else removes, too
            stat = file.stat()
            used.append((stat.st_mtime, stat.st_size, file))
    total = length + sum(size for _, size, _ in used)
    for _, size, file in sorted(used):
        if total <= MOST_BYTES:
            return
        with suppress(OSError):
            file.unlink()
        total -= size
