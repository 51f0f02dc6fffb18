"""A place watched over time: what is new is segmented, compared with the map before it, and
published.

Each call looks at all there is and does what is missing, and nothing else: a call that comes late
catches up, one that follows a crash goes on. What is done is told by entries that are written last;
the series, its changes and all that is published follow from them alone. An image that arrives late
takes its place in the order of dates, and the changes on either side of it are those of the new
neighbours.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.change.detect import change
from flows.composite.scenes import FoundScene, is_settled, scenes_of
from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.errors import INPUT_ERRORS
from flows.reports import catalogue
from flows.reports.catalogue import Catalogue, ChangeEntry, Entry
from flows.reports.tables import csv_text
from flows.requests.change import ChangeRequest
from flows.requests.commandline import monitor_line
from flows.requests.overwriting import check_series
from flows.requests.series import MonitorRequest
from flows.series import publish
from flows.series.collection import Run, fit_to_all, folder_of, in_order, segment_each
from flows.series.one_fit import doubt
from flows.stac.query import NothingFound
from flows.storage.keys import content_key
from flows.storage.lock import folder_lock
from segmentation.legend import UNKNOWN
from tiling.errors import InputError
from tiling.io.files import write_text

FORMAT = 1
"""Version of what a change or a table of zones holds; raised when older ones have to be made
again."""

RUNS, CHANGES = "runs", "changes"

SAME_PLACE = 0.5
"""Two maps show one place where they share at least this part of the smaller one."""

Find = Callable[[], Iterable[FoundScene]]
"""Looks for scenes, for example in a STAC catalogue."""


@dataclass(frozen=True)
class MonitorResult:
    """The series of a monitor after a call, and what the call mapped and compared."""

    folder: Path
    series: Catalogue
    made: tuple[str, ...]
    """Scenes mapped by this call."""
    compared: tuple[str, ...]
    """Changes computed by this call."""
    files: tuple[Path, ...]


def monitor(
    request: MonitorRequest,
    find: Find | None = None,
    *,
    on: Cluster = HERE,
    progress: Progress = silent,
    run: Run | None = None,
    today: datetime.date | None = None,
) -> MonitorResult:
    """Catch up with what is there, and publish.

    `find` says which scenes there are; without it the template's folders are looked at. A scene
    that fails, is too cloudy or has no date is told of and is not part of the series; one that
    failed is tried again when its files change. Raises `InputError` where nothing can be done at
    all.
    """
    template, out = request.template, folder_of(request.template)
    with folder_lock(out):
        check_series(out, out / RUNS, template)
        scenes = find_new_scenes(request, find)
        found = [scene for scene in scenes if is_settled(scene, request.settle_seconds)]
        template, notes = fit_to_all(template, found, out, each=request.fit_each, keep=True)
        _, made = segment_each(found, template, out / RUNS, on=on, progress=progress, run=run)
        entries = all_entries(out / RUNS)  # of scenes too whose files are gone since
        unused = unusable(request, entries)
        used = [entry for entry in entries if entry.status == "done" and entry.name not in unused]
        changes, compared = compare_all(request, used, out, progress)
        records = [out / RUNS / entry.name / "run.json" for entry in used]
        day = today or datetime.datetime.now(datetime.UTC).date()
        told = (
            *doubt(records, template.segmenter),
            *warnings(request, entries, used, changes, day),
        )
        title = request.title or f"Land use in {out.resolve().name}"
        zones, line = measure_zones(request, used, out), monitor_line(request)
        hidden = (*request.cloud_classes, UNKNOWN)
        series = Catalogue(title, entries, RUNS, unused, changes, zones, told, hidden, line, notes)
        files = publish.write(series, out)
        drop_stale(out / CHANGES, changes)
    return MonitorResult(out, series, tuple(made), tuple(compared), files)


def find_new_scenes(request: MonitorRequest, find: Find | None) -> list[FoundScene]:
    """The scenes that are there now; `InputError` where the place to look at is not."""
    if find is not None:
        return list(find())
    for place in request.template.source.paths:
        if not Path(place).exists():
            raise InputError(f"{place} is not there; name the folder that new scenes arrive in")
    try:
        return list(scenes_of(request.template.source, request.pattern))
    except NothingFound:
        return []


def all_entries(runs: Path) -> tuple[Entry, ...]:
    """Every entry there is, in the order of dates."""
    folders = [file.parent for file in sorted(runs.glob(f"*/{catalogue.ENTRY}"))]
    return in_order(entry for folder in folders if (entry := Entry.read(folder)))


def unusable(request: MonitorRequest, entries: Iterable[Entry]) -> dict[str, str]:
    """Scenes that are mapped and yet no part of the series, with the reason."""
    reasons = {}
    for entry in entries:
        hidden = share_obscured(request, entry)
        if entry.status != "done":
            continue
        if not entry.date:
            reasons[entry.name] = (
                "nothing tells its date; put it into the file's name, like 2024-06-30"
            )
        elif hidden > request.max_invalid:
            reasons[entry.name] = (
                f"{100 * hidden:.0f} % is cloud or without data, more than "
                f"{100 * request.max_invalid:.0f} %"
            )
    return reasons


def share_obscured(request: MonitorRequest, entry: Entry) -> float:
    """The part of the area, 0–1, of which a map does not show the ground."""
    clouds = sum(row.share for row in entry.areas if row.class_name in request.cloud_classes)
    return entry.invalid + (1 - entry.invalid) * clouds


def warnings(
    request: MonitorRequest,
    entries: Sequence[Entry],
    used: Sequence[Entry],
    changes: Sequence[ChangeEntry],
    today: datetime.date,
) -> Iterable[str]:
    """Sentences on changes and gaps that somebody should look at."""
    if not used:
        yield "there is no usable scene yet"
    elif request.expect_days:
        late = (today - datetime.date.fromisoformat(used[-1].date)).days
        if late > request.expect_days:
            yield (
                f"the newest usable scene is {late} days old, and one is expected every "
                f"{request.expect_days}"
            )
    for entry in entries:
        if entry.status == "failed":
            yield f"{entry.name} failed: {entry.message}"
    for one in changes:
        if one.message:
            yield f"no change from {one.earlier} to {one.later}: {one.message}"


# ------------------------------------------------------------------------------------------- change


def compare_all(
    request: MonitorRequest, used: Sequence[Entry], out: Path, progress: Progress
) -> tuple[tuple[ChangeEntry, ...], list[str]]:
    """The change of each map from the one before it of the same place, and which of these are
    new."""
    pairs = list(neighbours(used))
    found, made = [], []
    for done, (earlier, later) in enumerate(pairs, start=1):
        folder = out / CHANGES / f"{earlier.name}--{later.name}"
        key = change_key(request, earlier, later)
        known = ChangeEntry.read(folder)
        if known is None or known.key != key:
            known = compare(request, earlier, later, out, folder, key)
            made.append(folder.name)
        found.append(known)
        progress("changes", done, len(pairs))
    return tuple(found), made


def neighbours(used: Sequence[Entry]) -> Iterable[tuple[Entry, Entry]]:
    """Each map with the newest one before it that shows the same place."""
    import shapely

    shapes = [shapely.from_geojson(json.dumps(entry.footprint)) for entry in used]
    for place, later in enumerate(used):
        for before in range(place - 1, -1, -1):
            shared = shapely.intersection(shapes[place], shapes[before]).area
            if used[before].date < later.date and shared >= SAME_PLACE * min(
                shapes[place].area, shapes[before].area
            ):
                yield used[before], later
                break


def change_key(request: MonitorRequest, earlier: Entry, later: Entry) -> str:
    """Content key of all that a change follows from."""
    return content_key(
        {
            "format": FORMAT,
            "maps": [earlier.key, later.key],
            "clouds": list(request.cloud_classes),
            "min_area": request.min_change_area,
            "min_confidence": request.min_confidence,
            "simplify": request.template.simplify,
        }
    )


def compare(
    request: MonitorRequest, earlier: Entry, later: Entry, out: Path, folder: Path, key: str
) -> ChangeEntry:
    """The change between two runs, its products in `folder` and its entry written last."""
    runs = [out / RUNS / entry.name for entry in (earlier, later)]
    entry = ChangeEntry(folder.name, key, earlier.name, later.name, earlier.date, later.date)
    asked = ChangeRequest(
        earlier=str(runs[0]),
        later=str(runs[1]),
        out=folder,
        hidden=request.cloud_classes,
        min_area=request.min_change_area,
        min_confidence=request.min_confidence,
        simplify=request.template.simplify,
        fresh=True,  # its key says whether it is to be made
    )
    (folder / catalogue.ENTRY).unlink(missing_ok=True)
    try:
        result = change(asked)
    except INPUT_ERRORS as mistake:
        entry = replace(entry, message=str(mistake))
    else:
        entry = replace(
            entry,
            aligned=result.aligned,
            compared_m2=result.compared_m2,
            changed_m2=result.changed_m2,
            transitions=tuple(
                (result.classes[i][1], result.classes[j][1], pixels, metres)
                for i, j, pixels, metres in result.transitions()
            ),
        )
    entry.write(folder)
    return entry


def drop_stale(folder: Path, changes: Sequence[ChangeEntry]) -> None:
    """Remove changes between maps that are no longer neighbours: nothing published points at them
    any more."""
    kept = {one.name for one in changes}
    for old in folder.iterdir() if folder.exists() else ():
        if old.name not in kept:
            shutil.rmtree(old)


# -------------------------------------------------------------------------------------------- zones


def measure_zones(request: MonitorRequest, used: Sequence[Entry], out: Path) -> str:
    """CSV of all zones at all dates; each run has the layer in its folder. Empty without zones."""
    from flows.products.zones import zones

    if not request.zones:
        return ""
    path = Path(request.zones)
    if not path.exists():
        raise InputError(f"{path} is not there; name a polygon layer with --zones, or leave it out")
    status = path.stat()
    tables = []
    for entry in used:
        folder = out / RUNS / entry.name
        facts = {
            "format": FORMAT,
            "map": entry.key,
            "zones": [str(path), status.st_size, status.st_mtime_ns],
        }
        key, mark = content_key(facts), folder / "zones.json"
        if not mark.exists() or json.loads(mark.read_text(encoding="utf-8"))["key"] != key:
            mark.unlink(missing_ok=True)
            zones(folder / "classes.tif", path, folder / "zones.gpkg")
            write_text(mark, json.dumps({"key": key}))
        text = (folder / "zones.csv").read_text(encoding="utf-8")
        tables += [
            {"scene": entry.name, "date": entry.date, **row}
            for row in csv.DictReader(io.StringIO(text))
        ]
    header = list(dict.fromkeys(name for row in tables for name in row))
    return csv_text(header, [[row.get(name, "") for name in header] for row in tables])
