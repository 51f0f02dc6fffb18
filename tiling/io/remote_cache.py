"""Whole copies of remote files, shared by the processes of a machine: fetched once, read as local
files, soon gone."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from tiling.errors import InputError, RemoteUnavailable, redact
from tiling.io.files import own_scratch
from tiling.io.remote import identity, last_identity, read_range, remote_error
from tiling.io.urls import url_of

SMALL = 32 * 2**20
"""Bytes up to which whoever opens a remote file fetches it whole."""

LARGE = 512 * 2**20
"""Bytes up to which a run does so, where it would ask for much of the file twice.

What it draws a sample from, 64 blocks of mostly 512² pixels, is a fifth of a larger one at most.
"""

ROOM = 4
"""How many times its size must be free on the disk of a copy: the run has other things to write."""

PIECE = 8 * 2**20
"""Bytes of one request."""

AT_ONCE = 8
"""Requests for pieces of a file under way at the same time."""

OLD = 24 * 3600
"""Seconds after which a copy is a leftover of a process that was killed."""

_made: set[Path] = set()
"""Copies that this process fetched and that go with it."""
_unkept: set[Path] = set()
"""Copies that the disk did not take."""


def cached_copy(path: str) -> Path | None:
    """The copy of a remote file as `identity` last found it; None where there is none. Asks no
    other machine."""
    facts = last_identity(path)
    place = _place(path, facts)
    return place if place is not None and _is_whole(place, facts["size"]) else None


def fetch_whole(path: str, most: int) -> Path | None:
    """The copy of a remote file, made now where there is none and the file has no more than `most`
    bytes.

    None, and the file is to be read in ranges, where it is larger, where nothing tells its content
    from a later one, and where the disk does not take it. Raises `InputError` like `identity`,
    `RemoteUnavailable` where the file does not come whole.
    """
    if not last_identity(path):
        identity(path)
    # as they are now: another thread may find the file overwritten meanwhile
    facts = last_identity(path)
    copy, size = _place(path, facts), facts.get("size") or 0
    if copy is None or _is_whole(copy, size):
        return copy
    if size > most or copy in _unkept:
        return None
    try:
        _sweep(copy.parent)
        if shutil.disk_usage(copy.parent).free < ROOM * size:
            return None
        _fetch(path, facts, copy)
    except OSError:  # of this disk: those of the other machine are told as mistakes
        _unkept.add(copy)
        return None
    return copy


def cached_files() -> frozenset[Path]:
    """The copies that this process fetched and has not dropped."""
    return frozenset(_made)


def evict(copies: Collection[Path]) -> None:
    """Remove copies. Who has one open reads on; who comes later fetches it again or reads
    ranges."""
    for copy in copies:
        copy.unlink(missing_ok=True)
        _made.discard(copy)


def in_words(text: str, path: str) -> str:
    """What GDAL said of a remote file's copy, said of the file."""
    place = _place(path, last_identity(path))
    return text if place is None else text.replace(str(place), path).replace(place.name, path)


def _place(path: str, facts: Mapping[str, Any]) -> Path | None:
    """Where the copy of a remote file lies, if there is one; None where there can be none.

    Its name holds what tells the content from any other, so that a file which was overwritten has
    another copy.
    """
    url = url_of(path)
    if url is None or not facts.get("size") or not facts.get("etag"):
        return None
    try:
        folder = own_scratch() / "copies"
        folder.mkdir(mode=0o700, exist_ok=True)
    except (InputError, OSError):
        return None
    # a signature is renewed, the file is the same
    name = json.dumps([redact(url), facts["size"], facts["etag"]])
    return folder / hashlib.sha256(name.encode()).hexdigest()[:32]


def _is_whole(copy: Path, size: int) -> bool:
    try:
        status = copy.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _fetch(path: str, facts: Mapping[str, Any], copy: Path) -> None:
    """Make a copy, or wait for whoever is making it."""
    size, unfinished = facts["size"], copy.with_suffix(".part")
    while not _is_whole(copy, size):
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # a process that dies lets go of it
            if not _still_at(unfinished, descriptor):
                continue  # it was finished, or given up, by whoever held it
            try:
                if not _is_whole(copy, size):
                    _fill(path, facts, descriptor)
                    unfinished.replace(copy)
                    _made.add(copy)
            finally:
                unfinished.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _fill(path: str, facts: Mapping[str, Any], descriptor: int) -> None:
    """Write a remote file's bytes, piece by piece, several at once; see them on the disk."""
    url, size = url_of(path) or path, facts["size"]
    os.ftruncate(descriptor, 0)

    def bring(first: int) -> None:
        length = min(PIECE, size - first)
        try:
            content = memoryview(read_range(url, facts["etag"], first, length))
        except InputError:
            raise
        except Exception as error:
            raise RemoteUnavailable(
                str(remote_error(url, error))
            ) from None  # obstore's errors may hold what was signed
        while content:
            written = os.pwrite(descriptor, content, first)
            content, first = content[written:], first + written

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
        for _ in pool.map(bring, range(0, size, PIECE)):
            pass
    os.fsync(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left."""
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - file.lstat().st_mtime > OLD:
                file.unlink()


def _at_exit() -> None:
    evict(cached_files())


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_made.clear)
