"""The way of a scene to its regions: plan ▸ regions ▸ join ▸ vectorise ▸ publish.

Every stage is a plain function; the command line and the Prefect flow are two thin callers. Only
the regions take passes over the scene; they are kept by their content, so that the same regions
with other products, or after a run that was killed, are not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from flows.composite.windows import FOLDER, stack_windows
from flows.compute import cluster, worker_check
from flows.compute.cluster import HERE, Cluster
from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.objects.edges import write_edges, write_lines
from flows.objects.layers import LevelLayer, write_layers
from flows.objects.model import Objects
from flows.objects.publish import begin
from flows.objects.publish import publish as write_products
from flows.objects.rasters import LevelRaster, write_rasters
from flows.regions.levels import Regions, find_regions
from flows.regions.plan import ObjectsPlan, make_plan, plan_scene
from flows.requests.objects import ObjectsRequest
from flows.requests.overwriting import check_map
from flows.storage.run_folder import RunFolder, open_run
from tiling.scene.scene import Scene

LookFirst: TypeAlias = Callable[
    [ObjectsRequest, RunFolder, Cluster, Progress], tuple[ObjectsRequest, Scene]
]
"""Has the network of a request look at its scene, and gives what is asked of the scene with what
that said: `flows.run.look.look`."""


def run(
    request: ObjectsRequest,
    *,
    on: Cluster = HERE,
    progress: Progress = silent,
    look: LookFirst | None = None,
) -> Objects:
    """The products of `request`; the same bytes whatever the tiles, the workers and the retries.

    `on` says which machines work; they see the output folder. `look` is called where the request
    names a network, or its method has models look first. Raises `InputError` for what a person can
    mend.
    """
    with open_run(request.out, fresh=request.fresh) as folder:
        if request.source.windows:
            check_map(folder, request)
            source = stack_windows(request.source, folder.path / FOLDER, on, progress)
            request = request.model_copy(update={"source": source})
        scene = None
        if request.network or request.partition.looks_first:
            if look is None:
                raise RuntimeError("a request that names a network needs who has it look")
            check_map(folder, request)
            request, scene = look(request, folder, on, progress)
        plan = prepare(request, folder, scene)
        with cluster.start(on, plan.work) as pool:
            levels = partition(plan, folder, pool, progress)
            rasters = join(plan, levels, folder, pool, progress)
            layers = vectorise(plan, levels, rasters, folder, pool, progress)
            return publish(plan, rasters, layers, folder)


def prepare(request: ObjectsRequest, folder: RunFolder, scene: Scene | None = None) -> ObjectsPlan:
    """The plan: scene opened, unless it is, method fitted, room looked for."""
    check_map(folder, request)
    with folder.stage("plan"):
        if scene is not None:
            return plan_scene(request, scene, folder)
        return make_plan(request, folder)


def partition(
    plan: ObjectsPlan, folder: RunFolder, pool: Pool, progress: Progress = silent
) -> list[Regions]:
    """The regions of the whole scene, level by level, unless they are there."""
    with folder.stage("regions"):
        worker_check.check(pool, plan.sources, folder.path)
        return find_regions(plan, folder, pool, progress)


def join(
    plan: ObjectsPlan,
    levels: Sequence[Regions],
    folder: RunFolder,
    pool: Pool,
    progress: Progress = silent,
) -> list[LevelRaster]:
    """The rasters of regions, cloud-optimised."""
    with folder.stage("join"):
        begin(folder)
        if plan.partition.gives == "edges":
            return write_edges(plan, levels, folder, pool)
        return write_rasters(plan, levels, folder, pool, progress)


def vectorise(
    plan: ObjectsPlan,
    levels: Sequence[Regions],
    rasters: Sequence[LevelRaster],
    folder: RunFolder,
    pool: Pool,
    progress: Progress = silent,
) -> list[LevelLayer]:
    """The layers of regions, measured, in `objects.gpkg`; or lines, in `edges.gpkg`."""
    with folder.stage("vectorise"):
        if plan.partition.gives == "edges":
            return write_lines(plan, levels, folder, pool, progress)
        return write_layers(plan, rasters, folder, pool, progress)


def publish(
    plan: ObjectsPlan,
    rasters: Sequence[LevelRaster],
    layers: Sequence[LevelLayer],
    folder: RunFolder,
) -> Objects:
    """What a person looks at, and the record of the run."""
    return write_products(plan, rasters, layers, folder)
