"""`landweave train`: scenes and labels go in, a bundle comes out."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from flows.figures import blank_figure, csv_text, write_accuracy
from flows.models import opened
from flows.plan import calibrated
from flows.progress import Progress, silent
from flows.request import Source, checked
from flows.run import content_key, held, versions, write_whole
from segmentation.accuracy import Accuracy
from segmentation.bundle import Bundle, check_folder, save, write
from segmentation.fitting import Look
from segmentation.growing import ForestRecipe, TrainedForest, train_forest
from segmentation.legend import LandClass, Legend
from segmentation.recipe import Recipe
from segmentation.samples import Labelled, Samples
from segmentation.training import Trained, train_network
from segmentation.trees import FORESTS
from tiling.cache import keep_cache_small
from tiling.errors import Mistake
from tiling.labels import Labels, is_vector, open_labels
from tiling.scene import Scene
from tiling.spacing import PixelSpacing
from tiling.split import Split, Splitting, split_labels
from tiling.window import Window

PIECE = 256
"""Side of the blocks, in pixels, that are read where they hold a label."""
AROUND = 128
"""How far beyond them pixels are read: what a network sees around a label."""
_STRIP, _LONGEST = 512, 4096
"""Rows and columns that are read at once, at most: long, for files that keep whole rows together."""
_IN_MEMORY = 2**29
"""Bytes of all samples above which they are kept in files."""
_LABEL_BYTES = 3
"""Of a pixel, beside its bands: validity, label and part."""


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
    check_folder(request.out)
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


def samples_of(request: Training, scratch: Path, progress: Progress = silent) -> tuple[Samples, tuple[str, ...]]:
    """What the training sees, and what a person should know of how its labels were read and split.

    Up to half a gigabyte is kept in memory, more in files in `scratch`, which must outlive the samples. Only
    blocks that hold labels are read, and what lies around them. Raises `Mistake` where scenes do not go together.
    """
    if len(request.labels) != len(request.sources):
        raise Mistake(f"{len(request.sources)} scenes and {len(request.labels)} files of labels; give one for each")
    scenes = [source.open() for source in request.sources]
    scenes = [calibrated(scene, scene.band_names) for scene in scenes]
    _check_alike(scenes)
    labels = _opened(request, scenes)
    rows = _common_rows(labels)
    if len(rows) < 2:
        raise Mistake(f"{request.labels[0]} has one class only, {rows[0][1]}; a map needs two to tell apart")
    splitting = split_labels(labels, request.split, values=request.split_values or None, seed=request.recipe.seed)
    bands = scenes[0].band_names
    jobs = [
        (scene, split, window)
        for scene, split in zip(scenes, splitting.scenes, strict=True)
        for window in pieces(split)
    ]
    dtype = np.result_type(*(np.dtype(scene.band(name).dtype) for scene in scenes for name in bands))
    many = sum(window.area for *_, window in jobs) * (len(bands) * dtype.itemsize + _LABEL_BYTES) > _IN_MEMORY
    made = []
    for number, (scene, split, window) in enumerate(jobs):
        made.append(_labelled(scene, bands, split, window, scratch / f"piece-{number}" if many else None))
        progress("read", number + 1, len(jobs))
    present = set().union(*(piece.values() for piece in made))
    seen = [row for row in rows if row[0] in present]
    if len(seen) < 2:
        only = f"nothing but {seen[0][1]}" if seen else "no pixel"
        raise Mistake(
            f"{request.labels[0]} labels {only} where the scene has data; label more there, or look at the scene's "
            "no-data value and mask"
        )
    legend = Legend(classes=tuple(LandClass(value=v, name=n, colour=c) for v, n, c in seen))
    unseen = ", ".join(name for value, name, _ in rows if value not in present)
    notes = [note for one in labels for note in one.notes]
    if unseen:
        notes.append(f"left out, as no pixel of it has data in the scene: {unseen}")
    samples = Samples(
        pieces=tuple(made),
        bands=bands,
        units=tuple(scenes[0].band(name).units for name in bands),
        dtype=str(dtype),
        legend=legend,
        gsd=round(_gsd(scenes[0]), 3),
        facts=_facts(request, scenes, splitting),
    )
    return samples, (*notes, *splitting.notes)


def _opened(request: Training, scenes: Sequence[Scene]) -> list[Labels]:
    """The labels of each scene. Words are the same class in all files, and numbered in the order of all of them."""

    def opened(classes: dict[int, str], regroup: dict[int, int]) -> list[Labels]:
        return [
            open_labels(
                path, scene.geobox, column=request.column, classes=classes, regroup=regroup,
                nodata=request.labels_nodata,
            )
            for path, scene in zip(request.labels, scenes, strict=True)
        ]  # fmt: skip

    classes = request.classes
    if len(scenes) > 1 and not classes and all(map(is_vector, request.labels)):
        words: dict[str, str] = {}
        for _, name, _ in (row for one in opened({}, {}) for row in one.rows):
            words.setdefault(name.casefold(), name)
        if not any(word.lstrip("+-").isdecimal() for word in words):
            classes = dict(enumerate(sorted(words.values()), 1))
    return opened(classes, request.regroup)


def pieces(split: Split) -> list[Window]:
    """Windows, apart from each other, that hold every label of a scene and what lies around it."""
    whole = Window.of_shape(*split.labels.geobox.shape)
    found: list[Window] = []
    for outer in split.labels.windows():
        there = split.labels.read(outer) > 0
        for block in outer.blocks(PIECE):
            if there[block.within(outer)].any():
                _joined(found, block.grown(AROUND) & whole)
    return sorted(found)


def _joined(found: list[Window], window: Window) -> None:
    """Add a window; those that meet it become one with it."""
    while touching := [other for other in found if other & window]:
        for other in touching:
            found.remove(other)
            window |= other
    found.append(window)


def _labelled(scene: Scene, bands: Sequence[str], split: Split, window: Window, path: Path | None) -> Labelled:
    """A window of a scene, its bands in the order of `bands`; in files that are called as `path`, or in memory."""
    dtype = np.result_type(*(np.dtype(scene.band(name).dtype) for name in bands))

    def empty(what: str, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.zeros(shape, kind) if path is None else _in_file(path.with_suffix(f".{what}.npy"), shape, kind)

    pixels, valid = empty("pixels", (len(bands), *window.shape), dtype), empty("valid", window.shape, bool)
    labels, part = (empty(what, window.shape, np.uint8) for what in ("labels", "part"))
    for strip in _strips(window):
        chip, at = scene.read(strip, bands), strip.within(window)
        pixels[:, *at], valid[at] = chip["pixels"].values, chip["valid"].values
        classes, parts = split.read(strip)
        labels[at], part[at] = np.where(valid[at], classes, 0), np.where(valid[at], parts, 0)
    scales = [(scene.band(name).scale, scene.band(name).offset) for name in bands]
    scale, offset = zip(*scales, strict=True)
    return Labelled(pixels, valid, labels, part, scale, offset, scene.name)


def _strips(window: Window) -> Iterator[Window]:
    for row in range(window.row, window.row_stop, _STRIP):
        for col in range(window.col, window.col_stop, _LONGEST):
            yield Window(row, col, _STRIP, _LONGEST) & window


def _in_file(path: Path, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros in a file that has room for all that will take their place; `Mistake` where the disk has not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape)
        # A page that finds no room when it is written ends the process without a word.
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise Mistake(
            f"cannot keep pixels in {path}: {error.strerror}; make room there, or name another folder with --out"
        ) from error
    return array


def _check_alike(scenes: Sequence[Scene]) -> None:
    """Scenes that train one model have the same bands in the same units."""
    first = scenes[0]
    for scene in scenes[1:]:
        if set(scene.band_names) != set(first.band_names):
            raise Mistake(
                f"{scene.name} has {', '.join(scene.band_names)} and {first.name} has {', '.join(first.band_names)}; "
                "give scenes of the same bands, or choose those they share with --bands"
            )
        for name in first.band_names:
            if scene.band(name).units != first.band(name).units:
                raise Mistake(
                    f"{name} is {scene.band(name).units} in {scene.name} and {first.band(name).units} in {first.name}; "
                    "say how the numbers scale, for example --scale 0.0001"
                )


def _common_rows(labels: Sequence[Labels]) -> list[tuple[int, str, str]]:
    """The classes of all scenes; `Mistake` where a value means two things, or two values one."""
    rows: dict[int, tuple[int, str, str]] = {}
    for one in labels:
        for value, name, colour in one.rows:
            if rows.setdefault(value, (value, name, colour))[1] != name:
                raise Mistake(
                    f"value {value} is {name} in {one.path} and {rows[value][1]} before; say what values mean, "
                    f"for example --classes {value}={name},…"
                )
    values: dict[str, int] = {}
    for value, name, _ in rows.values():
        if values.setdefault(name, value) != value:
            raise Mistake(
                f"{labels[0].path}: {values[name]} and {value} are both called {name}; make one class of them with "
                f"--regroup {value}={values[name]}, or give them names of their own with --classes"
            )
    return [rows[value] for value in sorted(rows)]


def _gsd(scene: Scene) -> float:
    """Metres between pixels in the middle of a scene."""
    down, across = PixelSpacing(scene.geobox).read(Window(scene.height // 2, scene.width // 2, 1, 1))
    return float(np.sqrt(down[0, 0] * across[0, 0]))


def _facts(request: Training, scenes: Sequence[Scene], splitting: Splitting) -> dict[str, Any]:
    """Where it comes from, for the card; nothing of the clock, so that the same training has the same card."""
    boxes = [scene.geobox.extent.to_crs("EPSG:4326").boundingbox for scene in scenes]
    west, south = min(box.left for box in boxes), min(box.bottom for box in boxes)
    east, north = max(box.right for box in boxes), max(box.top for box in boxes)
    days = sorted(scene.date.isoformat() for scene in scenes if scene.date)
    when = {"start_datetime": f"{days[0]}T00:00:00Z", "end_datetime": f"{days[-1]}T00:00:00Z"} if days else {}
    return {
        "scenes": [scene.name for scene in scenes],
        "labels": [Path(path).name for path in request.labels],
        "split": splitting.how,
        "bbox": [round(degrees, 6) for degrees in (west, south, east, north)],
        **when,
    }


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
        write_whole(table, csv_text(Look._fields, rows))
        figure.savefig(picture, metadata={"Software": "landweave"}, format="png")
    except OSError as error:
        raise Mistake(
            f"cannot write to {table.parent}: {error.strerror}; make room and give the command again"
        ) from error
