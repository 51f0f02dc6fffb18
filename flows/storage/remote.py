"""Folders on object stores: objects, there whole or not at all, and the claim by which one run holds a folder."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from tiling.errors import Mistake
from tiling.io.access import check_reach
from tiling.io.files import own_scratch
from tiling.io.remote import attempt, object_store, refused
from tiling.io.urls import STORES, split

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CLAIM = ".lock"
"""Object that says who holds a folder."""

LAPSE = 300.0
"""Seconds after which a claim that nobody renewed may be taken over."""

RENEWAL = 60.0

AT_ONCE = 8
"""Objects on their way at the same time."""

_MOST_WAITING = 256
"""Objects that wait for their turn: a pool holds all it was given, and a large scene has a hundred thousand."""

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class Remote:
    """A folder or an object on an object store, by its URL. A small value that travels.

    What goes wrong on the way is tried again; what does not pass is a `Mistake` that names the object.
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
        """Itself: a URL is the same from everywhere."""
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

        return self._asked(whole)

    def write_bytes(self, content: bytes) -> None:
        """Put an object, which appears whole or not at all."""
        import obstore

        self._asked(lambda: obstore.put(self._store, self._key, content, attributes=self._attributes))

    def upload(self, file: Path) -> None:
        """Put the content of a file, which appears whole or not at all; a large one goes in several requests."""
        import obstore

        self._asked(lambda: obstore.put(self._store, self._key, file, attributes=self._attributes))

    def size(self) -> int:
        """Bytes of the object."""
        import obstore

        return int(self._asked(lambda: obstore.head(self._store, self._key))["size"])

    def names(self) -> frozenset[str]:
        """What lies directly in the folder: a request per thousand objects."""
        import obstore

        def listed() -> frozenset[str]:
            found = obstore.list_with_delimiter(self._store, self._key or None)["objects"]
            return frozenset(entry["path"].rpartition("/")[2] for entry in found)

        return self._asked(listed)

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects of the folder; those that are not there do not matter."""
        import obstore

        keys = [(self / name)._key for name in sorted(names)]
        if keys:
            try:
                self._asked(lambda: obstore.delete(self._store, keys))
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

    def _asked(self, work: Callable[[], T]) -> T:
        try:
            return attempt(work)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url} does not exist") from None
        except Exception as error:
            raise refused(self.url, error) from None  # obstore's errors may hold what was signed


def place_of(text: Any) -> Any:
    """A path, or a folder on an object store where a URL says so."""
    if not isinstance(text, str) or "://" not in text:
        return text
    scheme, _, rest = text.partition("://")
    if scheme not in STORES:
        raise Mistake(f"{text} cannot be written to; name a folder, or one of {', '.join(f'{s}://' for s in STORES)}")
    account = r"(@[^/@:]+)?" if scheme.startswith("abfs") else ""
    if "?" in text or not re.fullmatch(rf"[^/@:]+{account}(/.*)?", rest):
        raise Mistake(f"{text} is no folder of an object store; write s3://bucket/folder, without passwords or ?")
    check_reach(text)
    return Remote(text.rstrip("/"))


Place = Annotated[
    Path | Remote, BeforeValidator(place_of), PlainSerializer(str), WithJsonSchema({"type": "string", "format": "path"})
]
"""Where a run's folder is: on a disk, or on an object store."""


