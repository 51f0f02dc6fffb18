"""Files that are there whole or not at all, and disks that are full."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiling.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)

_NOTHING_LEFT = 2**16
"""Free bytes at which a failure to write is put down to the disk, whatever the library that wrote
says of it."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, see it on the disk, then give it its own.

    Raises `InputError` where the disk is full; nothing is left there then.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with on_disk(path.parent):
        try:
            with open(temporary, "wb") as target:
                target.write(content)
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Turn a failure in the block into a `InputError` that names the disk, where the disk of
    `folder` is full."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in FULL
        if not full and (not folder.exists() or shutil.disk_usage(folder).free >= _NOTHING_LEFT):
            raise
    else:
        return
    # Outside the handler: what the library raised need not survive the way from a worker to the
    # client.
    raise InputError(
        f"the disk of {folder} is full; make room, or name a folder elsewhere with --out; what is "
        "finished is kept"
    )


def make_folder(folder: Path) -> Path:
    """The folder, made if need be; `InputError` where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another place with --out"
        ) from error
    return folder


def own_scratch() -> Path:
    """The folder of this machine for what does not last, made if need be; nobody else enters it.

    `LANDWEAVE_SCRATCH` names another place for it than the system's for temporary files. Raises
    `InputError` where it cannot be made or is somebody else's.
    """
    base = (
        Path(os.environ.get("LANDWEAVE_SCRATCH") or tempfile.gettempdir())
        / f"landweave-{os.getuid()}"
    )
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if base.is_symlink() or base.stat().st_uid != os.getuid():
            raise InputError(
                f"{base} is somebody else's; name a folder of your own in LANDWEAVE_SCRATCH"
            )
        if base.stat().st_mode & 0o077:
            base.chmod(0o700)
    except OSError as error:
        raise InputError(
            f"cannot write to {base}: {error.strerror}; name a folder in LANDWEAVE_SCRATCH"
        ) from error
    return base


def check_folder(folder: Path) -> None:
    """Say before anything is counted that a folder cannot be written to; nothing is made yet."""
    there = next(
        (place for place in (folder, *folder.absolute().parents) if place.exists()), folder
    )
    if not there.is_dir():
        raise InputError(
            f"cannot write to {folder}: {there} is a file; name another folder with --out"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"cannot write to {folder}: {there} may not be written to; name another folder with "
            "--out"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    write_bytes(path, text.encode())


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, for what must not appear under a final name.

    Those that processes of this machine left there when they were killed go: nobody holds their
    locks any more. Raises
    `InputError` where the folder may not be written to.
    """
    mark = f".work-{socket.gethostname()}-"
    for leftover in folder.glob(f"{mark}*"):
        if not leftover.is_symlink() and (lock := _lock_folder(leftover)) is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)
    try:
        unheld = Path(tempfile.mkdtemp(prefix=".unheld-", dir=folder))
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another place with --out"
        ) from error
    lock = _lock_folder(unheld)
    # held before it can be cleared
    path = unheld.rename(unheld.with_name(mark + unheld.name.removeprefix(".unheld-")))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock_folder(folder: Path) -> int | None:
    """A descriptor that holds a folder's lock until it is closed; None where another has it or
    there are none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None  # gone since
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
