"""What is too much for memory, on disk: each task writes its rows once, by bucket; a bucket is read from all files.

Finished rows of the result wait there too: between processes only names of files travel.

The bucket of a key is a fixed hash of it, so tasks that never meet agree, and buckets come out about equally full.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Spilled(NamedTuple):
    """A file of rows in order of bucket."""

    path: str
    starts: tuple[int, ...]
    """The row at which each bucket starts, and where the last ends. Plain numbers: see `tiling.polygons.find_edge`."""


class Slice(NamedTuple):
    """The rows of one bucket in one file."""

    path: str
    start: int
    stop: int


def bucket_of(keys: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Which of `n` buckets each key goes to: multiplicative hashing (Knuth, TAOCP vol. 3, 6.4) by 2⁶⁴ / φ."""
    scattered = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33)
    return (scattered % np.uint64(n)).astype(np.int64)


def spill(path: Path, rows: npt.NDArray[Any], buckets: npt.NDArray[np.int64], n: int) -> Spilled:
    """Write rows, each for the bucket given beside it, to a file that is there whole or not at all."""
    starts = np.append(0, np.cumsum(np.bincount(buckets, minlength=n)))
    write_whole(path, rows[np.argsort(buckets, kind="stable")])
    return Spilled(str(path), tuple(starts.tolist()))


def slices(files: Sequence[Spilled], bucket: int) -> list[Slice]:
    """Where the rows of a bucket lie."""
    found = (Slice(path, starts[bucket], starts[bucket + 1]) for path, starts in files)
    return [part for part in found if part.start < part.stop]


def fetch(parts: Sequence[Slice]) -> npt.NDArray[Any]:
    """The rows of some slices, at least one, one after the other."""
    return np.concatenate([_rows(*part) for part in parts])


def _rows(path: str, start: int, stop: int) -> npt.NDArray[Any]:
    """Some rows of a .npy file. Mapped into memory, a few of each of a thousand files would drag their pages along."""
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)  # what numpy writes for headers this short
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        width = math.prod(shape[1:])
        file.seek(start * width * kind.itemsize, os.SEEK_CUR)
        return np.fromfile(file, kind, (stop - start) * width).reshape(-1, *shape[1:])


def write_whole(path: Path, *arrays: npt.NDArray[Any]) -> None:
    """Arrays one after the other in a .npy file: a task that runs twice leaves what it would have left once."""
    with _replacing(path) as file:
        for array in arrays:
            np.save(file, array)


def read_whole(path: Path, n: int) -> list[npt.NDArray[Any]]:
    """The `n` arrays of a file that `write_whole` wrote."""
    with open(path, "rb") as file:
        return [np.load(file) for _ in range(n)]


def write_batch(path: Path, batch: pa.RecordBatch) -> Path:
    """A batch as an Arrow file, there whole or not at all."""
    with _replacing(path) as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


def take_batch(path: Path) -> pa.RecordBatch:
    """The batch of a file, which is removed."""
    batch = pa.ipc.open_file(path.read_bytes()).get_batch(0)
    path.unlink()
    return batch


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    handle, unfinished = tempfile.mkstemp(dir=path.parent)
    with open(handle, "wb") as file:
        yield file
    Path(unfinished).replace(path)
