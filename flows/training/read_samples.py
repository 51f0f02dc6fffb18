"""Scenes and labels as a training sees them: split, read where there are labels, no more in memory
than fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from flows.compute.progress import Progress, silent
from flows.plan.fit import calibrate
from segmentation.detection.targets import ObjectSamples
from segmentation.legend import HIGHEST, LandClass, Legend
from segmentation.training.samples import Labelled, Samples
from tiling.classmaps.legend import with_default_rows
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.spill import map_array
from tiling.labels.base import Labels
from tiling.labels.instance_labels import InstanceLabels, label_sides, open_instances
from tiling.labels.open_labels import is_vector, open_labels
from tiling.labels.splits import Split, Splitting, split_labels
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    from flows.requests.training import Training

PIECE = 256
"""Side of the blocks, in pixels, that are read where they hold a label."""
AROUND = 128
"""How far beyond them pixels are read: what a network sees around a label."""
_STRIP, _LONGEST = 512, 4096
"""Rows and columns that are read at once, at most: long, for files that keep whole rows
together."""
_IN_MEMORY = 2**29
"""Bytes of all samples above which they are kept in files."""
_LABEL_BYTES = 3
"""Of a pixel, beside its bands: validity, label and part."""


def samples_of(
    request: Training, scratch: Path, progress: Progress = silent
) -> tuple[Samples, tuple[str, ...]]:
    """What the training sees, and what a person should know of how its labels were read and split.

    Up to half a gigabyte is kept in memory, more in files in `scratch`, which must outlive the
    samples. Only blocks that hold labels are read, and what lies around them. Raises `InputError`
    where scenes do not go together.
    """
    scenes = _open_scenes(request)
    labels = _open_labels(request, scenes)
    rows = _common_rows(labels)
    if len(rows) < 2:
        raise InputError(
            f"{request.labels[0]} has one class only, {rows[0][1]}; a map needs two to tell apart"
        )
    splitting = split_labels(
        labels, request.split, values=request.split_values or None, seed=request.recipe.seed
    )
    bands = scenes[0].band_names
    dtype = _common_dtype(scenes, bands)
    pieces = _read_samples(scenes, splitting, bands, dtype, scratch, progress)
    present = set().union(*(piece.values() for piece in pieces))
    sided = [one for one in labels if isinstance(one, InstanceLabels) and not one.width]
    if sided:
        ids = _ids_of(sided, splitting, pieces, scratch)
        pieces = tuple(replace(piece, ids=its) for piece, its in zip(pieces, ids, strict=True))
    samples = Samples(
        pieces=pieces,
        bands=bands,
        units=tuple(scenes[0].band(name).units for name in bands),
        dtype=str(dtype),
        legend=_legend_of([row for row in rows if row[0] in present], request.labels[0]),
        gsd=round(scenes[0].gsd, 3),
        facts=_facts(request, scenes, splitting),
        label=label_sides if sided else None,
    )
    notes = [note for one in labels for note in one.notes]
    if unseen := ", ".join(name for value, name, _ in rows if value not in present):
        notes.append(f"left out, as no pixel of it has data in the scene: {unseen}")
    return samples, (*notes, *splitting.notes)


def objects_of(
    request: Training, scratch: Path, progress: Progress = silent
) -> tuple[ObjectSamples, tuple[str, ...]]:
    """What the training of a detector sees, as `samples_of`: which object each pixel is of, besides
    its part."""
    scenes = _open_scenes(request)
    labels = [_open_instances(request, *one) for one in zip(request.labels, scenes, strict=True)]
    splitting = split_labels(
        labels, request.split, values=request.split_values or None, seed=request.recipe.seed
    )
    bands = scenes[0].band_names
    dtype = _common_dtype(scenes, bands)
    pieces = _read_samples(scenes, splitting, bands, dtype, scratch, progress)
    names = sorted({kind for one in labels for kind in one.kinds}) or ["Object"]
    if len(names) > HIGHEST - 1:
        raise InputError(f"column {request.column} names {len(names)} kinds; 253 are most")
    ids, channels = _ids_of(labels, splitting, pieces, scratch), list[npt.NDArray[np.int64]]()
    for one, split in zip(labels, splitting.scenes, strict=True):
        known = np.array([names.index(kind) for kind in one.kinds] or [0], np.int64) + 1
        for _ in label_windows(split):
            last = int(ids[len(channels)].max(initial=0))
            channels.append(np.append(0, np.resize(known, last)))
    rows = with_default_rows((), range(1, len(names) + 2))
    called = zip(rows, ["Background", *names], strict=True)
    samples = Samples(
        pieces=pieces,
        bands=bands,
        units=tuple(scenes[0].band(name).units for name in bands),
        dtype=str(dtype),
        legend=Legend(
            classes=tuple(LandClass(value=v, name=n, colour=c) for (v, _, c), n in called)
        ),
        gsd=round(scenes[0].gsd, 3),
        facts=_facts(request, scenes, splitting),
    )
    notes = [note for one in labels for note in one.notes]
    found = ObjectSamples(samples, tuple(ids), tuple(channels), samples.legend)
    return found, (*notes, *splitting.notes)


def _ids_of(
    labels: Sequence[InstanceLabels],
    splitting: Splitting,
    pieces: Sequence[Labelled],
    scratch: Path,
) -> list[npt.NDArray[np.int32]]:
    """The objects of each piece, in a file where its pixels are in one."""
    found = list[npt.NDArray[np.int32]]()
    for one, split in zip(labels, splitting.scenes, strict=True):
        for window in label_windows(split):
            mapped = isinstance(pieces[len(found)].pixels, np.memmap)
            path = scratch / f"piece-{len(found)}.ids.npy" if mapped else None
            found.append(_read_ids(one, window, path))
    return found


def _read_ids(labels: InstanceLabels, window: Window, path: Path | None) -> npt.NDArray[np.int32]:
    """The objects of a window, in a file or in memory."""
    ids: npt.NDArray[np.int32] = (
        np.zeros(window.shape, np.int32) if path is None else _in_file(path, window.shape, np.int32)
    )
    for strip in _strips(window):
        ids[strip.within(window)] = labels.ids(strip)[0]
    return ids


def _open_scenes(request: Training) -> list[Scene]:
    """The scenes in reflectance where their pixels show how; they have the same bands."""
    if len(request.labels) != len(request.sources):
        raise InputError(
            f"{len(request.sources)} scenes and {len(request.labels)} files of labels; give one "
            "for each"
        )
    scenes = [source.open() for source in request.sources]
    scenes = [calibrate(scene, scene.band_names) for scene in scenes]
    _check_alike(scenes)
    return scenes


def _common_dtype(scenes: Sequence[Scene], bands: Sequence[str]) -> np.dtype[Any]:
    """The type that holds every pixel of these bands."""
    return np.result_type(*(np.dtype(scene.band(name).dtype) for scene in scenes for name in bands))


def _read_samples(
    scenes: Sequence[Scene],
    splitting: Splitting,
    bands: Sequence[str],
    dtype: np.dtype[Any],
    scratch: Path,
    progress: Progress,
) -> tuple[Labelled, ...]:
    """All windows that hold labels; in files in `scratch` where they are more than memory should
    hold."""
    jobs = [
        (scene, split, window)
        for scene, split in zip(scenes, splitting.scenes, strict=True)
        for window in label_windows(split)
    ]
    pixel_bytes = len(bands) * dtype.itemsize + _LABEL_BYTES
    on_disk = sum(window.area for *_, window in jobs) * pixel_bytes > _IN_MEMORY
    pieces = []
    for number, (scene, split, window) in enumerate(jobs):
        path = scratch / f"piece-{number}" if on_disk else None
        pieces.append(_read_sample(scene, bands, split, window, path))
        progress("read", number + 1, len(jobs))
    return tuple(pieces)


def _legend_of(rows: Sequence[tuple[int, str, str]], labels: str | Path) -> Legend:
    """The legend of classes that have a pixel; `InputError` where they are fewer than two."""
    if len(rows) < 2:
        only = f"nothing but {rows[0][1]}" if rows else "no pixel"
        raise InputError(
            f"{labels} labels {only} where the scene has data; label more there, or look at the "
            "scene's no-data value and mask"
        )
    return Legend(classes=tuple(LandClass(value=v, name=n, colour=c) for v, n, c in rows))


def _open_labels(request: Training, scenes: Sequence[Scene]) -> list[Labels]:
    """The labels of each scene. Words are the same class in all files, and numbered in the order of
    all of them."""
    if request.instances:
        both = zip(request.labels, scenes, strict=True)
        return [_open_instances(request, path, scene) for path, scene in both]

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


def _open_instances(request: Training, path: str, scene: Scene) -> InstanceLabels:
    return open_instances(
        path, scene.geobox, width=request.boundary_pixels(scene.gsd), extent=request.labels_extent,
        nodata=request.labels_nodata, column=request.column,
    )  # fmt: skip


def label_windows(split: Split) -> list[Window]:
    """Windows, apart from each other, that hold every label of a scene and what lies around it."""
    whole = Window.of_shape(*split.labels.geobox.shape)
    found: list[Window] = []
    for outer in split.labels.windows():
        there = split.labels.read(outer) > 0
        for block in outer.blocks(PIECE):
            if there[block.within(outer)].any():
                _merge_window(found, block.pad(AROUND) & whole)
    return sorted(found)


def _merge_window(found: list[Window], window: Window) -> None:
    """Add a window; those that meet it become one with it."""
    while touching := [other for other in found if other & window]:
        for other in touching:
            found.remove(other)
            window |= other
    found.append(window)


def _read_sample(
    scene: Scene, bands: Sequence[str], split: Split, window: Window, path: Path | None
) -> Labelled:
    """A window of a scene, its bands in the order of `bands`; in files that are called as `path`,
    or in memory."""
    dtype = _common_dtype([scene], bands)

    def empty(what: str, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
        return (
            np.zeros(shape, kind)
            if path is None
            else _in_file(path.with_suffix(f".{what}.npy"), shape, kind)
        )

    pixels, valid = (
        empty("pixels", (len(bands), *window.shape), dtype),
        empty("valid", window.shape, bool),
    )
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
    """Zeros in a file that has room for all that will take their place; `InputError` where the disk
    has not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return map_array(path, kind, shape)
    except OSError as error:
        raise InputError(
            f"cannot keep pixels in {path}: {error.strerror}; make room there, or name another "
            "folder with --out"
        ) from error


