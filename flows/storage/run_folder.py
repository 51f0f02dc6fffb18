"""The run folder: request and record, parts that survive a crash, products under their final
names."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.storage.claim import Claim, claim_folder
from flows.storage.lock import folder_lock
from flows.storage.remote import Place, Remote, clear_copy, local_copy, run_concurrently
from tiling.errors import redact
from tiling.io.access import allow_folder
from tiling.io.datasets import copies_kept
from tiling.io.files import on_disk, write_bytes, write_text
from tiling.io.gdal_config import keep_cache_small

PRODUCTS = ".products.json"
"""Object that names the products of a folder on an object store, so that the next run knows which
are no longer its."""


_OURS = re.compile(r"[a-z0-9]+-[0-9a-f]{16,32}\.(tif|json)")
"""Names of parts and of what is remembered."""


@dataclass(frozen=True)
class PartLocation:
    """The place of a part: on a disk, and on an object store where the run's folder is there."""

    path: Path
    remote: Remote | None = None
    finished: bool = False
    """Whether an earlier run left it on the object store."""

    @property
    def is_local(self) -> bool:
        """Whether this machine sees the run's folder, or its near copy."""
        return self.path.parent.is_dir()

    def write(self, content: bytes) -> None:
        """Keep the content: on the store first, for a part exists if and only if it is there."""
        if self.remote is not None:
            self.remote.write_bytes(content)
        if self.remote is None or self.is_local:
            write_bytes(self.path, content)

    def fetch(self) -> None:
        """Bring the content from the store to the disk."""
        assert self.remote is not None
        write_bytes(self.path, self.remote.read_bytes())


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run at a time.

    On an object store it has a near copy on this machine. Parts are there as soon as they are
    finished; products are made in the near copy and go there together, `run.json` last.
    """

    path: Path
    """On this machine."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took."""
    runtime: dict[str, str] = field(default_factory=dict)
    """What the workers compute with, once they were asked."""
    remote: Remote | None = None
    """Where the folder really is, if that is an object store."""
    finished: frozenset[str] = frozenset()
    """Names of the parts that were there at the start, listed once."""
    claim: Claim | None = None

    @property
    def place(self) -> Path | Remote:
        """The path or the URL at which a person finds the folder."""
        return self.remote or self.path

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as a stage of the run."""
        began = time.perf_counter()
        if self.claim is not None:
            self.claim.check()
        with on_disk(self.path):
            yield
        self.seconds[name] = round(time.perf_counter() - began, 3)

    @property
    def parts(self) -> Path:
        return self.path / "parts"

    def slot(self, name: str) -> PartLocation:
        """The place of a part."""
        remote = self.remote / "parts" / name if self.remote else None
        return PartLocation(self.parts / name, remote, name in self.finished)

    def product(self, name: str) -> Path:
        return self.path / name

    def read_record(self) -> dict[str, Any]:
        """What `run.json` states of the run there; empty where there is none, or none of ours."""
        try:
            text = (
                (self.remote / "run.json").read_bytes()
                if self.remote
                else self.product("run.json").read_bytes()
            )
            facts = json.loads(text)
        except (FileNotFoundError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def record(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Write `run.json`, without the secrets of signed addresses; the folder is finished
        then."""
        text = redact(json.dumps(facts, indent=2, ensure_ascii=False, default=str))
        write_text(self.path / "run.json", text + "\n")
        if self.remote is not None:
            self._publish(self.remote)
        written: dict[str, Any] = json.loads(text)
        return written

    def _publish(self, remote: Remote) -> None:
        """Upload the products. While they are on their way there is no `run.json` that would vouch
        for them."""
        if self.claim is not None:
            self.claim.check()
        made = {
            file.name
            for file in self.path.iterdir()
            if file.is_file() and not file.name.startswith(".")
        }
        try:
            before = set(json.loads((remote / PRODUCTS).read_bytes()))
        except FileNotFoundError:
            before = set()
        remote.remove(["run.json"])
        (remote / PRODUCTS).write_bytes(json.dumps(sorted(before | made)).encode())
        run_concurrently(
            lambda name: (remote / name).upload(self.path / name), sorted(made - {"run.json"})
        )
        remote.remove(before - made)
        (remote / PRODUCTS).write_bytes(json.dumps(sorted(made)).encode())
        (remote / "run.json").upload(self.path / "run.json")

    def fetch_parts(self, names: Iterable[str]) -> None:
        """Bring those parts here that were made on other machines."""
        if self.remote is not None:
            run_concurrently(
                PartLocation.fetch,
                (slot for slot in map(self.slot, names) if not slot.path.exists()),
            )

    def load_cached(self, kind: str, key: str) -> dict[str, Any] | None:
        """What an earlier run wrote down under `key`, if it did."""
        slot = self.slot(f"{kind}-{key[:16]}.json")
        if slot.finished:
            slot.fetch()
        return json.loads(slot.path.read_text(encoding="utf-8")) if slot.path.exists() else None

    def save_cached(self, kind: str, key: str, facts: dict[str, Any]) -> None:
        """Write down what is costly to find out again and must not change on resume."""
        self.slot(f"{kind}-{key[:16]}.json").write(json.dumps(facts, sort_keys=True).encode())


@contextmanager
def open_run(place: Place, *, fresh: bool = False) -> Iterator[RunFolder]:
    """The run folder at a place, made if need be and held for this process alone while the block
    lasts.

    `fresh` drops the parts of earlier runs. Whole copies of remote files that the run made go with
    it. Raises
    `InputError` where the folder cannot be written or is in use.
    """
    keep_cache_small()
    if isinstance(place, Path):
        with copies_kept(), _open_here(place, str(place), fresh) as folder:
            yield folder
        return
    near = local_copy(place)
    with copies_kept(), allow_folder(near), _open_here(near, str(place), fresh) as folder:
        clear_copy(near)  # of a run that was killed: what it finished is on the store
        (near / "parts").mkdir()
        try:
            with claim_folder(place, near) as claim:
                finished = (place / "parts").names()
                if fresh:
                    (place / "parts").remove(finished)
                    finished = frozenset()
                yield replace(folder, remote=place, finished=finished, claim=claim)
        finally:
            clear_copy(near)
            (near / "parts").mkdir()


@contextmanager
def _open_here(path: Path, name: str, fresh: bool) -> Iterator[RunFolder]:
    """The folder at a path of this machine, which a person calls by `name`."""
    folder, known = RunFolder(path), path.exists()
    with folder_lock(path, name):
        folder.parts.mkdir(exist_ok=True)
        for leftover in folder.parts.glob(".*.tmp"):
            leftover.unlink()
        if fresh:
            for part in folder.parts.iterdir():
                if _OURS.fullmatch(part.name):  # a folder called parts may be somebody's
                    part.unlink()
        try:
            yield folder
        finally:
            if not known and not any(folder.parts.iterdir()) and not (path / "run.json").exists():
                shutil.rmtree(path)  # nothing was done here, so nothing is left behind
