"""The flow that cuts a scene into regions: a form in which methods are tabs, five steps with names,
a picture."""

from __future__ import annotations

from functools import partial

from prefect import get_run_logger

from flows.compute import cluster
from flows.compute.spawning import empty_main
from flows.forms.dropdowns import ChosenPartition, Paths
from flows.forms.groups import Bands, Passes, Shapes
from flows.forms.requests import cluster_for, objects_from
from flows.objects import run as stages
from flows.objects.model import Objects
from flows.pages.artifacts import publish_page
from flows.pages.results import objects_page
from flows.partitions.objects import Objects as ObjectsPartition
from flows.regions.plan import ObjectsPlan, describe
from flows.requests.objects import ObjectsRequest
from flows.requests.overwriting import check_map
from flows.run.look import look, looks_first
from flows.run.mask_first import mask_first
from flows.storage.run_folder import RunFolder, open_run
from flows.tasks.bar import Bar
from flows.tasks.runs import ON_GPU, Outcome, as_flow, asset, name_outcome, run_task
from flows.tasks.words import in_form_words

WEIGHTS = {"regions": 10, "join": 1, "vectorise": 5}
"""The stages, and about how their times compare."""


@as_flow(
    "segment-objects",
    "Cut a scene into objects, without any class: outlines and numbers of what looks alike, with "
    "size, shape and colour of each.",
)
def segment_objects(
    bar: Bar,
    scene: Paths,
    output_folder: str = "",
    bands: Bands = Bands(),  # noqa: B008 - frozen
    method: ChosenPartition = ObjectsPartition(),  # noqa: B008 - frozen
    shapes: Shapes = Shapes(),  # noqa: B008 - frozen
    advanced: Passes = Passes(),  # noqa: B008 - frozen
) -> Outcome:
    """Cut a scene into objects.

    Args:
        scene: Path of a raster, or of each of its single-band files. Paths are those of the machine
            that does the work.
        output_folder: Folder for the products; made if need be. Empty: maps/, the scene's name and
            the method's, in the data folder.
        bands: What the bands are, where the files do not say it.
        method: How regions are made. Objects come in nested levels of scale, from fine to coarse.
        shapes: What to make of regions, and of which area.
        advanced: How the work is cut and where it runs. Nothing here changes a result.
    """
    request = objects_from(scene, output_folder, method, bands, shapes, advanced)
    bar.reach(0, "plan")
    result = run(request, cluster_for(advanced), bar)
    name_outcome(result.summary)
    title = f"Objects of {result.record['scene']['name']}: {result.summary}"
    publish_page("objects", result.folder.name, result.folder, title, objects_page(result))
    return Outcome(f"{result.summary}; in {result.folder.resolve()}", result.files)


def prepare(request: ObjectsRequest, folder: RunFolder, on: cluster.Cluster) -> ObjectsPlan:
    """The plan, once the models of a panoptic map have looked at the scene."""
    if not looks_first(request):
        return stages.prepare(request, folder)
    check_map(folder, request)
    asked, scene = look(request, folder, on)
    return stages.prepare(asked, folder, scene)


def run(request: ObjectsRequest, on: cluster.Cluster, bar: Bar) -> Objects:
    """A finished partition by the stages of `flows.objects.run`, each a task run."""
    logger = get_run_logger()
    if request.source.has_model:
        with empty_main():
            source = run_task(
                "mask",
                "Find the pixels to leave out by the mask's model",
                partial(mask_first, request.source, request.out, on=on, fresh=request.fresh),
                tags=[ON_GPU] if on.kind == "cuda" else [],
            )
        request = request.model_copy(update={"source": source})
    with open_run(request.out, fresh=request.fresh) as folder:
        plan = run_task(
            "plan",
            "Open the scene, fit the method, look for room",
            partial(prepare, request, folder, on),
        )
        for name, fact in describe(plan).items():
            logger.info("%s: %s", name, fact)
        for warning in plan.warnings:
            logger.warning("%s", in_form_words(warning))
        progress = bar.along(WEIGHTS)
        with empty_main(), cluster.start(on, plan.work, bar.wait) as pool:
            levels = run_task(
                "regions",
                "Make the regions of every tile, unite what seams cut",
                partial(stages.partition, plan, folder, pool, progress),
            )
            rasters = run_task(
                "join",
                "Rasters of numbers",
                partial(stages.join, plan, levels, folder, pool, progress),
            )
            layers = run_task(
                "vectorise",
                "Outlines, and what is measured of each region",
                partial(stages.vectorise, plan, levels, rasters, folder, pool, progress),
            )
            stem = "edges" if plan.partition.gives == "edges" else "objects"
            return run_task(
                "publish",
                "Picture, project, record of the run",
                partial(stages.publish, plan, rasters, layers, folder),
                assets=[asset(folder.product(f"{stem}.gpkg"), f"{stem} of {plan.scene.name}")],
            )
