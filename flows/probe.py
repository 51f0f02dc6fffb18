"""Can the workers do the job? Asked of each before any work starts, so that no shard finds out."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tiling.errors import Mistake

if TYPE_CHECKING:
    from flows.pools import Pool

LIBRARIES = ("landweave", "numpy", "rasterio", "torch", "segmentation-models-pytorch", "scikit-learn", "distributed")
"""What must be the same everywhere: it decides results, or how machines talk."""


@dataclass(frozen=True)
class Task:
    """What a worker is going to need."""

    sources: tuple[str, ...]
    """Rasters it must be able to open."""
    folder: Path
    """Where it must be able to write."""
    sign: str
    """A file that lies in the folder, so that a folder of the same name on another machine is told from it."""


def check(pool: Pool, sources: Sequence[str], folder: Path) -> None:
    """Raise `Mistake` for the first worker that cannot do the job, with the reason."""
    here = versions_here()
    for worker, found in pool.everywhere(_versions(LIBRARIES)).items():
        if isinstance(found, Exception):
            raise Mistake(f"worker {worker} does not answer: {found}")
        if odd := [name for name in here if found[name] != here[name]]:
            name = odd[0]
            raise Mistake(
                f"worker {worker} has {name} {found[name]} and this process {here[name]}; "
                "give both the same environment"
            )
    with sign(folder) as name:
        for worker, problem in pool.everywhere(partial(problem_of, Task(tuple(sources), folder, name))).items():
            if problem:
                raise Mistake(f"worker {worker} cannot do this work: {problem}")


def versions_here() -> dict[str, str]:
    """Versions of Python and of the libraries in this process."""
    return _versions(LIBRARIES)()


def _versions(libraries: Sequence[str]) -> Callable[[], dict[str, str]]:
    """A function that tells versions. It travels by value, to machines where nothing of ours is installed."""

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
def sign(folder: Path) -> Iterator[str]:
    """The name of an empty file that lies in the folder while the block lasts."""
    file = folder / f".sign.{platform.node()}.{uuid.uuid4().hex[:12]}.tmp"
    file.touch()
    try:
        yield file.name
    finally:
        file.unlink(missing_ok=True)


def problem_of(task: Task) -> str | None:
    """What keeps this process from the task, in one line; None where nothing does."""
    import rasterio
    import rasterio.errors

    for source in task.sources:
        try:
            with rasterio.open(source):
                pass
        except rasterio.errors.RasterioError as error:
            return f"{source} does not open there ({' '.join(str(error).split())}); mount it under the same path"
    if not (task.folder / task.sign).exists():
        return f"{task.folder} is another folder there; choose one that all machines share"
    trial = task.folder / f".trial.{platform.node()}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        trial.write_bytes(b"\0")
        trial.unlink()
    except OSError as error:
        return f"{task.folder} cannot be written there: {error.strerror}"
    return None
