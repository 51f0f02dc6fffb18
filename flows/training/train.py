"""`landweave train`: scenes and labels go in, a bundle comes out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

from flows.assessment.figures import write_accuracy
from flows.composite.windows import FOLDER, stack_windows
from flows.compute.progress import Progress, silent
from flows.reports.drawing import blank_figure
from flows.reports.tables import csv_text
from flows.requests.overwriting import check_model
from flows.requests.training import Training
from flows.storage.keys import content_key, versions
from flows.storage.lock import folder_lock
from flows.training.finished import Finished
from flows.training.read_samples import objects_of, samples_of
from flows.training.start import open_detector, open_start
from segmentation.detection.recipe import DetectorRecipe
from segmentation.detection.train import Look, train_detector
from segmentation.interchange.encoder_weights import TaughtEncoder
from segmentation.models.bundle import Bundle, check_folder, save, write
from segmentation.training.checkpoint import Evaluation
from segmentation.training.choose import leaves_choice, train_best
from segmentation.training.fine_tuning import Start
from segmentation.training.recipe import ForestRecipe
from segmentation.training.samples import Samples
from segmentation.training.train_forest import TrainedForest, train_forest
from segmentation.training.train_network import Trained, train_network
from tiling.errors import InputError
from tiling.io.files import write_text
from tiling.io.gdal_config import keep_cache_small


def train(request: Training, progress: Progress = silent) -> Finished:
    """Train a model and write its bundle, with curves and confusion matrix beside the card.

    A training that was killed goes on from where it was when it is asked for again; what it needs
    for that lies in a hidden folder beside the bundle, and goes when the bundle is there.
    """
    began = time.perf_counter()
    keep_cache_small()
    request = with_windows(request, progress)
    if isinstance(request.recipe, DetectorRecipe):
        return _train_detector(request, request.recipe, progress, began)
    request, weights = open_start(request, progress)
    recipe = request.recipe
    assert not isinstance(recipe, DetectorRecipe)  # a start changes no kind
    _check_place(request)
    name = request.name or request.out.name
    trained: Trained | TrainedForest
    with _scratch(request.out) as scratch:
        samples, notes = samples_of(request, scratch, progress)
        more: dict[str, Any] = {"name": name, "licence": request.licence, "progress": progress}
        if isinstance(recipe, ForestRecipe):
            trained = train_forest(samples, recipe, **more)
        else:
            key = _key(request, samples, weights)
            more["scratch"] = _checkpoint_folder(scratch, key, fresh=request.fresh)
            # the forest would be judged by pixels, and of objects a line of two decides
            if weights is None and leaves_choice(recipe) and not request.instances:
                trained = train_best(samples, recipe, **more)
            else:
                trained = train_network(samples, recipe, **more, weights=weights)
        bundle, files = _write_bundle(request.out, trained)
        judged = trained.test or trained.validation
        if judged:
            files.extend(write_accuracy(judged, bundle.folder))
    seconds = time.perf_counter() - began
    notes = (*notes, *trained.notes)
    return Finished(
        bundle, trained.validation, trained.test, trained.judged, notes, tuple(files), seconds
    )


def _check_place(request: Training) -> None:
    """Raise `InputError` where the bundle cannot take its place, or another model has it."""
    check_folder(request.out)
    if not request.fresh:
        scenes = [source.open().name for source in request.sources]
        labels = [Path(path).name for path in request.labels]
        check_model(request.out, scenes, labels, request.recipe.architecture)


def _train_detector(
    request: Training, recipe: DetectorRecipe, progress: Progress, began: float
) -> Finished:
    """Train a model that finds objects one by one, and write its bundle."""
    start = open_detector(request)
    _check_place(request)
    with _scratch(request.out) as scratch:
        samples, notes = objects_of(request, scratch, progress)
        trained = train_detector(
            samples,
            recipe,
            name=request.name or request.out.name,
            licence=request.licence,
            scratch=_checkpoint_folder(
                scratch, _key(request, samples.samples, start), fresh=request.fresh
            ),
            progress=progress,
            start=start,
        )
        bundle = save(request.out, trained.card, trained.state)
    table = bundle.folder / "curves.csv"
    rows = ([look.step, *(f"{number:.6g}" for number in look[1:])] for look in trained.looks)
    write_text(table, csv_text(Look._fields, rows))
    seconds = time.perf_counter() - began
    return Finished(bundle, None, None, {}, (*notes, *trained.notes), (table,), seconds)


def _write_bundle(out: Path, trained: Trained | TrainedForest) -> tuple[Bundle, list[Path]]:
    """The bundle, and the files beside it that tell how a network learnt."""
    if isinstance(trained, TrainedForest):
        return write(out, trained.card, trained.content), []
    bundle = save(out, trained.card, trained.state, trees=trained.trees)
    files = [bundle.folder / "curves.csv", bundle.folder / "curves.png"]
    _write_curves(trained.looks, *files)
    return bundle, files


def with_windows(request: Training, progress: Progress = silent) -> Training:
    """The training on scenes of composites, one for each window of time, in a folder beside the
    bundle; as it is where there are none."""
    beside = request.out.with_name(f"{request.out.name}-{FOLDER}")
    many = len(request.sources) > 1
    sources = [
        stack_windows(source, beside / str(number) if many else beside, progress=progress)
        for number, source in enumerate(request.sources, 1)
    ]
    return request.model_copy(update={"sources": tuple(sources)})


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A hidden folder beside the bundle, held for this training alone: another would write over its
    pixels.

    It stays where the training in it was stopped and can go on.
    """
    folder, done = out.with_name(f".{out.name}.training"), False
    with folder_lock(folder, str(out)):
        try:
            yield folder
            done = True
        finally:
            if done or not any(folder.glob("*/*.pt")):
                rmtree(folder, ignore_errors=True)


