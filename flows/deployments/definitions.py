"""Every flow an analyst is offered, by name: thin callers of plain functions, each with a form and
what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import Flow

from flows.assessment.evaluate import evaluate, work_pieces
from flows.assessment.figures import write_accuracy
from flows.compute import cluster
from flows.compute.spawning import empty_main
from flows.compute.work import Work
from flows.deployments import segment_scene as segment
from flows.deployments.comparing import compare_maps, zonal_areas
from flows.deployments.crop_monitor import crop_monitor
from flows.deployments.dates import follow_indices, make_composite
from flows.deployments.segment_objects import segment_objects
from flows.deployments.segment_scene import map_scene, segment_scene
from flows.deployments.trying import demo, inspect_scene
from flows.forms.dropdowns import Chosen, Indices, MapChoice, Paths, Text
from flows.forms.groups import Advanced, Bands, Comparison, Labels, Model, Output, Series, Watch
from flows.forms.paths import path_of
from flows.forms.requests import (
    cluster_for,
    collection_from,
    default_cluster,
    evaluation_from,
    monitor_from,
    request_from,
    source_from,
    training_from,
    within_reach,
)
from flows.pages.artifacts import (
    publish_accuracy,
    publish_artifacts,
    publish_catalogue,
    publish_page,
)
from flows.pages.results import files_page, model_page
from flows.pages.sentences import count_scenes, news
from flows.products.index_rasters import draw_index, write_indices
from flows.reports.catalogue import Catalogue
from flows.requests.commandline import collection_line, evaluate_line, index_line
from flows.requests.maps import Evaluation, IndexRequest
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.training import Training
from flows.run.mask_first import masks_first
from flows.run.record import Published
from flows.series.collection import collect
from flows.series.monitor import monitor
from flows.tasks.bar import Bar, Leg
from flows.tasks.runs import ON_GPU, Outcome, as_flow, asset, logger, name_outcome, run_task
from flows.tasks.words import in_form_words
from flows.training.where import train_on
from segmentation.classical.rules import Rules
from segmentation.training.recipe import ForestRecipe
from tiling.io.files import check_folder

MOST_PICTURES = 6
"""Indices whose picture is part of the page; the others' are in the folder."""

PIECE_BYTES = 2**29
"""What a worker takes to compare a piece of two rasters."""

LEARNING = {"read": 1, "grow": 2, "train": 10, "train on all": 10, "grow on all": 1}
GROWING = {"read": 6, "grow": 1.5, "grow on all": 0.5}
"""The stages of a training that has a network, and of a forest's, and about how their times
compare."""


def segment_one_scene(request: Request, advanced: Advanced, progress: Leg) -> Published:
    """One scene of many, its stages task runs of its own name."""
    name = Path(str(request.out)).name
    published = segment.run(
        request, cluster_for(advanced), partial(progress.piece, of=name), of=name
    )
    publish_artifacts(published)
    return published


def publish_report(
    series: Catalogue,
    folder: Path,
    files: Sequence[Path],
    made: Sequence[str],
    compared: Sequence[str],
) -> str:
    """Publish what many scenes came to, and say what is new; where nothing is, nothing is
    published."""
    words = news(made, series, compared)
    name_outcome(words)
    if not (made or compared):
        return words
    products = [
        asset(file, what)
        for file in files
        if (
            what := {
                "report.html": series.title,
                "runs.gpkg": f"Footprints and areas: {series.title}",
            }.get(file.name)
        )
    ]
    run_task(
        "report",
        "Newest map, change and all areas on one page",
        partial(publish_catalogue, series, folder, files),
        assets=products,
    )
    return words


