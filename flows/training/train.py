"""`landweave train`: scenes and labels go in, a bundle comes out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from flows.assessment.figures import blank_figure, csv_text, write_accuracy
from flows.compute.progress import Progress, silent
from flows.requests.overwriting import check_model
from flows.requests.request import Source, checked
from flows.storage.run_folder import content_key, held, versions
from flows.training.bundles import check_architecture, opened
from flows.training.read_samples import samples_of
from segmentation.accuracy.confusion import Accuracy
from segmentation.forests.estimators import FORESTS
from segmentation.models.bundle import Bundle, check_folder, save, write
from segmentation.training.checkpoint import Look
from segmentation.training.fine_tuning import check_start
from segmentation.training.recipe import Recipe
from segmentation.training.samples import Samples
from segmentation.training.train_forest import ForestRecipe, TrainedForest, train_forest
from segmentation.training.train_network import Trained, train_network
from tiling.errors import Mistake
from tiling.io.files import write_text
from tiling.io.gdal_config import keep_cache_small


def _kind_of_recipe(recipe: Any) -> str:
    """By its architecture; forests have names of their own."""
    name = recipe.get("architecture") if isinstance(recipe, dict) else getattr(recipe, "architecture", "")
    return "forest" if name in FORESTS else "network"


AnyRecipe = Annotated[
    Annotated[Recipe, Tag("network")] | Annotated[ForestRecipe, Tag("forest")], Discriminator(_kind_of_recipe)
]


class Training(BaseModel):
    """One training: scenes, their labels, a folder for the bundle; the rest has defaults that follow from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Annotated[tuple[Source, ...], Field(min_length=1, description="The scenes.")]
    labels: Annotated[tuple[str, ...], Field(min_length=1, description="For each scene a class raster or shapes.")]
    out: Annotated[Path, Field(description="Folder of the bundle.")]
    column: Annotated[str, Field(description="Column of the classes in a vector file; found by itself.")] = ""
    classes: Annotated[dict[int, str], Field(description="Value to name; what is not named is unlabelled.")] = {}
    regroup: Annotated[dict[int, int], Field(description="Value to the value whose class it joins.")] = {}
    labels_nodata: Annotated[float | None, Field(description="Value of unlabelled pixels in class rasters.")] = None
    split: Annotated[str, Field(description="blocks, shapes, scenes, or a raster; empty: what suits the labels.")] = ""
    split_values: Annotated[dict[str, int], Field(description="What the values of a split raster mean.")] = {}
    recipe: Annotated[AnyRecipe, Field(description="How the model is trained; its defaults follow from the data.")] = (
        Recipe()
    )
    weights: Annotated[
        str, Field(description="A bundle's folder, name or hub id to start from, imagenet, or none.")
    ] = ""
    name: Annotated[str, Field(description="What the bundle is called; its folder's name by default.")] = ""
    licence: Annotated[str, Field(description="Under which others may use it.")] = "not stated"
    fresh: Annotated[bool, Field(description="Begin again, go on from nothing.")] = False


@dataclass(frozen=True)
class Finished:
    """What a training left."""

    bundle: Bundle
    validation: Accuracy | None
    """Of the run that was validated."""
    test: Accuracy | None
    """Of the bundle, on a test part."""
    judged: dict[str, str]
    """What was judged on each of these parts, in words."""
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {
            "bundle": str(self.bundle.folder),
            "digest": self.bundle.digest,
            "validation": self.validation.to_dict() if self.validation else None,
            "test": self.test.to_dict() if self.test else None,
            "notes": list(self.notes),
            "files": [str(path) for path in self.files],
            "seconds": round(self.seconds, 1),
        }


def recipe_from(settings: dict[str, Any]) -> Recipe | ForestRecipe:
    """A recipe of settings that a person named; `Mistake` in one line where they are none."""
    check_architecture(str(settings.get("architecture", "")))
    if settings.get("architecture") in FORESTS:
        return checked(ForestRecipe, **settings)
    return checked(Recipe, **settings)


def grouped(paths: Sequence[str], scenes: int) -> list[list[str]]:
    """The paths of each scene: all of them where there is one; else each begins one, and NAME=PATH adds to the last."""
    if scenes < 2:
        return [list(paths)]
    groups: list[list[str]] = []
    for path in paths:
        if groups and "=" in path and not Path(path).exists():
            groups[-1].append(path)
        else:
            groups.append([path])
    return groups


