"""What has to look at a scene before objects are made: a network that says interior and boundary,
or the models of a panoptic map."""

from __future__ import annotations

from typing import Any

from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.detection.panoptic import Panoptic
from flows.requests.objects import ObjectsRequest
from flows.run import instances, panoptic
from flows.run.instances import describe_plan, facts_of_plan
from flows.storage.run_folder import RunFolder
from tiling.scene.scene import Scene


def looks_first(request: ObjectsRequest) -> bool:
    """Whether something has to look at the scene first."""
    return bool(request.network) or request.partition.looks_first


def look(
    request: ObjectsRequest, folder: RunFolder, on: Cluster = HERE, progress: Progress = silent
) -> tuple[ObjectsRequest, Scene]:
    """What is asked of the scene once it was looked at, and that scene with what was said, as bands
    in percent. `InputError` for what a person can mend."""
    if isinstance(request.partition, Panoptic):
        return panoptic.look(request, request.partition, folder, on, progress)
    return instances.look(request, folder, on, progress)


def describe_look(request: ObjectsRequest) -> dict[str, str]:
    """What a person wants to know before a run, in words: the network's work, and what follows."""
    return describe_plan(_plan(request))


def facts_of_look(request: ObjectsRequest) -> dict[str, Any]:
    """The same for programs."""
    return facts_of_plan(_plan(request))


def _plan(request: ObjectsRequest) -> instances.LookPlan:
    if isinstance(request.partition, Panoptic):
        return panoptic.plan_semantic(request, request.partition)
    return instances.plan_look(request)
