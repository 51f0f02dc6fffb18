"""Many scenes, one request: each is segmented into a folder of its own, and one report tells of
all.

A scene that fails does not stop the others. A scene that is done is known by the content key in its
entry, which is written last: whatever happens, the next call does what is missing and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.composite.scenes import FoundScene, scenes_of
from flows.compute.cluster import HERE, Cluster, start
from flows.compute.progress import Progress, silent
from flows.compute.work import Work
from flows.reports import catalogue
from flows.reports.catalogue import Catalogue, Entry
from flows.requests.commandline import collection_line
from flows.requests.overwriting import check_collection, check_series
from flows.requests.request import Request
from flows.requests.series import CollectionRequest
from flows.run import pipeline
from flows.run.record import Published
from flows.series import publish
from flows.series.job import Job, entry_of, request_for
from flows.series.one_fit import doubt, fit_series
from flows.storage.keys import content_key
from flows.storage.lock import folder_lock
from tiling.errors import InputError

SCENE_BYTES = 2**31
"""What a process takes for a scene of a few shards, about."""

Run = Callable[[Request], Published]
"""Makes the products of one request: the pipeline, or whatever watches it at work."""


@dataclass(frozen=True)
class CollectionResult:
    """Every scene of a collection with its state, which of them were done now, and files."""

    folder: Path
    entries: tuple[Entry, ...]
    """Every scene, in the order of dates."""
    made: tuple[str, ...]
    """Names of the scenes done this time; the others were there."""
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the figures rest on."""

    @property
    def failed(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status == "failed")

    def check(self) -> None:
        """Raise `InputError` where a scene failed."""
        if self.failed:
            first = self.failed[0]
            raise InputError(
                f"{len(self.failed)} of {len(self.entries)} scenes failed and the others are "
                "done; the first, "
                f"{first.name}: {first.message}"
            )


def collect(
    request: CollectionRequest,
    scenes: Iterable[FoundScene] | None = None,
    *,
    on: Cluster = HERE,
    progress: Progress = silent,
    run: Run | None = None,
) -> CollectionResult:
    """Segment every scene and report on all; what failed is in the entries, and what is done is not
    done again.

    `scenes` are those of the template's files unless others are given. Raises `InputError` where
    there are none.
    """
    template = request.template
    found = list(scenes_of(template.source, request.pattern) if scenes is None else scenes)
    if not found:
        raise InputError(
            f"there are no scenes in {', '.join(template.source.paths)}; name a folder that holds "
            "rasters"
        )
    out = folder_of(template)
    with folder_lock(out):
        check_series(out, out, template)
        held_paths = [path for paths in paths_of_entries(out).values() for path in paths]
        check_collection(
            out, held_paths, [path for scene in found for path in scene.paths], template
        )
        template, notes = fit_to_all(template, found, out, each=request.fit_each)
        entries, made = segment_each(found, template, out, on=on, progress=progress, run=run)
        title = request.title or f"Collection {out.resolve().name}"
        warnings = doubt([out / entry.name / "run.json" for entry in entries], template.segmenter)
        series = Catalogue(
            title,
            in_order(entries),
            command=collection_line(request),
            warnings=warnings,
            notes=notes,
        )
        files = publish.write(series, out)
    return CollectionResult(out, in_order(entries), tuple(made), files, warnings, notes)


def fit_to_all(
    template: Request, found: Sequence[FoundScene], out: Path, *, each: bool, keep: bool = False
) -> tuple[Request, tuple[str, ...]]:
    """The template with its segmenter fitted on all scenes together, and what to say of that; see
    `flows.series.one_fit`."""
    segmenter = template.segmenter
    if each or not segmenter.one_fit:
        return template, ()
    sources = [request_for(scene, template, out).source for scene in found]
    keys = sorted(Job("", scene, template, out).key_and_scene()[0] for scene in found)
    fit = fit_series(
        segmenter, sources, content_key({"scenes": keys}), out, keep=keep, fresh=template.fresh
    )
    return template.model_copy(update={"segmenter": fit.segmenter}), fit.notes


