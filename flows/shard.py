"""What a worker does with one shard: read ▸ segment ▸ write its part. Imports neither Dask nor Prefect."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segmentation.segmenter import Segmenter, predict
from tiling.lattice import Shard
from tiling.parts import NO_CONFIDENCE, Part, read_part, write_part
from tiling.reading import read_ahead
from tiling.scene import Scene


@dataclass(frozen=True)
class ShardJob:
    """All a worker needs to make one part: small values and paths, no pixels."""

    scene: Scene
    bands: tuple[str, ...]
    segmenter: Segmenter
    shard: Shard
    path: Path


def make_part(job: ShardJob) -> Part:
    """The part of one shard, computed unless it is already there."""
    if job.path.exists():
        return read_part(job.path)
    began, core = time.perf_counter(), job.shard.core
    labels = np.zeros(core.shape, np.uint8)
    confidence: np.ndarray[Any, np.dtype[np.uint8]] | None = None
    chips = read_ahead(job.scene, job.bands, job.shard.tiles)
    for tile, prediction in zip(job.shard.tiles, predict(job.segmenter, chips), strict=True):
        here, there = tile.core.within(core), tile.core.within(tile.chip)
        labels[here] = prediction.labels[there]
        if prediction.confidence is not None:
            if confidence is None:
                confidence = np.full(core.shape, NO_CONFIDENCE, np.uint8)
            confidence[here] = np.where(labels[here] > 0, prediction.confidence[there], NO_CONFIDENCE)
    note = {"seconds": round(time.perf_counter() - began, 3), "peak_bytes": peak_memory()}
    return write_part(job.path, core, job.scene.geobox, labels, confidence, note)


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    if sys.platform == "linux":
        # Not ru_maxrss: a process started through fork and exec inherits that of the process which started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def runtime_of(segmenter: Segmenter) -> dict[str, str]:
    """What decides the numbers in this process; a module-level function, so that it travels to workers."""
    return segmenter.runtime()