def _check_alike(scenes: Sequence[Scene]) -> None:
    """Scenes that train one model have the same bands in the same units."""
    first = scenes[0]
    for scene in scenes[1:]:
        if set(scene.band_names) != set(first.band_names):
            raise InputError(
                f"{scene.name} has {', '.join(scene.band_names)} and {first.name} has "
                f"{', '.join(first.band_names)}; "
                "give scenes of the same bands, or choose those they share with --bands"
            )
        for name in first.band_names:
            if scene.band(name).units != first.band(name).units:
                raise InputError(
                    f"{name} is {scene.band(name).units} in {scene.name} and "
                    f"{first.band(name).units} in {first.name}; "
                    "say how the numbers scale, for example --scale 0.0001"
                )


def _common_rows(labels: Sequence[Labels]) -> list[tuple[int, str, str]]:
    """The classes of all scenes; `InputError` where a value means two things, or two values one."""
    rows: dict[int, tuple[int, str, str]] = {}
    for one in labels:
        for value, name, colour in one.rows:
            if rows.setdefault(value, (value, name, colour))[1] != name:
                raise InputError(
                    f"value {value} is {name} in {one.path} and {rows[value][1]} before; say what "
                    "values mean, "
                    f"for example --classes {value}={name},…"
                )
    values: dict[str, int] = {}
    for value, name, _ in rows.values():
        if values.setdefault(name, value) != value:
            raise InputError(
                f"{labels[0].path}: {values[name]} and {value} are both called {name}; make one "
                "class of them with "
                f"--regroup {value}={values[name]}, or give them names of their own with --classes"
            )
    return [rows[value] for value in sorted(rows)]


