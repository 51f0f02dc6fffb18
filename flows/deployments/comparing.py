"""Flows that take maps which are there: what became of what between two, and the classes in each of
many zones."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from prefect.artifacts import create_table_artifact

from flows.change.detect import compare, work_pieces
from flows.change.model import Change, ObjectChange
from flows.change.page import sum_up_change
from flows.compute import cluster
from flows.compute.spawning import empty_main
from flows.compute.work import Work
from flows.forms.dropdowns import ComparedChoice, MapChoice, Text
from flows.forms.groups import Advanced, Changes
from flows.forms.naming import place
from flows.forms.paths import path_of
from flows.forms.requests import changes_from, cluster_for, within_reach
from flows.pages.artifacts import key_of, publish_page
from flows.pages.results import change_page, files_page
from flows.products.zones import zones as measure
from flows.requests.change import ChangeRequest
from flows.requests.commandline import change_line, zones_line
from flows.requests.maps import ZonesRequest
from flows.tasks.bar import Bar
from flows.tasks.runs import Outcome, as_flow, asset, name_outcome, run_task

BLOCK_BYTES = 2**30
"""What a worker takes to compare a block of two maps."""

MOST_ROWS = 500
"""Rows of a table on a page."""


@as_flow(
    "compare-maps",
    "Compare two maps of a place: what became of what, in hectares, as polygons, raster and "
    "pictures.",
    ChangeRequest,
)
def compare_maps(
    bar: Bar,
    earlier: ComparedChoice,
    later: ComparedChoice,
    output_folder: Text,
    changes: Changes = Changes(),  # noqa: B008 - frozen
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen
) -> Outcome:
    """Compare two maps of a place, or the objects of two days.

    Args:
        changes: What counts as a change.
        advanced: Where the work is done. Nothing here changes a result.
    """
    request = changes_from(earlier, later, output_folder, changes, advanced)
    bar.reach(0, "open both maps")
    work = Work(work_pieces(request), BLOCK_BYTES)
    progress = bar.along({"compare": 2, "change": 3, "vectorise": 2})
    with empty_main(), cluster.start(cluster_for(advanced), work, bar.wait) as pool:
        result = run_task(
            "compare",
            "Count what became of what, draw it, cut it out as polygons",
            partial(compare, request, pool, progress),
            assets=[asset(request.out / "change.gpkg", "Polygons of what changed")],
        )
    name_outcome(sum_up_change(result))
    publish_change(result, request)
    return Outcome(f"{sum_up_change(result)}; in {request.out.resolve()}", result.files)


def publish_change(result: Change | ObjectChange, request: ChangeRequest) -> None:
    """Leave the pictures, the files and what became of what with the flow run."""
    out, between = request.out.resolve(), f"{place(request.earlier)} → {place(request.later)}"
    page = change_page(result, out, change_line(request))
    publish_page("change", out.name, out, f"{between}: {sum_up_change(result)}", page)
    key = key_of(out.name, out)
    create_table_artifact(
        list_rows(result), key=f"transitions-{key}", description=f"What became of what, {between}"
    )


def list_rows(result: Change | ObjectChange) -> list[dict[str, Any]]:
    """What became of what, a row each."""
    if isinstance(result, ObjectChange):
        return [
            {
                "kind": one.name,
                "objects before": f"{one.before:,}",
                "objects now": f"{one.after:,}",
                "hectares before": f"{one.before_m2 / 1e4:,.2f}",
                "hectares now": f"{one.after_m2 / 1e4:,.2f}",
            }
            for one in result.kinds
        ]
    return [
        {
            "was": result.classes[was][1],
            "is": result.classes[now][1],
            "hectares": f"{metres / 1e4:,.1f}",
            "pixels": f"{pixels:,}",
        }
        for was, now, pixels, metres in islice(result.transitions(), MOST_ROWS)
    ]


@as_flow(
    "zonal-areas",
    "Measure the classes of a map in zones, such as parcels or districts: a layer and a table of "
    "areas and shares.",
    ZonesRequest,
)
def zonal_areas(
    bar: Bar,
    map: MapChoice,
    zones: Text,
    output_folder: Text,
) -> Outcome:
    """Measure the classes of a map in each of many zones.

    Args:
        output_folder: Folder for zones.gpkg and zones.csv; made if need be.
    """
    map, zones, out = path_of(map), path_of(zones), Path(path_of(output_folder))
    within_reach(zones, out)
    bar.reach(0, "read the zones")
    raster = Path(map) / "classes.tif" if Path(map).is_dir() else Path(map)
    found = run_task(
        "measure",
        "Count every class in every zone",
        partial(measure, raster, Path(zones), out / "zones.gpkg", bar.along({"zones": 1})),
        assets=[asset(out / "zones.gpkg", f"Classes of {raster.name} in {Path(zones).name}")],
    )
    out, files = out.resolve(), [found.layer, found.table]
    command = zones_line(str(raster), zones, str(found.layer))
    publish_page(
        "zones",
        out.name,
        out,
        f"Classes of {map} in {zones}",
        files_page(out, files, command=command),
    )
    rows = [
        {name: format_value(value) for name, value in row.items()} for row in found.rows[:MOST_ROWS]
    ]
    create_table_artifact(
        rows,
        key=f"areas-in-zones-{key_of(out.name, out)}",
        description=f"Classes of {map} in {zones}",
    )
    return Outcome(f"{len(found.rows):,} zones measured; in {out.resolve()}", files)


def format_value(value: Any) -> str:
    """A figure as a table shows it."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:,.4g}"
    return "" if value is None else str(value)
