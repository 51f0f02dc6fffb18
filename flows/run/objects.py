"""The objects whose pixels have one class: those of the whole scene, whatever the area of
interest."""

from __future__ import annotations

from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.partitions.registry import partition_from
from flows.plan.plan import Plan
from flows.products.rasters import ObjectNumbers
from flows.regions.levels import find_regions
from flows.regions.plan import ObjectsPlan, make_plan
from flows.requests.objects import ObjectsRequest
from flows.storage.run_folder import RunFolder


def plan_objects(plan: Plan, folder: RunFolder) -> ObjectsPlan:
    """How the objects of a map are made, the method fitted to the scene.

    Raises `InputError` for what a person can mend.
    """
    request = plan.request
    asked = ObjectsRequest(
        source=request.source,
        out=folder.path,
        partition=partition_from("objects", scale=request.objects),
        fresh=request.fresh,
    )
    return make_plan(asked, folder)


def find_objects(
    plan: Plan, folder: RunFolder, pool: Pool, progress: Progress = silent
) -> ObjectNumbers:
    """The objects of the scene, kept in the folder by their content."""
    *_, objects = find_regions(plan_objects(plan, folder), folder, pool, progress)
    return ObjectNumbers(objects.numbers, objects.n)
