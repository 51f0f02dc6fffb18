"""The objects whose pixels have one class: those of the whole scene, whatever the area of
interest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.compute.work import Work
from flows.partitions.registry import partition_from
from flows.plan.plan import Plan
from flows.products.rasters import ObjectNumbers
from flows.regions.levels import find_regions
from flows.regions.plan import ObjectsPlan, plan_scene
from flows.requests.objects import ObjectsRequest
from flows.storage.run_folder import RunFolder


def ask_objects(plan: Plan, out: Path) -> ObjectsRequest:
    """The objects that a map asks for, as the command that makes objects alone takes them."""
    request = plan.request
    partition = partition_from("objects", scale=request.objects)
    return ObjectsRequest(source=request.source, out=out, partition=partition, fresh=request.fresh)


def plan_objects(plan: Plan, folder: RunFolder) -> ObjectsPlan:
    """How the objects of a map are made, the method fitted to the scene as its files have it, so
    that no segmenter has a say in them.

    Raises `InputError` for what a person can mend.
    """
    scene = plan.scene if plan.opened is None else plan.opened
    return plan_scene(ask_objects(plan, folder.path), scene, folder)


def work_of(plan: Plan) -> Work:
    """The shards of a map, and what its workers take for these or for passes that make objects,
    whichever is more."""
    work = Work.of(plan)
    if not plan.request.objects:
        return work
    request = ask_objects(plan, Path())
    passes = ObjectsPlan(request, plan.scene, request.partition, plan.scene.window).work

    def piece_bytes(cores: int, at_once: int) -> int:
        return max(work.worker_bytes(cores, at_once), passes.worker_bytes(cores, at_once))

    return replace(work, piece_bytes=piece_bytes)


def find_objects(
    plan: Plan, folder: RunFolder, pool: Pool, progress: Progress = silent
) -> ObjectNumbers:
    """The objects of the scene, kept in the folder by their content."""
    *_, objects = find_regions(plan_objects(plan, folder), folder, pool, progress)
    return ObjectNumbers(objects.numbers, objects.n)
