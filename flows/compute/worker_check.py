"""Can the workers do the job? Asked of each before any work starts, so that no shard finds out."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.compute.cards import card_problem
from flows.compute.pool import Pool, ThisProcess
from flows.storage.keys import LIBRARIES
from flows.storage.remote import Remote
from tiling.errors import InputError


@dataclass(frozen=True)
class Task:
    """The rasters that a worker must be able to open, and the folder it must write to."""

    sources: tuple[str, ...]
    """Rasters it must be able to open."""
    folder: Path
    """Where it must be able to write."""
    sign: str
    """A file that lies in the folder, so that a folder of the same name on another machine is told
    from it."""
    remote: Remote | None = None
    """Where it must be able to write instead, if the run's folder is on an object store."""


def check(
    pool: Pool,
    sources: Sequence[str],
    folder: Path,
    remote: Remote | None = None,
    *,
    gpu: bool = False,
) -> None:
    """Raise `InputError` for the first worker that cannot do the job, with the reason; with `gpu`
    also for one that declares a graphics card and has none."""
    if type(pool) is not ThisProcess:
        _check_versions(pool)
    with probe_file(folder) as name:
        task = Task(tuple(sources), folder, name, remote)
        for worker, problem in pool.everywhere(partial(worker_problem, task)).items():
            if problem:
                raise InputError(f"worker {worker} cannot do this work: {problem}")
    if gpu and pool.cards():
        for worker, problem in pool.everywhere(card_problem, gpu=True).items():
            if problem:
                raise InputError(
                    f"worker {worker} declares a graphics card and cannot compute on it: "
                    f"{problem}; mend its driver, or compute on cores with --set device=cpu"
                )


def _check_versions(pool: Pool) -> None:
    here = versions_here()
    for worker, found in pool.everywhere(_versions(LIBRARIES)).items():
        if isinstance(found, Exception):
            raise InputError(f"worker {worker} does not answer: {found}")
        if odd := [name for name in here if found[name] != here[name]]:
            name = odd[0]
            raise InputError(
                f"worker {worker} has {name} {found[name]} and this process {here[name]}; "
                "give both the same environment"
            )


def versions_here() -> dict[str, str]:
    """Versions of Python and of the libraries in this process."""
    return _versions(LIBRARIES)()


def _versions(libraries: Sequence[str]) -> Callable[[], dict[str, str]]:
    """A function that tells versions. It travels by value, to machines where nothing of ours is
    installed."""

    def versions() -> dict[str, str]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in libraries:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "not installed"
        return found

    return versions


@contextmanager
def probe_file(folder: Path) -> Iterator[str]:
    """The name of an empty file that lies in the folder while the block lasts."""
    file = folder / f".sign.{platform.node()}.{uuid.uuid4().hex[:12]}.tmp"
    file.touch()
    try:
        yield file.name
    finally:
        file.unlink(missing_ok=True)


def worker_problem(task: Task) -> str | None:
    """What keeps this process from the task, in one line; None where nothing does."""
    from tiling.io.datasets import open_dataset
    from tiling.io.remote import identity
    from tiling.io.urls import is_local

    for source in task.sources:
        try:
            identity(source)  # what is known there of a remote file is brought up to date
            with open_dataset(source):
                pass
        except (InputError, OSError) as error:
            mend = (
                "mount it under the same path"
                if is_local(source)
                else "give it the same credentials and network"
            )
            if is_local(source) and not Path(source).is_absolute():
                mend = "give its whole path, as workers may start in another folder"
            return f"{source} does not open there ({' '.join(str(error).split())}); {mend}"
    if task.remote is not None:
        try:
            (task.remote / task.sign).write_bytes(b"")
            task.remote.remove([task.sign])
        except InputError as error:
            return str(error)
        return None
    if not (task.folder / task.sign).exists():
        mend = "choose one that all machines share"
        if not task.folder.is_absolute():
            mend = "give its whole path, as workers may start in another folder"
        return f"{task.folder} is another folder there; {mend}"
    trial = task.folder / f".trial.{platform.node()}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        trial.write_bytes(b"\0")
        trial.unlink()
    except OSError as error:
        return f"{task.folder} cannot be written there: {error.strerror}"
    return None