def folder_of(template: Request) -> Path:
    """The folder that holds the runs; `InputError` where it is on no disk."""
    if not isinstance(template.out, Path):
        raise InputError(
            f"{template.out} is on no disk; a folder of many runs is kept on one and copied from "
            "there"
        )
    return template.out


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """By date; those without one come first."""
    return tuple(sorted(entries, key=lambda entry: (entry.date, entry.name)))


def segment_each(
    found: Sequence[FoundScene],
    template: Request,
    runs: Path,
    *,
    on: Cluster = HERE,
    progress: Progress = silent,
    run: Run | None = None,
) -> tuple[list[Entry], list[str]]:
    """An entry for each scene, its run in a folder of `runs`; and the names of those that were not
    there before.

    On this machine small scenes are shared out whole among its workers; the workers share the
    shards of a large one.
    """
    jobs = [
        Job(name, scene, template, runs / name) for name, scene in folder_names(found, runs).items()
    ]
    entries = {job.name: entry for job in jobs if (entry := job.earlier_entry())}
    missing = [job for job in jobs if job.name not in entries]
    made = [job.name for job in missing]
    shared = (
        [job for job in missing if job.small()]
        if run is None and on.kind == "local" and on.workers != 0
        else []
    )
    total = len(jobs)
    progress("scenes", len(entries), total)
    if shared:
        gpu = template.segmenter.uses_gpu
        with start(on, Work(len(shared), SCENE_BYTES, gpu)) as pool:
            for job, outcome in pool.as_completed(segment_one, shared, gpu=gpu):
                entries[job.name] = (
                    outcome if isinstance(outcome, Entry) else _entry_of_error(job, outcome)
                )
                progress("scenes", len(entries), total)
    for job in missing:
        if job.name not in entries:
            entries[job.name] = segment_one(job, run or partial(pipeline.run, on=on))
            progress("scenes", len(entries), total)
    return [entries[job.name] for job in jobs], made


def segment_one(job: Job, run: Run = pipeline.run) -> Entry:
    """The entry of one scene, after its run. A failure is an entry too."""
    try:
        key, _ = job.key_and_scene()
        request = request_for(job.scene, job.template, job.folder)
        request.source.unmasked.open()  # what does not open is told at once
        # of products that are about to change
        (job.folder / catalogue.ENTRY).unlink(missing_ok=True)
        entry = entry_of(job.name, key, job.scene, request, run(request), job.folder)
    except Exception as error:  # whatever happens to one scene is no reason to leave the others
        return _entry_of_error(job, error)
    entry.write(job.folder)
    return entry


def _entry_of_error(job: Job, error: Exception) -> Entry:
    entry = job.entry_of_error(error)
    entry.write(job.folder)
    return entry


def paths_of_entries(runs: Path) -> dict[str, tuple[str, ...]]:
    """The paths of the scene of each run in a folder, by the run's name."""
    files = sorted(runs.glob(f"*/{catalogue.ENTRY}"))
    return {
        file.parent.name: tuple(json.loads(file.read_text(encoding="utf-8"))["paths"])
        for file in files
    }


def folder_names(found: Sequence[FoundScene], runs: Path) -> dict[str, FoundScene]:
    """A folder's name for each scene: the one it has had before, else its file's, with a mark where
    that is taken."""
    taken = paths_of_entries(runs)
    known = {paths: name for name, paths in taken.items()}
    result: dict[str, FoundScene] = {}
    for scene in found:
        name = known.get(scene.paths)
        if name is None:
            name = scene.name or re.sub(
                r"[^\w.-]+", "_", Path(scene.paths[0].rpartition("=")[2]).stem
            )
            if taken.get(name, scene.paths) != scene.paths:
                name = f"{name}-{hashlib.sha256(' '.join(scene.paths).encode()).hexdigest()[:6]}"
            taken[name] = scene.paths
        result[name] = scene
    return result
