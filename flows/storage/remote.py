"""Folders on object stores: objects, there whole or not at all."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from tiling.errors import InputError
from tiling.io.access import check_access
from tiling.io.files import own_scratch
from tiling.io.remote import object_store, remote_error, retry
from tiling.io.urls import STORES, split

if TYPE_CHECKING:
    from obstore.store import ObjectStore


AT_ONCE = 8
"""Objects on their way at the same time."""

_MOST_WAITING = 256
"""Objects that wait for their turn: a pool holds all it was given, and a large scene has a hundred
thousand."""

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Remote:
    """A folder or an object on an object store, by its URL. A small value that travels.

    What goes wrong on the way is tried again; what does not pass is a `InputError` that names the
    object.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        return Remote(self.url.rpartition("/")[0])

    def resolve(self) -> Remote:
        """This folder itself: a URL is the same from everywhere."""
        return self

    def read_bytes(self) -> bytes:
        """The object whole. Raises `FileNotFoundError` where there is none."""
        import obstore

        def whole() -> bytes:
            found = obstore.get(self._store, self._key)
            content = bytes(found.bytes())
            if len(content) != found.meta["size"]:
                raise ConnectionError(f"{len(content)} of {found.meta['size']} bytes arrived")
            return content

        return self._ask(whole)

    def write_bytes(self, content: bytes) -> None:
        """Put an object, which appears whole or not at all."""
        import obstore

        self._ask(lambda: obstore.put(self._store, self._key, content, attributes=self._attributes))

    def upload(self, file: Path) -> None:
        """Put the content of a file, which appears whole or not at all; a large one goes in several
        requests."""
        import obstore

        self._ask(lambda: obstore.put(self._store, self._key, file, attributes=self._attributes))

    def size(self) -> int:
        """Bytes of the object."""
        import obstore

        return int(self._ask(lambda: obstore.head(self._store, self._key))["size"])

    def names(self) -> frozenset[str]:
        """What lies directly in the folder: a request per thousand objects."""
        import obstore

        def listed() -> frozenset[str]:
            found = obstore.list_with_delimiter(self._store, self._key or None)["objects"]
            return frozenset(entry["path"].rpartition("/")[2] for entry in found)

        return self._ask(listed)

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects of the folder; those that are not there do not matter."""
        import obstore

        keys = [(self / name)._key for name in sorted(names)]
        if keys:
            try:
                self._ask(lambda: obstore.delete(self._store, keys))
            except FileNotFoundError:  # file systems and GCS say so
                for key in keys if len(keys) > 1 else ():
                    self.remove([key.rpartition("/")[2]])

    @property
    def _store(self) -> ObjectStore:
        return object_store(split(self.url)[0])

    @property
    def _key(self) -> str:
        return split(self.url)[1]

    @property
    def _attributes(self) -> dict[str, str]:
        kind = mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        return {"Content-Type": "image/tiff; application=geotiff" if kind == "image/tiff" else kind}

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            return retry(work)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url} does not exist") from None
        except Exception as error:
            raise remote_error(
                self.url, error
            ) from None  # obstore's errors may hold what was signed


def place_of(text: Any) -> Any:
    """A path, or a folder on an object store where a URL says so."""
    if not isinstance(text, str) or "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    if scheme not in STORES:
        raise InputError(
            f"{text} cannot be written to; name a folder, or one of "
            f"{', '.join(f'{s}://' for s in STORES)}"
        )
    account = r"(@[^/@:]+)?" if scheme.startswith("abfs") else ""
    if "?" in text or not re.fullmatch(rf"[^/@:]+{account}(/.*)?", rest):
        raise InputError(
            f"{text} is no folder of an object store; write s3://bucket/folder, without passwords "
            "or ?"
        )
    check_access(text)
    return Remote(text.rstrip("/"))


Place = Annotated[
    Path | Remote,
    BeforeValidator(place_of),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""Where a run's folder is: on a disk, or on an object store."""


def run_concurrently(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do `work` for each item, several at once; the first failure is raised."""
    waiting = iter(items)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="transfer") as pool:
        while some := list(islice(waiting, _MOST_WAITING)):
            for _ in pool.map(work, some):
                pass


def local_copy(place: Remote) -> Path:
    """The folder of this machine where a run on an object store keeps what it is working with: the
    same each time."""
    near = own_scratch() / hashlib.sha256(place.url.encode()).hexdigest()[:16]
    try:
        near.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to {near.parent}: {error.strerror}; name a folder in LANDWEAVE_SCRATCH"
        ) from error
    return near


def clear_copy(near: Path) -> None:
    """Empty the near copy of a place, but for its lock and what it is known by."""
    for entry in near.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in (".lock", ".id"):
            entry.unlink()