def _facts(request: Training, scenes: Sequence[Scene], splitting: Splitting) -> dict[str, Any]:
    """The sources of a training, for the card; no clock, so equal trainings have equal cards."""
    boxes = [scene.geobox.extent.to_crs("EPSG:4326").boundingbox for scene in scenes]
    west, south = min(box.left for box in boxes), min(box.bottom for box in boxes)
    east, north = max(box.right for box in boxes), max(box.top for box in boxes)
    days = sorted(scene.date.isoformat() for scene in scenes if scene.date)
    when = (
        {"start_datetime": f"{days[0]}T00:00:00Z", "end_datetime": f"{days[-1]}T00:00:00Z"}
        if days
        else {}
    )
    return {
        "scenes": [scene.name for scene in scenes],
        "labels": [Path(path).name for path in request.labels],
        "split": splitting.how,
        **({"instances": _boundary(request)} if request.instances else {}),
        "bbox": [round(degrees, 6) for degrees in (west, south, east, north)],
        **when,
    }


def _boundary(request: Training) -> dict[str, Any]:
    """What of objects is learnt as their boundary."""
    width = request.boundary_width
    if width == "0":
        return {"boundary": "sides of pixels between objects"}
    told = int(width) if width.isdecimal() else width
    return {"boundary_width": told, "boundary": "between objects"}
