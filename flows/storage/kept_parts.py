"""Parts of a product that outlive a kill: named by all they follow from, so that the same command
computes only the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from flows.storage.keys import content_key, versions
from flows.storage.lock import folder_lock
from tiling.grid.window import Window
from tiling.io.spill import Map

T = TypeVar("T")


def parts_beside(product: Path) -> Path:
    """The hidden folder beside a file for its parts."""
    return product.with_name(f".{product.name}.parts")


@contextmanager
def keep_parts(folder: Path, product: Path) -> Iterator[Path]:
    """The folder for the parts of a product, made if need be and held for this process alone.

    It goes when the block ends well. Where the block fails or is killed it stays, with the parts
    that are finished; without any it goes too. Raises `InputError` where it cannot be written or
    another process makes the product.
    """
    with folder_lock(folder, str(product)):
        for half_written in folder.glob("tmp*"):
            half_written.unlink()
        ended_well = False
        try:
            yield folder
            ended_well = True
        finally:
            if ended_well or all(path.name == ".lock" for path in folder.iterdir()):
                shutil.rmtree(folder)


def make_missing(
    function: Callable[[tuple[T, Path]], object],
    parts: Sequence[tuple[T, Path]],
    map: Map,
) -> Iterator[Path]:
    """The files of parts, each a piece of work and its file, in their order; the function is called
    with those that are not there."""
    missing = [not path.exists() for _, path in parts]
    made = iter(
        map(function, [part for part, is_new in zip(parts, missing, strict=True) if is_new])
    )
    for (_, path), is_new in zip(parts, missing, strict=True):
        if is_new:
            next(made)
        yield path


def part_path(folder: Path, key: str, window: Window) -> Path:
    """The file of what a window becomes by all that `key` stands for; other libraries make it
    again."""
    key = content_key({"key": key, "versions": versions()})
    place = "-".join(map(str, (window.row, window.col, window.height, window.width)))
    return folder / f"{key[:32]}-{place}.npy"
