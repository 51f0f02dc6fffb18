"""The way of a scene through the machine: plan ▸ segment ▸ join ▸ vectorise ▸ publish.

Every stage is a plain function; the command line and the Prefect flow are two thin callers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import segmentation.errors
from flows.composite.windows import FOLDER, stack_windows
from flows.compute import cluster, worker_check
from flows.compute.cluster import HERE, Cluster
from flows.compute.pool import Pool, ThisProcess
from flows.compute.progress import Progress, silent
from flows.compute.resources import require_same_answer
from flows.compute.work import Work
from flows.compute.worker_check import probe_file
from flows.plan.fit import usable_bands
from flows.plan.plan import MaskPlan, Plan, check_grid, make_plan, plan_mask
from flows.plan.shard import make_part, runtime_of
from flows.products import class_areas
from flows.products.mask import drop_mask, keep_mask, publish_mask
from flows.products.polygons import drop_stale, write_project, write_vectors
from flows.products.rasters import Rasters, write_rasters
from flows.requests.overwriting import check_map
from flows.requests.request import Request
from flows.run import record
from flows.run.objects import find_objects, plan_objects, work_of
from flows.storage.run_folder import RunFolder, open_run
from tiling.errors import InputError
from tiling.formats.shard_tiff import Part
from tiling.grid.window import Window

Start = Callable[[Cluster, Work], AbstractContextManager[Pool]]
"""Starts machines for so much work."""


def run(request: Request, *, on: Cluster = HERE, progress: Progress = silent) -> record.Published:
    """The products of `request`. What an earlier run in the same folder finished is not done again.

    `on` says which machines work. Raises `InputError` for what a person can mend.
    """
    with open_run(request.out, fresh=request.fresh) as folder:
        request = make_windows(request, folder, on, progress)
        mask = make_mask(request, folder, on, progress)
        plan = prepare(request, folder, on, mask)
        with cluster.start(on, work_of(plan)) as pool:
            parts = segment(plan, folder, pool, progress)
            rasters = join(plan, parts, folder, pool, progress)
            vectors = vectorise(plan, rasters, folder, pool, progress)
            return publish(plan, parts, rasters, vectors, folder, pool)


def make_windows(
    request: Request, folder: RunFolder, on: Cluster = HERE, progress: Progress = silent
) -> Request:
    """The request with a scene of composites, one for each window of time, which lie in the folder
    then; as it is where it has none."""
    if not request.source.windows:
        return request
    if folder.remote is not None:
        raise InputError(
            "--window makes composites beside the map, and not on a store: make them with "
            "landweave composite, or name a folder on a disk with --out"
        )
    check_map(folder, request)
    with folder.stage("windows"):
        source = stack_windows(request.source, folder.path / FOLDER, on, progress)
        return request.model_copy(update={"source": source})


def make_mask(
    request: Request,
    folder: RunFolder,
    on: Cluster = HERE,
    progress: Progress = silent,
    *,
    start: Start = cluster.start,
) -> MaskPlan | None:
    """What a model leaves out of the scene, as `mask.tif` and for the run that follows; None where
    none was asked for. What an earlier run in the folder found is not done again. `start` gives the
    machines, where they are needed."""
    if not request.source.has_model:
        return None
    check_map(folder, request)
    with folder.stage("mask"):
        # what the map itself lacks is said before a model runs for nothing
        check_grid(request)
        usable_bands(request.source.unmasked.open(), request.segmenter)
        mask = plan_mask(request, folder)
        assert mask is not None
        slot = mask.slot(folder)
        if not (slot.path.exists() or slot.finished):
            with start(on, Work.of(mask.plan)) as pool:
                parts = make_parts(mask.plan, folder, pool, progress, "mask")
            # what is kept stands under what the scene was before the model looked
            mask.check()
            keep_mask(mask, parts, folder)
        publish_mask(mask, folder)
        return mask.made(folder)


def prepare(
    request: Request, folder: RunFolder, on: Cluster = HERE, mask: MaskPlan | None = None
) -> Plan:
    """The plan: scene opened, segmenter fitted, grid cut. What a person can mend is raised here."""
    check_map(folder, request)
    with folder.stage("plan"):
        plan = make_plan(request, folder, ahead=on.here, mask=mask)
        if request.objects:
            # what a person can mend is said now, not when all pixels are classified
            plan_objects(plan, folder)
        return plan


def segment(plan: Plan, folder: RunFolder, pool: Pool, progress: Progress = silent) -> list[Part]:
    """The parts of every shard, in raster order. A shard that fails does not stop the others, but
    it fails the run."""
    with folder.stage("segment"):
        return make_parts(plan, folder, pool, progress, "segment")


def make_parts(
    plan: Plan, folder: RunFolder, pool: Pool, progress: Progress, stage: str
) -> list[Part]:
    """The parts of a plan, made by workers that are asked first whether they can; `progress` hears
    of them as of that stage."""
    gpu = plan.segmenter.uses_gpu
    worker_check.check(pool, plan.sources, folder.path, folder.remote, gpu=gpu)
    answers = pool.everywhere(partial(runtime_of, plan.segmenter), gpu=gpu)
    runtime = require_same_answer(answers, "what they compute with")
    folder.runtime.update(runtime)
    jobs, total = (plan.job(shard, runtime, folder) for shard in plan.shards), len(plan.shards)
    parts: list[Part] = []
    failures = Failures()
    for job, outcome in pool.as_completed(make_part, jobs, gpu=gpu):
        if isinstance(outcome, Exception):
            failures.add(job.shard.core, outcome)
        else:
            parts.append(outcome)
        progress(stage, len(parts) + failures.count, total)
    if failures.count:
        raise failures.error(total)
    folder.fetch_parts(part.path.name for part in parts)
    return sorted(parts, key=lambda part: part.window)


def join(
    plan: Plan, parts: list[Part], folder: RunFolder, pool: Pool, progress: Progress = silent
) -> Rasters:
    """`classes.tif` and `confidence.tif`, cloud-optimised, from the parts; objects, where they are
    asked for, are of one class, and no region is below the smallest area."""
    sharing = workers_sharing_disk(pool, folder)
    objects = None
    if plan.request.objects:
        with folder.stage("objects"):
            objects = find_objects(plan, folder, sharing, progress)
    with folder.stage("join"):
        return write_rasters(plan, parts, folder, progress, objects=objects, map=sharing.map)


def vectorise(
    plan: Plan, rasters: Rasters, folder: RunFolder, pool: Pool, progress: Progress = silent
) -> int | None:
    """`landcover.gpkg`: the polygons of `classes.tif`, and how many there are; None where they are
    not asked for."""
    if "vectors" not in plan.request.products:
        return None
    with folder.stage("vectorise"):
        return write_vectors(plan, rasters, folder, workers_sharing_disk(pool, folder), progress)


def publish(
    plan: Plan,
    parts: list[Part],
    rasters: Rasters,
    polygons: int | None,
    folder: RunFolder,
    pool: Pool,
    *,
    outlined: bool = False,
) -> record.Published:
    """What a person looks at: areas, quicklook, accuracy where there is a reference, and the record
    of the run.

    `outlined` also draws the polygons over the image, which a page shows; it takes as long as all
    else here.
    """
    with folder.stage("publish"):
        areas = class_areas.write_areas(
            rasters.classes, plan.legend, folder, workers_sharing_disk(pool, folder)
        )
        accuracy = record.compare(plan, rasters.classes)
        record.write_quicklook(plan, rasters.classes, areas, folder)
        record.write_fit(plan, folder)
        record.write_outlines(plan, rasters.classes, polygons if outlined else None, folder)
        write_project(plan, rasters, folder, {area.class_id: area.pixels for area in areas})
        drop_stale(plan, rasters, folder)
        if plan.mask is None:
            drop_mask(folder)
    return record.write_record(plan, parts, rasters, polygons, areas, accuracy, folder)


class Failures:
    """The shards that failed: how many, and the first in raster order. No other is kept: errors
    hold on to pixels."""

    def __init__(self) -> None:
        self.count = 0
        self._a_persons = True
        self._first: tuple[Window, Exception] | None = None

    def add(self, window: Window, error: Exception) -> None:
        """Count the shard of that window."""
        self.count += 1
        self._a_persons &= isinstance(error, InputError | segmentation.errors.InputError)
        if self._first is None or window < self._first[0]:
            self._first = window, error

    def error(self, shards: int) -> Exception:
        """One error for all of them, of so many shards: a person's mistake only if each of them
        was."""
        assert self._first is not None
        window, first = self._first
        kind = InputError if self._a_persons else RuntimeError
        error = kind(
            f"{self.count} of {shards} shards failed and the others are kept; the first, "
            f"{window}: {first}"
        )
        error.__cause__ = first
        return error


def workers_sharing_disk(pool: Pool, folder: RunFolder) -> Pool:
    """The pool if its workers see the files of the run, else this process.

    Of a run folder on an object store they see the near copy where they share a disk with this
    process.
    """
    if folder.remote is None:
        return pool  # they were asked before the work began
    with probe_file(folder.path) as name:
        seen = pool.everywhere(partial(_exists, folder.path / name))
    return pool if all(answer is True for answer in seen.values()) else ThisProcess()


def _exists(path: Path) -> bool:
    return path.exists()