def _checkpoint_folder(scratch: Path, key: str, *, fresh: bool) -> Path:
    """The folder of what the training of that key has become; that of any other goes."""
    if fresh or not (scratch / key).exists():
        for old in (path for path in scratch.glob("*") if path.is_dir()):
            rmtree(old)
    (scratch / key).mkdir(parents=True, exist_ok=True)
    return scratch / key


def _key(request: Training, samples: Samples, weights: Start | Literal["coco"] | None) -> str:
    """What a training follows from: another one does not go on from its files."""
    asked = request.model_dump(mode="json", exclude={"out", "fresh", "name", "licence"})
    scenes = [source.open().identities() for source in request.sources]
    taught = hashlib.sha256()
    for piece in samples.pieces:
        for array in (piece.labels, piece.part):
            taught.update(array.data)
    facts = {
        "request": asked,
        "scenes": scenes,
        "labels": taught.hexdigest(),
        "versions": versions(),
    }
    begun: str | None = None
    if isinstance(weights, str):
        begun = weights
    elif isinstance(weights, Bundle):
        begun = weights.digest
    elif isinstance(weights, TaughtEncoder):
        begun = weights.identity
    return content_key(facts | {"weights": begun})[:32]


# ------------------------------------------------------------------------------------- what is seen


def _write_curves(looks: Sequence[Evaluation], table: Path, picture: Path) -> None:
    """How a run went, as a CSV and as a picture."""
    rows = ([look.step, *(f"{number:.6g}" for number in look[1:])] for look in looks)
    figure = blank_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    steps = [look.step for look in looks]
    left.plot(steps, [look.loss for look in looks], color="#444444")
    left.set(title="Loss on training chips", xlabel="step")
    right.plot(steps, [look.mean_iou for look in looks], color="#2f7d3b", label="mean IoU")
    right.plot(
        steps, [look.overall_accuracy for look in looks], color="#3b7dd8", label="overall accuracy"
    )
    right.set(title="On the validation part", xlabel="step")
    right.legend(frameon=False)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    try:
        write_text(table, csv_text(Evaluation._fields, rows))
        figure.savefig(picture, metadata={"Software": "landweave"}, format="png")
    except OSError as error:
        raise InputError(
            f"cannot write to {table.parent}: {error.strerror}; make room and give the command "
            "again"
        ) from error