def together(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do `work` for each item, several at once; the first failure is raised."""
    waiting = iter(items)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="transfer") as pool:
        while some := list(islice(waiting, _MOST_WAITING)):
            for _ in pool.map(work, some):
                pass


def near_copy(place: Remote) -> Path:
    """The folder of this machine where a run on an object store keeps what it is working with: the same each time."""
    near = own_scratch() / hashlib.sha256(place.url.encode()).hexdigest()[:16]
    try:
        near.mkdir(exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot write to {near.parent}: {error.strerror}; name a folder in LANDWEAVE_SCRATCH") from error
    return near


# -------------------------------------------------------------------------------------------------------------- claims


class Claim:
    """One run's hold on a folder of an object store, renewed while it lasts.

    The claim is an object that a store creates only where there is none (If-None-Match), and replaces only where it is
    as it was read (If-Match). Stores without these conditions are warned of in docs/storage.md.
    """

    def __init__(self, place: Remote, owner: str, near: str) -> None:
        self._object = place / CLAIM
        self._place, self._owner, self._near = place, owner, near
        self._id = uuid.uuid4().hex
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._etag: str | None = None
        self._renewed = time.monotonic()
        self._lost = False

    def check(self) -> None:
        """Raise where the claim was lost: another run may be at work in the folder."""
        if self._lost or time.monotonic() - self._renewed > LAPSE:
            raise RuntimeError(
                f"this process could not renew its claim on {self._place}, and another run may have taken over; what "
                "is finished is kept, and the same command goes on from there"
            )

    def take(self) -> None:
        """Claim the folder; `Mistake` where a run that is alive holds it."""
        found = self._found()
        if found is None:
            self._put("create")
            return
        content, etag, changed = found
        # Whoever holds the lock of the near copy that a claim names can be sure that the claim's owner is dead.
        dead = content.get("near") == self._near or self._now() - changed > LAPSE
        if not dead:
            raise self._held(content)
        self._put({"e_tag": etag})

    def renew(self) -> None:
        """Say that the run is alive."""
        from obstore.exceptions import PreconditionError

        try:
            self._write({"e_tag": self._etag})
        except PreconditionError:
            found = self._found()
            if found is not None and found[0].get("id") == self._id:
                self._etag = found[1]  # the answer to an earlier renewal did not arrive
            else:
                self._lost = True

    def release(self) -> None:
        """Let go of the folder, if it is still this run's."""
        found = self._found()
        if found is not None and found[0].get("id") == self._id:
            self._place.remove([CLAIM])

    def _put(self, mode: Any) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with suppress(AlreadyExistsError, PreconditionError):  # perhaps by this run's first attempt
            self._write(mode)
        found = self._found()
        if found is None or found[0].get("id") != self._id:
            raise self._held(found[0] if found else {})
        self._etag = found[1]

    def _write(self, mode: Any) -> None:
        """Write the claim under a condition; conditions that do not hold are raised as the store's library has them."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        facts = {
            "owner": self._owner,
            "since": self._since,
            "near": self._near,
            "id": self._id,
            "renewed": datetime.now(UTC).isoformat(),  # another ETag each time
        }
        store, key = self._object._store, self._object._key
        content = json.dumps(facts).encode()
        try:
            try:
                put = obstore.put(store, key, content, mode=mode)
            except (NotSupportedError, NotImplementedError):
                put = obstore.put(store, key, content)
        except (AlreadyExistsError, PreconditionError):
            raise
        except Exception as error:
            raise refused(self._object.url, error) from None
        self._etag, self._renewed = put["e_tag"], time.monotonic()

    def _found(self) -> tuple[dict[str, Any], str | None, float] | None:
        """The claim there is: content, ETag, and when it was written by the store's clock."""
        import obstore

        def read() -> tuple[bytes, Any]:
            found = obstore.get(self._object._store, self._object._key)
            return bytes(found.bytes()), found.meta

        try:
            content, meta = self._object._asked(read)
        except FileNotFoundError:
            return None
        try:
            facts = json.loads(content)
        except ValueError:
            facts = {}
        return facts if isinstance(facts, dict) else {}, meta["e_tag"], meta["last_modified"].timestamp()

    def _now(self) -> float:
        """The time by the store's clock: that of this machine may be wrong."""
        import obstore

        trial = self._place / f".now.{self._id}"
        trial.write_bytes(b"")
        try:
            return float(obstore.head(trial._store, trial._key)["last_modified"].timestamp())
        finally:
            self._place.remove([trial.name])

    def _held(self, content: dict[str, Any]) -> Mistake:
        owner, since = content.get("owner", "another process"), content.get("since", "a moment ago")
        return Mistake(
            f"{self._place} is in use by {owner} since {since}; wait for it or name another folder with --out (if it "
            f"died, its claim ends {LAPSE / 60:.0f} minutes after it was last renewed)"
        )


@contextmanager
def claimed(place: Remote, near: Path) -> Iterator[Claim]:
    """A claim on a folder while the block lasts. `near` is its near copy, whose lock this process holds."""
    token = near / ".id"
    if not token.exists():
        token.write_text(uuid.uuid4().hex, encoding="ascii")
    claim = Claim(place, f"process {os.getpid()} on {platform.node()}", token.read_text(encoding="ascii"))
    claim.take()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWAL):
            try:
                claim.renew()
            except Mistake:  # the store does not answer; check() says so where that lasts
                continue

    thread = threading.Thread(target=renew, name="claim", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        over.set()
        thread.join()
        claim.release()
