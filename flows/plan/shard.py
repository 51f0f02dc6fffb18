"""What a worker does with one shard: read ▸ segment ▸ write its part. Imports neither Dask nor
Prefect."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr

from flows.plan.model_grid import chips_ahead
from flows.storage.run_folder import PartLocation
from segmentation.segmenter import Prediction, Segmenter, check_prediction, predict
from tiling.classmaps.raster import NO_CONFIDENCE
from tiling.formats.shard_tiff import Part, read_part, write_part
from tiling.grid.blending import overlap_add
from tiling.grid.tiles import Shard
from tiling.grid.window import Window
from tiling.io.gdal_config import keep_cache_small
from tiling.scene.scene import Scene

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ShardJob:
    """All a worker needs to make one part: small values and paths, no pixels."""

    scene: Scene
    bands: tuple[str, ...]
    segmenter: Segmenter
    shard: Shard
    slot: PartLocation
    """Where the part goes."""


def make_part(job: ShardJob) -> Part:
    """The part of one shard, computed unless it is already there."""
    if (known := existing_part(job.slot)) is not None:
        return known
    keep_cache_small()
    began, core = time.perf_counter(), job.shard.core
    labels = np.zeros(core.shape, np.uint8)
    layers: dict[str, Pixels] = {}
    for window, prediction in (_blend if job.segmenter.footprint.blend else _cut)(job):
        here = window.within(core)
        labels[here] = prediction.labels
        found = dict(prediction.measures)
        if prediction.confidence is not None:
            found = {"confidence": prediction.confidence[None], **found}
        for name, values in found.items():
            layer = layers.setdefault(
                name, np.full((len(values), *core.shape), NO_CONFIDENCE, np.uint8)
            )
            layer[:, *here] = np.where(prediction.labels > 0, values, NO_CONFIDENCE)
    note = {"seconds": round(time.perf_counter() - began, 3), "peak_bytes": peak_memory()}
    confidence = layers.pop("confidence")[0] if "confidence" in layers else None

    def write(path: Path, content: bytes) -> None:
        job.slot.write(content)

    return write_part(
        job.slot.path, core, job.scene.geobox, labels, confidence, note, layers, write=write
    )


def existing_part(slot: PartLocation) -> Part | None:
    """The part an earlier run left, if it did."""
    if not slot.path.exists() and slot.finished and slot.is_local:
        slot.fetch()
    elif slot.finished and not slot.is_local and slot.remote is not None:
        with rasterio.MemoryFile(slot.remote.read_bytes()) as memory:
            return replace(read_part(Path(memory.name)), path=slot.path)
    return read_part(slot.path) if slot.path.exists() else None


def _cut(job: ShardJob) -> Iterator[tuple[Window, Prediction]]:
    """Each tile's core, and what its chip says of it."""
    tiles = job.shard.tiles
    chips = chips_ahead(job.scene, job.bands, tiles)
    for tile, prediction in zip(tiles, predict(job.segmenter, chips), strict=True):
        at = tile.core.within(tile.chip)
        measures = {name: values[:, *at] for name, values in prediction.measures.items()}
        confidence = None if prediction.confidence is None else prediction.confidence[at]
        yield tile.core, Prediction(prediction.labels[at], confidence, measures)


def _blend(job: ShardJob) -> Iterator[tuple[Window, Prediction]]:
    """Rows of the shard's core, and what all chips that reach into them say together."""
    core, tiles = job.shard.core, job.shard.tiles
    valid = np.zeros(core.shape, np.bool_)

    def noted() -> Iterator[xr.Dataset]:
        for tile, chip in zip(tiles, chips_ahead(job.scene, job.bands, tiles), strict=True):
            if here := tile.core & core:
                valid[here.within(core)] = chip["valid"].values[here.within(tile.chip)]
            yield chip

    scores, empty = job.segmenter.score_many(noted()), job.segmenter.no_scores
    for window, total in overlap_add(core, tiles, scores, empty):
        there = valid[window.within(core)]
        yield (
            window,
            check_prediction(job.segmenter, job.segmenter.predict_from_scores(total, there), there),
        )


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    if sys.platform == "linux":
        # Not ru_maxrss: a process started through fork and exec inherits that of the process which
        # started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def runtime_of(segmenter: Segmenter) -> dict[str, str]:
    """What decides the numbers in this process; a module-level function, so that it travels to
    workers."""
    return segmenter.runtime_facts()
