"""Fields that are watched: new images are measured, and what falls is told of."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.events import emit_event

from flows.crops.run import CropsPlan, line_of_crops, open_crops
from flows.crops.watch import Watched, watch_crops
from flows.deployments.dates import open_dates, tell_notes
from flows.forms.crops import Judged, Watching, watch_from
from flows.forms.dropdowns import Paths, Text
from flows.forms.groups import Bands, Workers
from flows.forms.requests import cluster_for
from flows.pages.artifacts import key_of, publish_page
from flows.pages.results import files_page
from flows.pages.sentences import count_scenes
from flows.requests.crops.request import CropsRequest
from flows.tasks.bar import Bar
from flows.tasks.runs import Outcome, as_flow, asset, logger, name_outcome, run_task
from flows.tasks.words import in_form_words

EVENT = "landweave.crops.dropped"
"""The event that an automation waits for: once for each call that found fields which fell."""

MOST = 100
"""Fields that an event names, and rows of a table."""


@as_flow(
    "crop-monitor",
    "Watch fields: measure what is new since last time, tell of those whose index has dropped.",
    CropsRequest,
)
def crop_monitor(
    bar: Bar,
    folders_or_catalogue: Paths,
    fields: Text,
    output_folder: Text,
    watch: Watching = Watching(),  # noqa: B008 - frozen
    judging: Judged = Judged(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
    advanced: Workers = Workers(),  # noqa: B008 - frozen
) -> Outcome:
    """Follow an index in each field, and tell of those that fall. Made for a schedule: what was
    missed is caught up with, nothing is told twice.

    Args:
        folders_or_catalogue: Folders in which new images arrive, whose date is in the file or in
            its name; or, with Search, the address of one STAC catalogue.
        fields: Polygon layer of the fields.
        output_folder: Folder of the tables, layers and pictures; the same in every run.
        watch: From which drop of the first index on somebody hears of a field, and which files are
            images, or what is searched for.
        judging: Which indices, and by what a field is judged.
        bands: What the bands are, where the files do not say it.
        advanced: Where the work is done. Nothing here changes a result.
    """
    request = watch_from(folders_or_catalogue, fields, output_folder, watch, judging, bands)
    bar.reach(0, "look for images")
    progress = bar.along({"series": 1})
    on = cluster_for(advanced)

    def open(crops: CropsRequest, paths: Sequence[tuple[str, ...]]) -> CropsPlan:
        told = "Open the images, read the fields"
        plan = open_dates(crops, partial(open_crops, paths=paths), told, on, paths)
        tell_notes(plan.images)
        return plan

    watched = watch_crops(request, tell, open=open, on=on, progress=progress)
    for problem in watched.problems:
        logger().warning("%s", in_form_words(problem))
    words = news(watched)
    name_outcome(words)
    place = f"{count_scenes(watched.images)} in {watched.folder.resolve()}"
    files = watched.crops.files if watched.crops else ()
    return Outcome(f"{words}; {place}", files, news=bool(watched.alerts))


def news(watched: Watched) -> str:
    """What a call found, in a few words."""
    told = [f"+{count_scenes(len(watched.made))}"] if watched.made else []
    if watched.alerts:
        count = len({alert.field for alert in watched.alerts})
        told.append(f"{count:,} field{'s' * (count > 1)} dropped")
    return ", ".join(told) or "no news"


def tell(watched: Watched) -> None:
    """Publish what is new as a task run that makes the fields an asset."""
    run_task(
        "report",
        "The map, the files, and the fields that fell",
        partial(publish, watched),
        assets=[asset(watched.folder / "crops.gpkg", f"Fields of {watched.folder.name}")],
    )


def publish(watched: Watched) -> None:
    """Leave the report, and of fields that fell a table and an event."""
    assert watched.crops is not None  # it is called where there is something new
    folder = watched.folder.resolve()
    pictures = [folder / "map.png", folder / "crops.png"]
    page = files_page(folder, watched.crops.files, pictures, line_of_crops(watched.crops.plan))
    publish_page("crops", folder.name, folder, f"Fields of {folder.name}: {news(watched)}", page)
    if not watched.alerts:
        return
    key, rows = key_of(folder.name, folder), [alert.facts for alert in watched.alerts]
    create_table_artifact(
        [{name: str(value) for name, value in row.items()} for row in rows[:MOST]],
        key=f"alerts-{key}",
        description=f"Fields that dropped, of {folder.name}; report: {folder / 'report.html'}",
    )
    emit_event(
        EVENT,
        resource={
            "prefect.resource.id": f"landweave.crops.{key}",
            "prefect.resource.name": folder.name,
        },
        payload=payload_of(watched, rows),
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"{folder} {[*map(str, rows)]}"),
    )


def payload_of(watched: Watched, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What an automation is told: a sentence, how many fields, and the first of them."""
    worst = rows[0]
    more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
    return {
        "message": f"{worst['name']}: {worst['index']} fell from {worst['was']:g} on "
        f"{worst['before']} to {worst['is']:g} on {worst['date']}{more}",
        "count": len(rows),
        "fields": rows[:MOST],
        "folder": str(watched.folder.resolve()),
    }
