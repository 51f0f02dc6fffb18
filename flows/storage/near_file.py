"""A product of one file on an object store: made in a near copy, its parts kept on the store until
it is there whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.storage.claim import Claim, claim_folder
from flows.storage.kept_parts import parts_beside
from flows.storage.lock import folder_lock
from flows.storage.remote import Remote, clear_copy, local_copy, run_concurrently
from tiling.io.access import allow_folder
from tiling.io.files import write_bytes


@dataclass(frozen=True)
class NearFile:
    """The near copy of a file on a store, which is this process's alone."""

    path: Path
    """On this machine."""
    place: Remote
    """Where the file really is."""
    kept: Remote
    """Folder on the store for the parts that are finished."""
    claim: Claim
    there: frozenset[str]
    """Names of the parts that were there at the start."""

    def keep(self, part: Path) -> None:
        """Put a finished part on the store, for the same command after a kill, on any machine."""
        if part.name not in self.there:
            (self.kept / part.name).upload(part)

    def publish(self, files: Sequence[Path]) -> None:
        """Upload files that lie beside the near copy. The last vouches for the others: while they
        are on their way there is none."""
        self.claim.check()
        folder, last = self.place.parent, files[-1]
        folder.remove([last.name])
        run_concurrently(lambda file: (folder / file.name).upload(file), files[:-1])
        self.claim.check()
        (folder / last.name).upload(last)
        self.kept.remove(self.kept.names() - {".lock"})


@contextmanager
def near_file(place: Remote) -> Iterator[NearFile]:
    """The near copy of a file, with the parts that an earlier run left, held while the block lasts.
    `InputError` where another run makes the same file."""
    near, kept = local_copy(place), place.parent / f".{place.name}.parts"
    path = near / place.name
    with allow_folder(near), folder_lock(near, str(place)):
        clear_copy(near)  # of a run that was killed: what it finished is on the store
        try:
            with claim_folder(kept, near) as claim:
                there = frozenset(kept.names() - {".lock"})
                folder = parts_beside(path)
                folder.mkdir()
                run_concurrently(
                    lambda name: write_bytes(folder / name, (kept / name).read_bytes()), there
                )
                yield NearFile(path, place, kept, claim, there)
        finally:
            clear_copy(near)