@as_flow(
    "segment-collection",
    "Make land-cover maps of many scenes alike, and one report of areas, footprints and pictures.",
    CollectionRequest,
)
def segment_collection(
    bar: Bar,
    scenes: Paths,
    output_folder: Text,
    series: Series = Series(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
    segmenter: Chosen = Rules(),  # noqa: B008 - frozen
    output: Output = Output(),  # noqa: B008 - frozen
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen
) -> Outcome:
    """Make land-cover maps of many scenes.

    Args:
        scenes: Folders of scenes, or paths of rasters. In a folder each raster is a scene, and each
            folder of rasters.
        series: Which files are scenes, and what the report is called.
        bands: What the bands are, where the files do not say it.
        segmenter: How land cover is told, the same for every scene.
        output: What to make of each scene, and of which area.
        advanced: How the work is cut and where it runs. Nothing here changes a result.
    """

    template = request_from(scenes, output_folder, segmenter, bands, output, advanced)
    request = collection_from(template, series)
    progress = bar.along({"scenes": 20, "report": 1})
    collected = collect(
        request,
        progress=progress,
        run=partial(segment_one_scene, advanced=advanced, progress=progress),
    )
    title = request.title or f"Collection {collected.folder.resolve().name}"
    whole = Catalogue(
        title,
        collected.entries,
        warnings=collected.warnings,
        command=collection_line(request),
        notes=collected.notes,
    )
    words = publish_report(whole, collected.folder, collected.files, collected.made, ())
    collected.check()
    message = f"{words}; {count_scenes(len(collected.entries))} in {collected.folder.resolve()}"
    return Outcome(message, collected.files, news=bool(collected.made))


@as_flow(
    "land-use-monitor",
    "Watch a place: map what is new since last time, compare it with the map before, publish the "
    "change.",
    MonitorRequest,
)
def land_use_monitor(
    bar: Bar,
    folders: Paths,
    output_folder: Text,
    watch: Watch = Watch(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
    segmenter: Chosen = Rules(),  # noqa: B008 - frozen
    output: Output = Output(),  # noqa: B008 - frozen
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen
) -> Outcome:
    """Map what is new and say what has changed. Made for a schedule: what was missed is caught up
    with, nothing twice.

    Args:
        folders: Folders in which new scenes arrive. A scene's date is in its file or in its file's
            name.
        watch: What counts as an image and as a change, and the zones in which areas are measured.
        bands: What the bands are, where the files do not say it.
        segmenter: How land cover is told, the same at every date.
        output: What to make of each scene, and of which area.
        advanced: How the work is cut and where it runs. Nothing here changes a result.
    """

    template = request_from(folders, output_folder, segmenter, bands, output, advanced)
    request = monitor_from(template, watch)
    progress = bar.along({"scenes": 20, "changes": 5, "report": 1})
    seen = monitor(
        request,
        progress=progress,
        run=partial(segment_one_scene, advanced=advanced, progress=progress),
    )
    words = publish_report(seen.series, seen.folder, seen.files, seen.made, seen.compared)
    message = f"{words}; {count_scenes(len(seen.series.entries))} in {seen.folder.resolve()}"
    return Outcome(message, seen.files, news=bool(seen.made or seen.compared))


@as_flow(
    "train-network",
    "Train a model on your own land: scenes and labels go in, a forest, a network or both come "
    "out, whichever judges best, for segment-scene.",
    Training,
)
def train_network(
    bar: Bar,
    scenes: Paths,
    labels: Paths,
    output_folder: Text,
    meaning: Labels = Labels(),  # noqa: B008 - frozen
    model: Model = Model(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
) -> Outcome:
    """Train a model on labelled scenes.

    Args:
        scenes: Path of a scene; several where there are several files of labels.
        meaning: What the labels mean, and which are kept for judging.
        model: Which kind, and how long it learns. Whatever is empty follows from the data.
        bands: What the bands are, where the files do not say it.
    """

    bar.reach(0, "read the labels")
    request = training_from(scenes, labels, output_folder, meaning, model, bands)
    with empty_main():
        sources = masks_first(request.sources, request.out, fresh=request.fresh)
    for note in (note for source in sources for note in source.notes):
        logger().warning("%s", in_form_words(note))
    request = request.model_copy(update={"sources": sources})
    finished = run_task(
        "train",
        "Learn from the labels, judge by those kept",
        partial(
            train_on,
            default_cluster(),
            request,
            bar.along(GROWING if isinstance(request.recipe, ForestRecipe) else LEARNING),
        ),
        tags=[ON_GPU],
        assets=[asset(request.out, "a model for segment-scene")],
    )
    name, judged = request.out.name, finished.test or finished.validation
    if judged:
        publish_accuracy(name, f"Accuracy of {name}", judged, finished.files, request.out)
    page = model_page(finished, request)
    publish_page("model", name, request.out, f"The model {name}", page)
    score = f"mean IoU {judged.mean_iou:.3f}" if judged else "not judged: there were too few labels"
    name_outcome(score)
    return Outcome(f"{score}; in {request.out.resolve()}", finished.files)


@as_flow(
    "evaluate-map",
    "Say how good a map is: accuracy, IoU, boundaries and areas against a reference.",
    Evaluation,
)
def evaluate_map(
    bar: Bar,
    map: MapChoice,
    reference: Text,
    output_folder: Text,
    comparison: Comparison = Comparison(),  # noqa: B008 - frozen
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen
) -> Outcome:
    """Compare a class map with a reference.

    Args:
        comparison: How the classes of both are matched, and where they are compared.
        advanced: Where the work is done. Nothing here changes a result.
    """

    request = evaluation_from(map, reference, output_folder, comparison)
    folder = Path(str(request.out))
    check_folder(folder)
    shards = work_pieces(request.map)
    bar.reach(0, "open both maps")
    work, progress = Work(shards, PIECE_BYTES), bar.along({"evaluate": 1})
    with empty_main(), cluster.start(cluster_for(advanced), work, bar.wait) as pool:
        accuracy = run_task(
            "evaluate",
            "Count what agrees and what does not",
            partial(
                evaluate,
                request.map,
                request.reference,
                map=pool.map,
                progress=progress,
                **request.settings,
            ),
        )
    files = write_accuracy(accuracy, folder)
    name = Path(request.map).resolve().parent.name
    title = f"{request.map} against {request.reference}"
    publish_accuracy(name, title, accuracy, files, folder, evaluate_line(request))
    scores = f"overall accuracy {accuracy.overall_accuracy:.3f}, mean IoU {accuracy.mean_iou:.3f}"
    scores += "".join(f"; but {doubt}" for doubt in accuracy.doubts)
    return Outcome(f"{scores}; in {folder.resolve()}", files)


@as_flow(
    "compute-indices",
    "Compute spectral indices of a scene, such as NDVI, each as a cloud-optimised GeoTIFF.",
    IndexRequest,
)
def compute_indices(
    bar: Bar,
    scene: Paths,
    indices: Indices,
    output_folder: Text,
    bands: Bands = Bands(),  # noqa: B008 - frozen
) -> Outcome:
    """Compute spectral indices of a scene.

    Args:
        scene: Path of a raster, or of each of its single-band files.
        bands: What the bands are, where the files do not say it.
    """

    source = source_from(scene, bands)
    output_folder = path_of(output_folder)
    within_reach(output_folder)
    folder = Path(output_folder)
    bar.reach(0, "open the scene")
    files = run_task(
        "index",
        "Compute every index",
        partial(write_indices, source, indices, folder, bar.along({"index": 1})),
        assets=[
            asset(folder / f"{name}.tif", f"{name} of {Path(scene[0]).stem}") for name in indices
        ],
    )
    pictures = list(map(draw_index, files))
    name, command = Path(scene[0]).stem, index_line(source, indices, output_folder)
    page = files_page(folder, [*files, *pictures], pictures[:MOST_PICTURES], command)
    publish_page("indices", name, folder, f"Indices of {name}", page)
    return Outcome(f"{', '.join(indices)}; in {folder.resolve()}", files)


FLOWS: dict[Flow[..., Any], str] = {
    map_scene: "map",
    segment_scene: "map",
    segment_objects: "objects",
    segment_collection: "map",
    land_use_monitor: "monitor",
    train_network: "model",
    evaluate_map: "accuracy",
    compute_indices: "map",
    make_composite: "dates",
    follow_indices: "dates",
    compare_maps: "change",
    zonal_areas: "areas",
    crop_monitor: "crops",
    inspect_scene: "look",
    demo: "map",
}
"""Each is deployed under its own name, and tagged by what it makes: that is what automations ask
for."""