def train(request: Training, progress: Progress = silent) -> Finished:
    """Train a model and write its bundle, with curves and confusion matrix beside the card.

    A training that was killed goes on from where it was when it is asked for again; what it needs for that lies in a
    hidden folder beside the bundle, and goes when the bundle is there.
    """
    began = time.perf_counter()
    keep_cache_small()
    weights: Bundle | Literal["imagenet"] | None = None
    if request.weights not in ("", "none"):
        if isinstance(request.recipe, ForestRecipe):
            raise Mistake(
                f"a {request.recipe.architecture} grows from labels alone; leave --weights {request.weights} out"
            )
        weights = "imagenet" if request.weights == "imagenet" else opened(request.weights)
        if isinstance(weights, Bundle):
            check_start(request.recipe, weights)  # before a scene is read
    check_folder(request.out)
    if not request.fresh:
        scenes = [source.open().name for source in request.sources]
        labels = [Path(path).name for path in request.labels]
        check_model(request.out, scenes, labels, request.recipe.architecture)
    name = request.name or request.out.name
    trained: Trained | TrainedForest
    with _scratch(request.out) as scratch:
        samples, notes = samples_of(request, scratch, progress)
        if isinstance(request.recipe, ForestRecipe):
            trained = train_forest(samples, request.recipe, name=name, licence=request.licence, told=progress)
            bundle, files = write(request.out, trained.card, trained.content), []
        else:
            kept = _kept(scratch, _key(request, samples, weights), fresh=request.fresh)
            trained = train_network(
                samples, request.recipe, name=name, licence=request.licence, scratch=kept, told=progress,
                weights=weights,
            )  # fmt: skip
            bundle = save(request.out, trained.card, trained.state)
            files = [bundle.folder / "curves.csv", bundle.folder / "curves.png"]
            _write_curves(trained.looks, *files)
        judged = trained.test or trained.validation
        if judged:
            files.extend(write_accuracy(judged, bundle.folder))
    seconds = time.perf_counter() - began
    notes = (*notes, *trained.notes)
    return Finished(bundle, trained.validation, trained.test, trained.judged, notes, tuple(files), seconds)


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A hidden folder beside the bundle, held for this training alone: another would write over its pixels.

    It stays where the training in it was stopped and can go on.
    """
    folder, done = out.with_name(f".{out.name}.training"), False
    with held(folder, str(out)):
        try:
            yield folder
            done = True
        finally:
            if done or not any(folder.glob("*/*.pt")):
                rmtree(folder, ignore_errors=True)


def _kept(scratch: Path, key: str, *, fresh: bool) -> Path:
    """The folder of what the training of that key has become; that of any other goes."""
    if fresh or not (scratch / key).exists():
        for old in (path for path in scratch.glob("*") if path.is_dir()):
            rmtree(old)
    (scratch / key).mkdir(parents=True, exist_ok=True)
    return scratch / key


def _key(request: Training, samples: Samples, weights: Bundle | str | None) -> str:
    """What a training follows from: another one does not go on from its files."""
    asked = request.model_dump(mode="json", exclude={"out", "fresh", "name", "licence"})
    scenes = [source.open().identities() for source in request.sources]
    taught = hashlib.sha256()
    for piece in samples.pieces:
        for array in (piece.labels, piece.part):
            taught.update(array.data)
    facts = {"request": asked, "scenes": scenes, "labels": taught.hexdigest(), "versions": versions()}
    return content_key(facts | {"weights": weights.digest if isinstance(weights, Bundle) else weights})[:32]


# -------------------------------------------------------------------------------------------------------- what is seen


def _write_curves(looks: Sequence[Look], table: Path, picture: Path) -> None:
    """How a run went, as a CSV and as a picture."""
    rows = ([look.step, *(f"{number:.6g}" for number in look[1:])] for look in looks)
    figure = blank_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    steps = [look.step for look in looks]
    left.plot(steps, [look.loss for look in looks], color="#444444")
    left.set(title="Loss on training chips", xlabel="step")
    right.plot(steps, [look.mean_iou for look in looks], color="#2f7d3b", label="mean IoU")
    right.plot(steps, [look.overall_accuracy for look in looks], color="#3b7dd8", label="overall accuracy")
    right.set(title="On the validation part", xlabel="step")
    right.legend(frameon=False)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    try:
        write_text(table, csv_text(Look._fields, rows))
        figure.savefig(picture, metadata={"Software": "landweave"}, format="png")
    except OSError as error:
        raise Mistake(
            f"cannot write to {table.parent}: {error.strerror}; make room and give the command again"
        ) from error
