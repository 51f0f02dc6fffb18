"""What is too much for memory, on disk: each task writes its rows once, by bucket; a bucket is read
from all files.

Finished rows of the result wait there too: between processes only names of files travel.

Buckets are stretches of keys, cut where each has about as much to hold. Keys grow from one row of a
raster to the next, so what lies together goes to one bucket, and a task has rows for a few of them
only, however many there are.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""`map`, or something that works elsewhere and keeps the order."""


class Spilled(NamedTuple):
    """A file of rows in order of bucket."""

    path: str
    buckets: tuple[int, ...]
    """Those that have rows here, ascending. Plain numbers: see `write_together`."""
    starts: tuple[int, ...]
    """The row at which each of them starts, and where the last ends."""


class Slice(NamedTuple):
    """The rows of one bucket in one file."""

    path: str
    start: int
    stop: int


def bucket_starts(
    keys: npt.NDArray[np.int64], weights: npt.NDArray[np.int64], capacity: int
) -> npt.NDArray[np.int64]:
    """The first key of each bucket but the first, where distinct ascending keys of these weights
    fill `capacity`.

    No bucket weighs more than that and its heaviest key.
    """
    filled = np.cumsum(weights) // capacity
    return keys[1:][filled[1:] > filled[:-1]]


def bucket_of(keys: npt.NDArray[np.int64], cuts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bucket that each key goes to; `cuts` are those of `bucket_starts`."""
    return np.searchsorted(cuts, keys, side="right")


def spill(path: Path, rows: npt.NDArray[Any], buckets: npt.NDArray[np.int64]) -> Spilled:
    """Write rows, each for the bucket given beside it, to a file that is there whole or not at
    all."""
    order = np.argsort(buckets, kind="stable")
    there, starts = np.unique(buckets[order], return_index=True)
    save_arrays(path, rows[order])
    return Spilled(str(path), tuple(there.tolist()), (*starts.tolist(), len(rows)))


def by_bucket(files: Iterable[Spilled]) -> dict[int, list[Slice]]:
    """Where the rows of each bucket lie, in the order of the files."""
    found: dict[int, list[Slice]] = {}
    for path, buckets, starts in files:
        for bucket, (start, stop) in zip(buckets, pairwise(starts), strict=True):
            found.setdefault(bucket, []).append(Slice(path, start, stop))
    return found


def fetch(parts: Sequence[Slice]) -> npt.NDArray[Any]:
    """The rows of some slices, at least one, one after the other."""
    return np.concatenate([_rows(*part) for part in parts])


def _rows(path: str, start: int, stop: int) -> npt.NDArray[Any]:
    """Some rows of a .npy file. Mapped into memory, a few of each of a thousand files would drag
    their pages along."""
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)  # what numpy writes for headers this short
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        width = math.prod(shape[1:])
        file.seek(start * width * kind.itemsize, os.SEEK_CUR)
        return np.fromfile(file, kind, (stop - start) * width).reshape(-1, *shape[1:])


def save_arrays(path: Path, *arrays: npt.NDArray[Any], lasting: bool = False) -> None:
    """Arrays one after the other in a .npy file: a task that runs twice leaves what it would have
    left once. One that is `lasting` is seen on the disk first, for another run."""
    with replacing(path) as file:
        for array in arrays:
            np.save(file, array)
        if lasting:
            file.flush()
            os.fsync(file.fileno())


def map_array(
    path: Path, kind: npt.DTypeLike, shape: tuple[int, ...]
) -> np.memmap[Any, np.dtype[Any]]:
    """Zeros in a .npy file, mapped into memory, which has room on the disk for all that will take
    their place; `OSError` where it has not."""
    array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(
        path, "w+", np.dtype(kind), shape
    )
    # A page that finds no room when it is written ends the process without a word.
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def load_arrays(path: Path, n: int) -> list[npt.NDArray[Any]]:
    """The `n` arrays of a file that `save_arrays` wrote."""
    with open(path, "rb") as file:
        return [np.load(file) for _ in range(n)]


def write_together(path: Path, arrays: Sequence[npt.NDArray[np.integer]]) -> None:
    """Small arrays of whole numbers as one int64 array: how many, their lengths, and they
    themselves.

    So wait facts that a pass gathers from every tile: kept as they come, they would lie scattered
    between what the tiles need, and no memory between them would be used again.
    """
    save_arrays(
        path,
        np.concatenate([[len(arrays)], [array.size for array in arrays], *arrays]).astype(np.int64),
    )


def read_together(path: Path) -> list[npt.NDArray[np.int64]]:
    """The arrays of a file that `write_together` wrote; they are parts of one."""
    (packed,) = load_arrays(path, 1)
    n = int(packed[0])
    return np.split(packed, np.cumsum(np.append(n + 1, packed[1 : n + 1])))[1:-1]


def write_batch(path: Path, batch: pa.RecordBatch) -> Path:
    """A batch as an Arrow file, there whole or not at all."""
    with replacing(path) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


def take_batch(path: Path) -> pa.RecordBatch:
    """The batch of a file, which is removed."""
    batch = pa.ipc.open_file(path.read_bytes()).get_batch(0)
    path.unlink()
    return batch


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    handle, unfinished = tempfile.mkstemp(dir=path.parent)
    with open(handle, "wb") as file:
        yield file
    Path(unfinished).replace(path)
