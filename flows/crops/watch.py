"""Fields watched over time: new images are measured, and what falls is told of once.

Each call looks at all there is. Dates that were measured are kept in the hidden folder `.dates` of
the output folder; what was told of lies in `told.json`, written once it was told.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.composite.scenes import FoundScene, is_settled, scenes_of
from flows.compute import cluster
from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.crops.judge import Judgement
from flows.crops.run import RECORD, Crops, CropsPlan, open_crops, run_crops
from flows.errors import INPUT_ERRORS
from flows.requests.crops.request import CropsRequest
from flows.requests.crops.watch import Alerts, CropsWatch
from flows.stac.query import NothingFound
from flows.storage.keys import content_key, versions
from flows.storage.lock import folder_lock
from flows.timeseries.zone_figures import FALLING
from tiling.errors import InputError
from tiling.io.files import make_folder, write_text

TOLD = "told.json"
"""Which images were looked at for drops, and what the files here follow from."""


@dataclass(frozen=True)
class Alert:
    """A field whose index fell from one date to the next."""

    field: int
    """From 1."""
    name: str
    crop: str
    index: str
    before: datetime.date
    was: float
    date: datetime.date
    value: float

    @property
    def facts(self) -> dict[str, Any]:
        """What a table or an event says of it."""
        crop = {"crop": self.crop} if self.crop else {}
        return {
            "field": self.field, "name": self.name, **crop, "index": self.index,
            "before": str(self.before), "was": self.was,
            "date": str(self.date), "is": self.value, "change": round(self.value - self.was, 4),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Watched:
    """The fields after a call: what there is, and what the call found."""

    folder: Path
    crops: Crops | None
    """None where there was nothing new."""
    images: int
    made: tuple[str, ...]
    """Images that were new."""
    alerts: tuple[Alert, ...]
    problems: tuple[str, ...]
    """Of images that were left out, with the reason."""


Open = Callable[[CropsRequest, Sequence[tuple[str, ...]]], CropsPlan]
"""Opens images by their paths, several of one image being a mosaic."""

Tell = Callable[[Watched], None]
"""Tells somebody; what it was told is not told again once it returns."""


def watch_crops(
    request: CropsWatch,
    tell: Tell = lambda _: None,
    *,
    open: Open = open_crops,
    on: Cluster = HERE,
    progress: Progress = silent,
) -> Watched:
    """Catch up with the images there are, and tell of fields that fell on dates that are new.

    The first call tells of the newest image alone. An image that cannot be opened, or whose day
    nothing says, is left out and told of. Raises `InputError` where nothing can be done at all.
    """
    out = make_folder(request.crops.out)
    with folder_lock(out):
        found, problems = find_images(request)
        names = tuple(sorted(name_of(one) for one in found))
        told = read_told(out)
        seen: list[str] = told.get("images", [])
        state = content_key({**_facts(request.crops), "images": names})
        if not found or (told.get("state") == state and (out / RECORD).exists()):
            return Watched(out, None, len(found), (), (), problems)
        plan = open(request.crops, [one.paths for one in found])
        dates = make_folder(out / ".dates")
        for half_written in dates.glob("tmp*"):
            half_written.unlink()
        plan = replace(plan, lasting=dates, notes=(*plan.notes, *problems))
        with cluster.start(on, plan.work) as pool:
            crops = run_crops(plan, pool, progress)
        files = [[one.bands[0].path for one in scene.acquisitions] for scene in plan.images.scenes]
        new = {at for at, paths in enumerate(files) if not {*paths} <= {*seen}}
        looked_at = new if seen else {len(files) - 1}
        found_drops = find_drops(
            crops.judged, plan.images.dates, plan.series.zone_names, request.alerts, looked_at
        )
        before = told.get("alerts", [])
        # of a day that gets another tile only what is new
        alerts = [one for one in found_drops if [one.field, str(one.date)] not in before]
        made = tuple(plan.images.scenes[at].name for at in sorted(new))
        watched = Watched(out, crops, len(found), made, tuple(alerts), problems)
        tell(watched)
        looked = sorted({*seen, *(path for paths in files for path in paths)})
        heard = [*before, *([one.field, str(one.date)] for one in alerts)]
        state_now = {"state": state, "images": looked, "alerts": heard}
        write_text(out / TOLD, json.dumps(state_now, indent=2) + "\n")
    return watched


def read_told(out: Path) -> dict[str, Any]:
    """What `told.json` of a folder says; nothing where there is none."""
    path = out / TOLD
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def _facts(request: CropsRequest) -> dict[str, Any]:
    """What files follow from besides the images."""
    status = Path(request.fields).stat() if Path(request.fields).exists() else None
    fields = [status.st_size, status.st_mtime_ns] if status else []
    return {"request": request.model_dump(mode="json"), "fields": fields, "versions": versions()}


def name_of(scene: FoundScene) -> str:
    """What tells an image from others: its files, and whether they were replaced."""
    files = [Path(path) for path in scene.paths if Path(path).exists()]
    times = [file.stat().st_mtime_ns for file in files]
    return json.dumps([*scene.paths, *times])


def find_images(request: CropsWatch) -> tuple[list[FoundScene], tuple[str, ...]]:
    """The images that are there and can be used, and why others cannot."""
    source = request.crops.source
    for place in source.paths if source.search is None else ():
        if not Path(place).exists():
            raise InputError(f"{place} is not there; name the folder that new scenes arrive in")
    try:
        found = list(scenes_of(source, request.pattern))
    except NothingFound:
        found = []
    usable, problems = [], []
    for scene in found:
        if not is_settled(scene, request.alerts.settle_seconds):
            continue
        try:
            about = {"paths": scene.paths, "search": None, "bbox": None, "date": None}
            opened = source.model_copy(update=about).unmasked.open()
        except INPUT_ERRORS as mistake:
            problems.append(f"left out: {mistake}")
            continue
        if opened.date or scene.date or source.date:
            usable.append(scene)
        else:
            problems.append(
                f"left out: nothing tells the date of {opened.name}; put it into the file's name, "
                "like 2024-06-30"
            )
    return usable, tuple(problems)


def find_drops(
    judged: Judgement,
    dates: Sequence[datetime.date],
    names: Sequence[str] | None,
    alerts: Alerts,
    looked_at: Collection[int],
) -> list[Alert]:
    """Fields whose first index fell to one of some dates, the worst first.

    It is compared with the newest earlier date on which the field is judged, `within_days` at most.
    Of an index that falls as plants do better it is the rise that counts.
    """
    index = judged.figures.names[0]
    sign = -1 if index in FALLING else 1
    crops, found = judged.fields.crops, []
    for at in sorted(looked_at):
        earlier = [
            i for i, day in enumerate(dates) if 0 < (dates[at] - day).days <= alerts.within_days
        ]
        for field in np.flatnonzero(~np.isnan(judged.value[at, 0])).tolist():
            known = [i for i in earlier if not np.isnan(judged.value[i, 0, field])]
            if not known:
                continue
            was, value = (float(judged.value[i, 0, field]) for i in (known[-1], at))
            fall = sign * (was - value)
            if fall < alerts.drop or fall <= 0 or 100 * fall < alerts.drop_percent * abs(was):
                continue
            name = names[field] if names is not None else f"field {field + 1}"
            crop = crops[field] if crops is not None else ""
            one = Alert(
                field + 1, name, crop, index, dates[known[-1]], round(was, 4), dates[at],
                round(value, 4),
            )  # fmt: skip
            found.append((-fall, at, field, one))
    return [row[-1] for row in sorted(found, key=lambda row: row[:3])]
