"""A series to read: where it stands, what changed, every map; in full for the browser, in short as
Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.reports.blocks import (
    Aside,
    Block,
    Column,
    Heading,
    Link,
    Notice,
    Strong,
    Table,
    Text,
    Words,
)
from flows.reports.catalogue import (
    COLLECTED,
    Catalogue,
    ChangeEntry,
    Entry,
    classes_of,
    status_text,
)
from flows.reports.medium import Medium, Place
from flows.reports.pieces import (
    REPORT,
    head_files,
    link_files,
    link_line,
    list_areas,
    list_files,
    paint,
    repeat_by,
    show_picture,
    warn,
)
from flows.stac.run_item import ASSETS

MOST_ROWS = 20
"""Rows of the table of the last change."""

FEW_ROWS = 6
"""The same where every change has a table."""

CHART_ALT = "Share of each class in the ground that was seen"


def describe_series(
    catalogue: Catalogue, folder: Path, medium: Medium, command: str
) -> list[Block]:
    """Everything: areas over time, every change and every map with its pictures."""
    used = catalogue.used
    blocks = [*_caveats(catalogue, medium), *_newest(catalogue, folder, medium, anchor=True)]
    if used:
        title = "Areas, in hectares, and percent of the ground that was seen"
        blocks += [Heading(title), _areas_over_time(catalogue)]
    blocks += _chart(folder, medium)
    blocks += [Heading("Change")] if catalogue.changes else []
    for change in reversed(catalogue.changes):
        blocks += _change(change, folder, medium, level=3, share=0.5)
    blocks += [Heading("Scenes"), list_scenes(catalogue, folder, medium, anchors=True)]
    if len(used) > 1:
        blocks.append(Heading("Earlier maps"))
    for entry in reversed(used[:-1]):
        blocks += _map(catalogue, entry, folder, medium, anchor=True)
    return blocks + _rest(folder, files_of(folder), medium, command)


def summarise_series(
    catalogue: Catalogue, folder: Path, files: Sequence[Place], medium: Medium, command: str
) -> list[Block]:
    """In short: the newest map, shares over time, what changed last, what came of every scene, the
    files."""
    share = 0.25  # of what a page may weigh: there are up to three pictures
    blocks = [*_caveats(catalogue, medium), *_newest(catalogue, folder, medium, share=2 * share)]
    blocks += link_line({"the whole report": folder / REPORT, "all files": folder}, medium)
    if used := catalogue.used:
        blocks.append(_areas_of(used[-1]))
    blocks += _chart(folder, medium, share)
    for change in catalogue.changes[-1:]:
        blocks += _change(change, folder, medium, level=2, share=share)
    blocks += [Heading("Scenes"), list_scenes(catalogue, folder, medium)]
    return blocks + _rest(folder, files, medium, command)


def files_of(folder: Path) -> list[Place]:
    """The files of the whole that are there, and the collection that is written last."""
    names = [name for name in COLLECTED if name != REPORT and (folder / name).exists()]
    return [folder / name for name in (*names, "collection.json")]


def list_scenes(
    catalogue: Catalogue, folder: Path, medium: Medium, *, anchors: bool = False
) -> Table:
    """Every scene, the newest first, with what came of it and the way to its run, or to its place
    on the page."""
    columns = (
        Column("scene"), Column("date", whole=True), Column("hectares", number=True),
        Column("without data", number=True), Column("what came of it"), Column("see"),
    )  # fmt: skip
    used = catalogue.used
    rows = []
    for entry in reversed(catalogue.entries):
        name: Words = (
            Link(entry.name, f"#{_anchor(entry)}") if anchors and entry in used else entry.name
        )
        rows.append(
            (
                name,
                entry.date,
                f"{entry.mapped_m2 / 1e4:,.1f}" if entry.areas else "",
                f"{100 * entry.invalid:.1f} %" if entry.areas else "",
                medium.reword(status_text(catalogue, entry)),
                link_files(_ways(catalogue, entry, folder), medium)
                if entry.status == "done"
                else "",
            )
        )
    return Table(columns, tuple(rows))


def _ways(catalogue: Catalogue, entry: Entry, folder: Path) -> dict[str, Place | None]:
    """Where to look at the run of a scene."""
    run = folder / catalogue.place(entry, ".")
    ways = {
        "report": run / REPORT,
        "picture": run / "quicklook.png",
        "polygons": run / "landcover.gpkg",
        "files": run,
    }
    return {words: path for words, path in ways.items() if path.exists()}


def _caveats(catalogue: Catalogue, medium: Medium) -> list[Block]:
    notes = (Text(f"{note[0].upper()}{note[1:]}.") for note in catalogue.notes)
    return [*(warn(warning, medium) for warning in catalogue.all_warnings), *notes]


def _newest(
    catalogue: Catalogue, folder: Path, medium: Medium, *, anchor: bool = False, share: float = 1.0
) -> list[Block]:
    if not catalogue.used:
        return []
    newest = catalogue.used[-1]
    words = ("Newest map: ", Strong(newest.name), f" {newest.date}")
    return [Text(words), *_map(catalogue, newest, folder, medium, anchor=anchor, share=share)]


def _map(
    catalogue: Catalogue,
    entry: Entry,
    folder: Path,
    medium: Medium,
    *,
    anchor: bool,
    share: float = 1.0,
) -> list[Block]:
    """The picture of a run; on a page with places, with links to its files."""
    colours = [row.colour for one in catalogue.used for row in one.areas]
    path = folder / catalogue.place(entry, "quicklook.png")
    if not anchor:
        return show_picture(f"Map of {entry.name} with legend", path, medium, colours, share)
    ways = {
        title.lower(): file
        for name, (title, _, _) in ASSETS.items()
        if name != "quicklook.png" and (file := folder / catalogue.place(entry, name)).exists()
    }
    caption = (f"{entry.name} {entry.date}: ", *link_files(ways, medium))
    return show_picture(
        f"Map of {entry.name} with legend",
        path,
        medium,
        colours,
        share,
        caption=caption,
        anchor=_anchor(entry),
    )


def _anchor(entry: Entry) -> str:
    from urllib.parse import quote

    return quote(entry.name)


def _areas_of(entry: Entry) -> Table:
    colours = {row.class_name: row.colour for row in entry.areas}
    return list_areas(
        [(row.class_name, row.area_m2 / 1e4, row.share) for row in entry.areas], colours
    )


def _areas_over_time(catalogue: Catalogue) -> Table:
    """Hectares of every class on every map, with its percent of what was seen unless it hides the
    ground."""
    colours = classes_of(catalogue.used)
    rows = []
    for entry in catalogue.used:
        areas = {row.class_name: row.area_m2 for row in entry.areas}
        rows.append(
            (
                entry.name,
                entry.date,
                *(_area_cell(catalogue, entry, name, areas) for name in colours),
            )
        )
    heads = (Column(paint(name, colour), number=True) for name, colour in colours.items())
    return Table((Column("scene"), Column("date", whole=True), *heads), tuple(rows))


def _area_cell(catalogue: Catalogue, entry: Entry, name: str, areas: dict[str, float]) -> Words:
    if name not in areas:
        return ""
    hectares = f"{areas[name] / 1e4:,.1f}"
    if name in catalogue.hidden:
        return hectares
    return (hectares, Aside(f"{100 * areas[name] / catalogue.seen_m2(entry):.1f} %"))


def _chart(folder: Path, medium: Medium, share: float = 1.0) -> list[Block]:
    return show_picture(CHART_ALT, folder / "areas.png", medium, share=share)


def _change(
    change: ChangeEntry, folder: Path, medium: Medium, *, level: int, share: float
) -> list[Block]:
    """What became of what between two maps."""
    earlier, later = change.earlier_date or change.earlier, change.later_date or change.later
    heading = Heading(f"From {earlier} to {later}", level=level)
    if change.message:
        return [heading, Notice(medium.reword(change.message), label="Not compared")]
    run = folder / "changes" / change.name
    part = 100 * change.changed_m2 / change.compared_m2
    aligned = f"; {change.aligned}" if change.aligned else ""
    changed = (
        f"{change.changed_m2 / 1e4:,.1f} of {change.compared_m2 / 1e4:,.1f} ha changed "
        f"({part:.1f} %){aligned}."
    )
    ways: dict[str, Place | None] = {
        "its report": run / REPORT if (run / REPORT).exists() else None,
        "where it changed": run / "quicklook.png", "its polygons": run / "change.gpkg",
        "raster": run / "change.tif", "table": run / "transition.csv",
    }  # fmt: skip
    pictures = show_picture("Where it changed", run / "quicklook.png", medium) if level > 2 else []
    return [
        heading,
        Text(changed),
        *pictures,
        *show_picture("What became of what", run / "flows.png", medium, share=share),
        *_transitions(change, FEW_ROWS if level > 2 else MOST_ROWS),
        *link_line(ways, medium),
    ]


def _transitions(change: ChangeEntry, most: int) -> list[Block]:
    moves = [(was, now, f"{m2 / 1e4:,.1f}") for was, now, _, m2 in change.transitions if was != now]
    columns = (Column("from"), Column("to"), Column("hectares", number=True))
    return [Table(columns, tuple(moves[:most]))] if moves else []


def _rest(folder: Path, files: Sequence[Place], medium: Medium, command: str) -> list[Block]:
    return [head_files(folder, medium), *list_files(files, medium), *repeat_by(command)]
