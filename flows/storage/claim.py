"""The claim by which one run holds a folder on an object store, and when it lapses."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.storage.remote import Remote
from tiling.errors import InputError
from tiling.io.remote import remote_error

CLAIM = ".lock"
"""Object that says who holds a folder."""

LAPSE = 300.0
"""Seconds after which a claim that nobody renewed may be taken over."""

RENEWAL = 60.0


class Claim:
    """One run's hold on a folder of an object store, renewed while it lasts.

    The claim is an object that a store creates only where there is none (If-None-Match), and
    replaces only where it is as it was read (If-Match). Stores without these conditions are warned
    of in docs/storage.md.
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
                f"this process could not renew its claim on {self._place}, and another run may "
                "have taken over; what "
                "is finished is kept, and the same command goes on from there"
            )

    def acquire(self) -> None:
        """Claim the folder; `InputError` where a run that is alive holds it."""
        found = self._read()
        if found is None:
            self._put("create")
            return
        content, etag, changed = found
        # Whoever holds the lock of the near copy that a claim names can be sure that the claim's
        # owner is dead.
        dead = content.get("near") == self._near or self._now() - changed > LAPSE
        if not dead:
            raise self._refusal(content)
        self._put({"e_tag": etag})

    def renew(self) -> None:
        """Say that the run is alive."""
        from obstore.exceptions import PreconditionError

        try:
            self._write({"e_tag": self._etag})
        except PreconditionError:
            found = self._read()
            if found is not None and found[0].get("id") == self._id:
                self._etag = found[1]  # the answer to an earlier renewal did not arrive
            else:
                self._lost = True

    def release(self) -> None:
        """Let go of the folder, if it is still this run's."""
        found = self._read()
        if found is not None and found[0].get("id") == self._id:
            self._place.remove([CLAIM])

    def _put(self, mode: Any) -> None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with suppress(AlreadyExistsError, PreconditionError):  # perhaps by this run's first attempt
            self._write(mode)
        found = self._read()
        if found is None or found[0].get("id") != self._id:
            raise self._refusal(found[0] if found else {})
        self._etag = found[1]

    def _write(self, mode: Any) -> None:
        """Write the claim under a condition; conditions that do not hold are raised as the store's
        library has them."""
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
            raise remote_error(self._object.url, error) from None
        self._etag, self._renewed = put["e_tag"], time.monotonic()

    def _read(self) -> tuple[dict[str, Any], str | None, float] | None:
        """The claim there is: content, ETag, and when it was written by the store's clock."""
        import obstore

        def read() -> tuple[bytes, Any]:
            found = obstore.get(self._object._store, self._object._key)
            return bytes(found.bytes()), found.meta

        try:
            content, meta = self._object._ask(read)
        except FileNotFoundError:
            return None
        try:
            facts = json.loads(content)
        except ValueError:
            facts = {}
        return (
            facts if isinstance(facts, dict) else {},
            meta["e_tag"],
            meta["last_modified"].timestamp(),
        )

    def _now(self) -> float:
        """The time by the store's clock: that of this machine may be wrong."""
        import obstore

        trial = self._place / f".now.{self._id}"
        trial.write_bytes(b"")
        try:
            return float(obstore.head(trial._store, trial._key)["last_modified"].timestamp())
        finally:
            self._place.remove([trial.name])

    def _refusal(self, content: dict[str, Any]) -> InputError:
        owner, since = content.get("owner", "another process"), content.get("since", "a moment ago")
        return InputError(
            f"{self._place} is in use by {owner} since {since}; wait for it or name another "
            "folder with --out (if it "
            f"died, its claim ends {LAPSE / 60:.0f} minutes after it was last renewed)"
        )


@contextmanager
def claim_folder(place: Remote, near: Path) -> Iterator[Claim]:
    """A claim on a folder while the block lasts. `near` is its near copy, whose lock this process
    holds."""
    token = near / ".id"
    if not token.exists():
        token.write_text(uuid.uuid4().hex, encoding="ascii")
    claim = Claim(
        place, f"process {os.getpid()} on {platform.node()}", token.read_text(encoding="ascii")
    )
    claim.acquire()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWAL):
            try:
                claim.renew()
            except InputError:  # the store does not answer; check() says so where that lasts
                continue

    thread = threading.Thread(target=renew, name="claim", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        over.set()
        thread.join()
        claim.release()
