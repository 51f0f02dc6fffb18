"""The Prefect flow: the pipeline as an analyst meets it: a form, five steps with names, a bar, a
picture, a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from prefect import get_run_logger

from flows.compute import cluster
from flows.compute.cards import visible_cards
from flows.compute.cluster import Cluster
from flows.compute.spawning import empty_main
from flows.forms.choices import AS_FILE_SAYS, USUAL_METHOD, bands_of, segmenter_of
from flows.forms.dropdowns import Chosen, MethodChoice, Paths, SceneChoice, SensorChoice
from flows.forms.groups import Advanced, Bands, Output
from flows.forms.requests import cluster_for, request_from
from flows.pages.artifacts import publish_artifacts
from flows.pages.sentences import outcome
from flows.plan.describe import describe
from flows.plan.plan import Plan
from flows.reports.pieces import FILES
from flows.requests.request import Request
from flows.run import pipeline
from flows.run.objects import work_of
from flows.run.record import Published
from flows.storage.run_folder import open_run
from flows.tasks.bar import Bar, Leg
from flows.tasks.course import weights_of
from flows.tasks.runs import ON_GPU, Outcome, as_flow, asset, run_task
from flows.tasks.words import in_form_words
from segmentation.classical.rules import Rules


@as_flow(
    "segment-scene",
    "Make a land-cover map of a scene, every setting within reach: a styled GeoPackage, a "
    "cloud-optimised GeoTIFF, the "
    "area of every class and a picture. map-scene asks less.",
)
def segment_scene(
    bar: Bar,
    scene: Paths,
    output_folder: str = "",
    bands: Bands = Bands(),  # noqa: B008 - frozen
    segmenter: Chosen = Rules(),  # noqa: B008 - frozen
    output: Output = Output(),  # noqa: B008 - frozen
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen
) -> Outcome:
    """Make a land-cover map of a scene.

    Args:
        scene: Path of a raster, or of each of its single-band files. Paths are those of the machine
            that does the work.
        output_folder: Folder for the products; made if need be. Empty: maps/ and the scene's name,
            in the data folder.
        bands: What the bands are, where the files do not say it.
        segmenter: How land cover is told. Rules need green, red and near infrared, and no training.
        output: What to make, of which area, and what to compare it with.
        advanced: How the work is cut and where it runs. Nothing here changes a result.
    """

    return publish_map(
        request_from(scene, output_folder, segmenter, bands, output, advanced),
        cluster_for(advanced),
        bar,
    )


@as_flow(
    "map-scene",
    "Make a land-cover map of a scene: four questions, then a styled GeoPackage, a "
    "cloud-optimised GeoTIFF, the area "
    "of every class and a picture. segment-scene has every setting.",
)
def map_scene(
    bar: Bar,
    scene: SceneChoice,
    output_folder: str = "",
    method: MethodChoice = USUAL_METHOD,
    sensor: SensorChoice = AS_FILE_SAYS,
) -> Outcome:
    """Make a land-cover map of a scene.

    Args:
        scene: Path of a raster on the machine that does the work, or one of the rasters in its data
            folders.
        output_folder: Folder for the products; made if need be. Empty: maps/ and the scene's name,
            in the data folder.
        method: How land cover is told. Rules need green, red and near infrared, and no training.
        sensor: How the bands follow each other, where the file does not say it.
    """
    bands = Bands.model_validate({"names": bands_of(sensor)})
    request = request_from(
        [scene], output_folder, segmenter_of(method), bands, Output(), Advanced()
    )
    return publish_map(request, cluster_for(Advanced()), bar)


def publish_map(request: Request, on: Cluster, bar: Bar) -> Outcome:
    """A map, published: what came out in a sentence, and its files."""
    bar.reach(0, "plan")
    published = run(request, on, bar.along)
    publish_artifacts(published)
    return Outcome(f"{outcome(published)}; in {published.folder.resolve()}", published.files)


def run(
    request: Request, on: Cluster, along: Callable[[Mapping[str, float]], Leg], of: str = ""
) -> Published:
    """A finished map by the stages of `pipeline.run`, each a task run.

    `of` names the scene, where a flow run has many; `along` gives the progress of stages that have
    these weights.
    """
    logger = get_run_logger()

    def stage(name: str) -> str:
        return f"{name} · {of}" if of else name

    with open_run(request.out, fresh=request.fresh) as folder:
        mask = None
        if request.source.has_model:
            with empty_main():
                mask = run_task(
                    stage("mask"),
                    "Find the pixels to leave out by the mask's model",
                    partial(pipeline.make_mask, request, folder, on),
                    tags=[ON_GPU] if on.kind == "cuda" else [],
                )
        plan = run_task(
            stage("plan"),
            "Open the scene, fit the segmenter, cut the grid",
            partial(pipeline.prepare, request, folder, on, mask),
        )
        for name, fact in describe(plan).items():
            logger.info("%s: %s", name, fact)
        for warning in plan.warnings:
            logger.warning("%s", in_form_words(warning))
        progress = along(weights_of(plan))
        with empty_main(), cluster.start(on, work_of(plan), progress.bar.wait) as pool:
            parts = run_task(
                stage("segment"),
                "Tell the land cover of every shard, in parallel",
                partial(pipeline.segment, plan, folder, pool, progress),
                tags=[ON_GPU] if on.here and plan.segmenter.uses_gpu and visible_cards() else [],
            )
            rasters = run_task(
                stage("join"),
                "One raster out of all shards",
                partial(pipeline.join, plan, parts, folder, pool, progress),
            )
            polygons = run_task(
                stage("vectorise"),
                "The polygons of that raster, as a GeoPackage",
                partial(pipeline.vectorise, plan, rasters, folder, pool, progress),
            )
            progress("publish", 0, 1)
            return run_task(
                stage("publish"),
                "Areas, picture, record of the run",
                partial(
                    pipeline.publish, plan, parts, rasters, polygons, folder, pool, outlined=True
                ),
                assets=[asset(folder.place / name, FILES[name]) for name in main_products(plan)],
            )


def main_products(plan: Plan) -> list[str]:
    """The maps of a run, by file name."""
    return ["classes.tif", *(["landcover.gpkg"] if "vectors" in plan.request.products else [])]
