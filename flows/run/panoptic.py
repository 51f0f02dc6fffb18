"""Panoptic maps, where a semantic model has to look at the scene first, and a network that says
interior and boundary as well."""

from __future__ import annotations

from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.detection.panoptic import SEMANTIC, Panoptic, Told
from flows.partitions.instances import Instances
from flows.plan.plan import make_plan
from flows.requests.objects import ObjectsRequest
from flows.run.instances import LookPlan, ask_network, find_probabilities, plan_look
from flows.storage.run_folder import RunFolder
from tiling.errors import InputError
from tiling.scene.scene import Scene


def look(
    request: ObjectsRequest,
    partition: Panoptic,
    folder: RunFolder,
    on: Cluster = HERE,
    progress: Progress = silent,
) -> tuple[ObjectsRequest, Scene]:
    """What is asked of the scene once its semantic model has looked at it, and that scene with a
    band more for each class, in percent; of a network that says interior and boundary too."""
    plan = plan_semantic(request, partition, folder)
    # what the detector lacks is said before the semantic model looks
    if partition.one_by_one:
        partition.inner.check(plan.network.scene)
        return plan.objects, find_probabilities(plan, folder, on, progress)
    objects = plan_look(_ask_objects(request, partition), folder)
    asked, scene = plan.objects, find_probabilities(plan, folder, on, progress)
    assert isinstance(objects.objects.partition, Instances)
    told = Told(legend=asked.partition.classes, boundary=objects.objects.partition.boundary)
    partition = partition.model_copy(update={"told": told})
    asked = asked.model_copy(update={"partition": partition})
    return asked, find_probabilities(objects, folder, on, progress, scene)


def plan_semantic(
    request: ObjectsRequest, partition: Panoptic, folder: RunFolder | None = None
) -> LookPlan:
    """How the semantic model is shown the scene; `InputError` where a model is missing."""
    if request.network:
        raise InputError(
            f"--segmenter {request.network} is for --method instances; panoptic has --semantic and "
            "--detector"
        )
    if not partition.semantic:
        raise InputError("--method panoptic needs --semantic, a model that tells classes apart")
    _ = partition.one_by_one  # says that the detector is missing before a network runs
    asked = ask_network(request, partition.semantic)
    rows = asked.segmenter.legend.rows
    objects = request.model_copy(update={"partition": partition.with_legend(rows)})
    bands = tuple(f"{SEMANTIC}{value}" for value, *_ in rows)
    roles = tuple(name for _, name, _ in rows)
    return LookPlan(make_plan(asked, folder), roles, objects, bands)


def _ask_objects(request: ObjectsRequest, partition: Panoptic) -> ObjectsRequest:
    return request.model_copy(update={"partition": Instances(), "network": partition.detector})
