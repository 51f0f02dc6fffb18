"""The regions of a scene as rasters of numbers: made once, kept by their content in the folder of
the run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_results, silent
from flows.partitions.partition import Judged, Level
from flows.partitions.surfaces import Surfaces
from flows.regions.plan import ObjectsPlan
from flows.storage.run_folder import RunFolder
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import write_bytes
from tiling.io.spill import Map, load_arrays, map_array, save_arrays
from tiling.regions.labelling import write_numbers

PASSES = 4
"""Passes over all tiles that a method has, at least."""

JUDGED = ".judged.npy"
"""How the file ends that holds what a method says of the regions of a raster."""

SPILL = "regions-"
"""How folders begin in which engines leave what they work with."""


class Regions(NamedTuple):
    """One partition of a scene."""

    scale: float | None
    """None where the method has no scales."""
    numbers: Path
    """Raster of uint32 on the grid of the scene: regions 1 … n by the place of their first pixels,
    0 = none."""
    n: int

    @property
    def judged(self) -> Judged | None:
        """What the method says of the regions, one after the other."""
        file = self.numbers.with_suffix(JUDGED)
        if not file.exists():
            return None
        score, values, legend = load_arrays(file, 3)
        rows = tuple((int(v), str(n), str(c)) for v, n, c in legend)
        sure = score if score.size or not self.n else None
        return Judged(sure, np.resize(values, self.n), rows)


def find_regions(
    plan: ObjectsPlan, folder: RunFolder, pool: Pool, progress: Progress = silent
) -> list[Regions]:
    """The partitions of the scene, the finest first.

    They are known by their content: what an earlier run finished is taken as it is. Of a run that
    was killed the surfaces of tiles and the levels that it had numbered are used again. What
    engines work with lies in a folder of the same key meanwhile, and no other stays.
    """
    known = folder.load_cached("levels", plan.key)
    if known is not None:
        levels = [
            Regions(scale, _file(plan, folder, i), n)
            for i, (scale, n) in enumerate(known["levels"])
        ]
        if all(level.numbers.exists() for level in levels):
            return levels
    spill = folder.parts / f"{SPILL}{plan.key[:32]}"
    for other in folder.parts.glob(f"{SPILL}*"):
        if other != spill or plan.request.fresh:
            shutil.rmtree(other)
    surfaces = Surfaces(plan.scene, plan.partition, plan.bands, spill / f"{plan.request.tile}")
    surfaces.folder.mkdir(parents=True, exist_ok=True)
    with report_results(pool.map, "regions", PASSES * plan.tiles, progress) as map:
        found = plan.partition.find(surfaces, tile=plan.request.tile, map=map)
        levels = [_number(plan, folder, place, level, map) for place, level in enumerate(found)]
    facts = {"levels": [[level.scale, level.n] for level in levels]}
    folder.save_cached("levels", plan.key, facts)
    shutil.rmtree(spill)
    return levels


def _file(plan: ObjectsPlan, folder: RunFolder, place: int) -> Path:
    """Where the numbers of a level are kept."""
    return folder.parts / f"numbers{place}-{plan.key[:32]}.tif"


def _number(plan: ObjectsPlan, folder: RunFolder, place: int, level: Level, map: Map) -> Regions:
    """A level, numbered, unless an earlier run did so."""
    target = _file(plan, folder, place)
    count = target.with_suffix(".json")
    if target.exists() and count.exists():
        return Regions(level.scale, target, int(count.read_text(encoding="utf-8")))
    unfinished = target.with_name(f".{target.name}.tmp")
    n = write_numbers(level.labels, plan.scene.geobox, unfinished, map=map)
    if level.judged is not None:
        score, values, legend = level.judged
        sure = np.zeros(0) if score is None else score
        save_arrays(target.with_suffix(JUDGED), sure, values, np.array(legend, str))
    write_bytes(count, str(n).encode())
    unfinished.replace(target)
    return Regions(level.scale, target, n)


def find_parents(
    fine: Path, coarse: Path, n: int, work: Path, map: Map, *, block: int = 2048
) -> npt.NDArray[np.uint32]:
    """`(n,)` the number of the region in `coarse` that holds each region of `fine`, 0 where it has
    no pixel; in a file of `work` that is mapped into memory."""
    parents = map_array(work / f"parents-{fine.stem}.npy", np.uint32, (n,))
    for numbers, above in map(partial(pair_numbers, fine, coarse), blocks_of(fine, block)):
        parents[numbers - 1] = above
    return parents


def pair_numbers(
    fine: Path, coarse: Path, window: Window
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The numbers that occur in a window, ascending, and that of the coarser region around each."""
    with open_dataset(str(fine)) as inner, open_dataset(str(coarse)) as outer:
        here = inner.read(1, window=window.ranges).ravel()
        above = outer.read(1, window=window.ranges).ravel()
    numbers, first = np.unique(here, return_index=True)
    inside = numbers > 0
    return numbers[inside], above[first[inside]]


def blocks_of(raster: Path, block: int) -> Iterator[Window]:
    """The windows of a raster, in raster order."""
    with open_dataset(str(raster)) as source:
        shape = source.shape
    return Window.of_shape(*shape).blocks(block)


def name_levels(scales: Sequence[float | None], name: str = "objects") -> list[str]:
    """What rasters and layers of levels are called: `objects`, or `objects-4` and so on where there
    are several."""
    if len(scales) == 1:
        return [name]
    return [
        f"{name}-{place if scale is None else f'{scale:g}'}"
        for place, scale in enumerate(scales, 1)
    ]
