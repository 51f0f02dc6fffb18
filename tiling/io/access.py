"""How far a path may lead: which folders and hosts are opened, decided before anything opens them.

GDAL knows two hundred formats, some of which fetch, run or read what a file merely names. A source
needs five of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tiling.errors import InputError

SCHEMES = ("http", "https", "s3", "gs", "az", "abfs", "abfss")
"""Of addresses that may be a source."""

_VIRTUAL = {
    "/vsicurl/": "",
    "/vsis3/": "s3://",
    "/vsigs/": "gs://",
    "/vsiaz/": "az://",
    "/vsiadls/": "abfs://",
}
"""GDAL's names for the same. Not /vsizip/ and its like: a small archive unpacks to any size, at
every block anew."""

_MEMORY_FILE = re.compile(r"/vsimem/([0-9a-f-]{36})/\1\.\w*")
"""Names that rasterio's `MemoryFile` gives: what this process holds in memory, and nobody else can
name."""


@dataclass(frozen=True)
class AccessPolicy:
    """The folders and hosts from which files may be opened; None means from anywhere."""

    roots: tuple[Path, ...] | None = None
    """Folders."""
    hosts: tuple[str, ...] | None = None
    """Hosts of http(s) addresses; buckets as s3://name."""

    def check(self, path: str) -> None:
        """Raise `InputError` where a path leads elsewhere, whether or not anything is there."""
        if host := host_of(path):
            if self.hosts is not None and host not in self.hosts:
                known = ", ".join(self.hosts) or "no other machine"
                raise InputError(
                    f"{path} lies on {host}, and this server opens files of {known}; whoever runs "
                    f"it can add {host} to "
                    "LANDWEAVE_ALLOWED_HOSTS"
                )
        elif self.roots is not None and not any(
            _resolve(path).is_relative_to(root.resolve()) for root in self.roots
        ):
            raise InputError(
                f"{path} lies outside the folders that this server opens "
                f"({', '.join(map(str, self.roots))}); put it "
                "there, or have LANDWEAVE_DATA_ROOTS extended"
            )


ANYWHERE = AccessPolicy()
_reach = ANYWHERE


def current() -> AccessPolicy:
    """What this process may reach at the moment."""
    return _reach


@contextmanager
def restrict_access(reach: AccessPolicy) -> Iterator[None]:
    """Within the block this process, all its threads, opens sources only within `reach`."""
    global _reach
    before, _reach = _reach, reach
    try:
        yield
    finally:
        _reach = before


@contextmanager
def allow_folder(folder: Path) -> Iterator[None]:
    """Within the block a folder of this program's own, whose files nobody names, is within reach
    too."""
    global _reach
    before = _reach
    if before.roots is not None:
        _reach = replace(before, roots=(*before.roots, folder))
    try:
        yield
    finally:
        _reach = before


def check_access(path: str) -> None:
    """Raise `InputError` where a path, to read or to write, leads out of what this process is
    confined to."""
    _reach.check(path)


def is_there(path: str) -> bool:
    """Whether something of that name is on this machine, however long or odd the name."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def in_memory(path: str) -> bool:
    """Whether a path is that of a `MemoryFile` of this process."""
    return _MEMORY_FILE.fullmatch(path) is not None


def host_of(path: str) -> str | None:
    """The host or bucket an address names; None for a file of this machine. `InputError` for any
    other way to one."""
    if is_there(path):
        return None
    address = next(
        (s + path.removeprefix(p) for p, s in _VIRTUAL.items() if path.startswith(p)), path
    )
    if address.startswith("/vsi"):
        raise InputError(
            f"{path} is a virtual file of a kind that is not read; unpack it and give the raster "
            "itself"
        )
    found = re.match(r"(\w[\w+.-]+):", address)
    if found is None or address.startswith("file://"):
        return None
    scheme = found[1]
    if scheme not in SCHEMES or not address.startswith(f"{scheme}://"):
        raise InputError(
            f"{path} is neither a file nor an address; give a path, or {', '.join(SCHEMES[:4])}://…"
        )
    try:
        parts = urlsplit(address)
        name = parts.hostname if scheme.startswith("http") else parts.netloc
    except ValueError:
        name = None
    if not name:
        raise InputError(f"{path} names no host; write it like https://host/scene.tif")
    return name if scheme.startswith("http") else f"{scheme}://{name}"


def local_path(path: str) -> Path:
    return Path(path.removeprefix("file://")) if not is_there(path) else Path(path)


def _resolve(path: str) -> Path:
    return local_path(path).resolve()
