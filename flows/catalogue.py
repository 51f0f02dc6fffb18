"""What many runs leave: tables over time, a layer of their footprints, a static STAC collection, and a page to read.

Everything here follows from the entries alone, and every file appears whole. Files are written before those that point
at them, so that whoever looks in the middle, or after a crash, finds nothing that leads nowhere.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from flows.figures import csv_text
from flows.items import ASSETS, ITEM, item_of, slug
from flows.run import versions, write_whole
from segmentation.legend import HIDING
from tiling.about import About
from tiling.errors import Mistake
from tiling.mosaic import scratch

ENTRY = "entry.json"

MOST_WARNINGS = 20
"""Warnings of scenes that a page shows."""
Status = Literal["done", "failed"]

COLLECTED = {
    "areas.csv": ("Area of every class at every date", "text/csv"),
    "areas.png": ("Share of every class in the ground that was seen, over time", "image/png"),
    "changes.csv": ("What became of what, between dates", "text/csv"),
    "zones.csv": ("Area of every class in every zone at every date", "text/csv"),
    "scenes.csv": ("Every scene and what came of it", "text/csv"),
    "runs.gpkg": ("Footprints of the runs", "application/geopackage+sqlite3"),
    "runs.parquet": ("Footprints of the runs", "application/vnd.apache.parquet"),
    "report.html": ("Report", "text/html"),
}
"""Files of the whole that the STAC collection lists."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .25em .8em; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #999 } td.n { text-align: right; font-variant-numeric: tabular-nums }
tr:nth-child(even) td { background: #f6f6f6 } img { max-width: 100%; border: 1px solid #ddd }
.warning { background: #fff3cd; padding: .4em .8em; border-left: 4px solid #e0a800 } .swatch { display: inline-block;
width: .9em; height: .9em; margin-right: .4em; border: 1px solid #777; vertical-align: -1px }
pre { background: #f6f6f6; padding: .6em .8em; white-space: pre-wrap; overflow-wrap: anywhere }
figure { margin: 0 0 2em } figcaption { color: #555 } details > img { margin-top: .5em }
"""


@dataclass(frozen=True)
class ClassRow:
    """One class on one map."""

    class_id: int
    class_name: str
    colour: str
    pixels: int
    area_m2: float
    share: float
    """Of the valid area, 0–1."""


@dataclass(frozen=True)
class Entry:
    """A scene and what came of it; beside the products of its run it is the last file to be written."""

    name: str
    """Of the scene, and of its folder."""
    key: str
    """Content key of what the run follows from: a scene with the same key is not done again."""
    status: Status
    paths: tuple[str, ...]
    date: str = ""
    message: str = ""
    """Why it failed."""
    mistake: bool = True
    """Whether a person can mend the failure."""
    segmenter: str = ""
    crs: str = ""
    invalid: float = 0.0
    """Part of the area of interest, or of the scene, that the map shows nothing of, 0–1."""
    areas: tuple[ClassRow, ...] = ()
    warnings: tuple[str, ...] = ()
    footprint: dict[str, Any] = field(default_factory=dict)
    """GeoJSON in degrees."""

    @property
    def mapped_m2(self) -> float:
        return sum(row.area_m2 for row in self.areas)

    def write(self, folder: Path) -> None:
        """Leave the entry in the folder of its run."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ENTRY, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Entry | None:
        """The entry in a folder, if there is one."""
        try:
            facts = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        facts["areas"] = tuple(ClassRow(**row) for row in facts["areas"])
        return cls(**{**facts, "paths": tuple(facts["paths"]), "warnings": tuple(facts["warnings"])})


@dataclass(frozen=True)
class ChangeEntry:
    """What became of what between two runs."""

    name: str
    """Of its folder."""
    key: str
    earlier: str
    """Names of the two scenes."""
    later: str
    earlier_date: str = ""
    later_date: str = ""
    aligned: str = ""
    compared_m2: float = 0.0
    changed_m2: float = 0.0
    transitions: tuple[tuple[str, str, int, float], ...] = ()
    """Class before, class now, pixels and m², the largest first."""
    message: str = ""
    """Why there is none."""

    def write(self, folder: Path) -> None:
        """Leave the entry in the folder of the change."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ENTRY, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> ChangeEntry | None:
        """The entry in a folder, if there is one."""
        try:
            facts = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**{**facts, "transitions": tuple(tuple(row) for row in facts["transitions"])})


@dataclass(frozen=True)
class Catalogue:
    """All there is to publish, in the order of dates. Nothing else decides what the files say."""

    title: str
    entries: tuple[Entry, ...]
    runs: str = "."
    """Where the folders of the runs lie, relative to the catalogue."""
    unused: dict[str, str] = field(default_factory=dict)
    """Scenes that are done and yet not part of the series, with the reason."""
    changes: tuple[ChangeEntry, ...] = ()
    zones: str = ""
    """CSV of the classes in zones at every date, if there are zones."""
    warnings: tuple[str, ...] = ()
    hidden: tuple[str, ...] = HIDING
    """Classes that hide the ground: they are no part of what was seen."""
    command: str = ""
    """The line that does it again."""
    notes: tuple[str, ...] = ()
    """What figures rest on, such as the threshold of all scenes."""

    def seen_m2(self, entry: Entry) -> float:
        """The area of which a map shows the ground."""
        return sum(row.area_m2 for row in entry.areas if row.class_name not in self.hidden)

    @property
    def told(self) -> tuple[str, ...]:
        """Warnings of the whole, then those of its scenes, the newest first; what many say is said once."""
        return (*self.warnings, *scene_warnings(self.used))

    @property
    def used(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status == "done" and entry.name not in self.unused)

    @property
    def dated(self) -> tuple[Entry, ...]:
        """Those of the series that have a day: without one there is no STAC item."""
        return tuple(entry for entry in self.used if entry.date)

    def place(self, entry: Entry, file: str) -> str:
        """A file of a run, relative to the catalogue."""
        return (Path(self.runs) / entry.name / file).as_posix()


def scene_warnings(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What a person should know of the scenes, the newest first; what many say is said once, and no more than 20."""
    said: dict[str, list[str]] = {}
    for entry in reversed(entries):
        for warning in entry.warnings:
            said.setdefault(warning, []).append(entry.name)
    lines = [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: {warning}"
        for warning, names in said.items()
    ]
    more = len(lines) - MOST_WARNINGS
    return (
        *lines[:MOST_WARNINGS],
        *([f"{more} more warnings stand in the run.json of the scenes"] if more > 0 else []),
    )


def write(catalogue: Catalogue, folder: Path) -> tuple[Path, ...]:
    """Publish: items, tables and layers first, then the collection and the pages that point at them."""
    try:
        _write_tables(catalogue, folder)
        for name in ("runs.gpkg", "runs.parquet"):
            write_footprints(catalogue, folder / name)
        _draw_series(catalogue, folder)
        for entry in catalogue.entries:
            if (folder / catalogue.place(entry, "run.json")).exists():
                write_whole(folder / catalogue.place(entry, ITEM), _json(item(catalogue, entry, folder)))
        write_whole(folder / "report.html", page(catalogue, folder))
        write_whole(folder / "index.md", index(catalogue, folder))
        write_whole(folder / "collection.json", _json(collection(catalogue, folder)))
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
    names = ("index.md", "report.html", *list(COLLECTED)[:-1], "collection.json")
    return tuple(folder / name for name in names if (folder / name).exists())


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


# --------------------------------------------------------------------------------------------------------------- tables


def _write_tables(catalogue: Catalogue, folder: Path) -> None:
    header = ["scene", "date", "class_id", "class_name", "pixels", "area_m2", "area_ha", "share_percent"]
    rows: list[list[Any]] = [
        [
            entry.name, entry.date, row.class_id, row.class_name, row.pixels, repr(row.area_m2),
            f"{row.area_m2 / 1e4:.4f}", f"{100 * row.share:.4f}",
        ]
        for entry in catalogue.used
        for row in entry.areas
    ]  # fmt: skip
    write_whole(folder / "areas.csv", csv_text(header, rows))
    scenes = [
        [
            entry.name, entry.date, standing(catalogue, entry), f"{100 * entry.invalid:.2f}",
            f"{entry.mapped_m2 / 1e4:.4f}", entry.segmenter, " ".join(entry.paths),
        ]
        for entry in catalogue.entries
    ]  # fmt: skip
    header = ["scene", "date", "standing", "without_data_percent", "mapped_ha", "segmenter", "files"]
    write_whole(folder / "scenes.csv", csv_text(header, scenes))
    if catalogue.changes:
        header = [
            "earlier",
            "later",
            "earlier_date",
            "later_date",
            "from_name",
            "to_name",
            "pixels",
            "area_m2",
            "area_ha",
        ]
        changes = [
            [c.earlier, c.later, c.earlier_date, c.later_date, was, now, pixels, repr(area), f"{area / 1e4:.4f}"]
            for c in catalogue.changes
            for was, now, pixels, area in c.transitions
        ]
        write_whole(folder / "changes.csv", csv_text(header, changes))
    if catalogue.zones:
        write_whole(folder / "zones.csv", catalogue.zones)
    for name, wanted in (("changes.csv", catalogue.changes), ("zones.csv", catalogue.zones)):
        if not wanted:
            (folder / name).unlink(missing_ok=True)  # of an earlier call with other wishes


def _draw_series(catalogue: Catalogue, folder: Path) -> None:
    """`areas.png`, the share of each class in the ground that was seen over time, where there are two dates or more.

    Hectares would fall wherever a cloud comes.
    """
    from flows.transitions import draw_series

    if len({entry.date for entry in catalogue.dated}) < 2:
        (folder / "areas.png").unlink(missing_ok=True)
        return
    colours = {n: c for n, c in classes_of(catalogue.dated).items() if n not in catalogue.hidden}
    with scratch(folder) as work:
        draw_series(catalogue.title, shares_of(catalogue), colours, work / "areas.png")
        (work / "areas.png").replace(folder / "areas.png")


def shares_of(catalogue: Catalogue) -> dict[str, list[tuple[str, float]]]:
    """For each class that hides nothing its percent of the ground seen on each day; maps of one day count together."""
    seen: dict[str, float] = {}
    held: dict[str, dict[str, float]] = {}
    for entry in catalogue.dated:
        seen[entry.date] = seen.get(entry.date, 0.0) + catalogue.seen_m2(entry)
        for row in entry.areas:
            if row.class_name not in catalogue.hidden:
                of_class = held.setdefault(row.class_name, {})
                of_class[entry.date] = of_class.get(entry.date, 0.0) + row.area_m2
    return {
        name: [(day, 100 * areas.get(day, 0.0) / seen[day]) for day in sorted(seen) if seen[day]]
        for name, areas in held.items()
    }


def standing(catalogue: Catalogue, entry: Entry) -> str:
    """What came of a scene, in words."""
    if entry.status == "failed":
        return f"failed: {entry.message}"
    reason = catalogue.unused.get(entry.name)
    return f"not used: {reason}" if reason else "done"


def classes_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Names of all classes that occur, with their colours, in the order of their values."""
    rows = sorted({(row.class_id, row.class_name, row.colour) for entry in entries for row in entry.areas})
    return {name: colour for _, name, colour in rows}


def write_footprints(catalogue: Catalogue, path: Path) -> None:
    """One feature for each run of the series: where, when, by what, and how much of each class, in hectares."""
    import pyarrow as pa
    import shapely

    from flows.zones import slugs
    from tiling.layer import Layer
    from tiling.vectors import write_vectors

    used = catalogue.used
    if not used:
        path.unlink(missing_ok=True)
        return
    names = dict(enumerate(classes_of(used)))
    columns: dict[str, Any] = {
        "scene": [entry.name for entry in used],
        "date": [entry.date for entry in used],
        "segmenter": [entry.segmenter for entry in used],
        "folder": [(Path(catalogue.runs) / entry.name).as_posix() for entry in used],
        "without_data": [entry.invalid for entry in used],
        "mapped_ha": [entry.mapped_m2 / 1e4 for entry in used],
    }
    fields = {
        "scene": ("Scene", "Name of the scene"),
        "date": ("Date", "Day of the image"),
        "segmenter": ("Segmenter", "How land cover was told"),
        "folder": ("Folder", "Where the products are, relative to this file"),
        "without_data": ("Without data", "Part of the area, 0 to 1, that the map shows nothing of"),
        "mapped_ha": ("Mapped (ha)", "Area with a class"),
    }
    for word, name in zip(slugs(names, list(names)), names.values(), strict=True):
        column = f"{word}_ha"
        columns[column] = [sum(r.area_m2 for r in entry.areas if r.class_name == name) / 1e4 for entry in used]
        fields[column] = (f"{name} (ha)", f"Area of {name}")
    table = pa.table(columns)
    shapes = [shapely.from_geojson(json.dumps(entry.footprint)) for entry in used]
    multi: list[Any] = [shapely.multipolygons(shapely.get_parts(shape)) for shape in shapes]
    table = table.append_column(
        pa.field("geometry", pa.large_binary(), metadata={"ARROW:extension:name": "ogc.wkb"}),
        pa.array(shapely.to_wkb(multi), pa.large_binary()),
    )
    layer = Layer(
        crs="EPSG:4326", schema=table.schema, name="runs", about=About(catalogue.title), geometry_type="MultiPolygon",
        fields=fields,
    )  # fmt: skip
    write_vectors(path, table.to_batches(), layer)


# ----------------------------------------------------------------------------------------------------------------- STAC


def item(catalogue: Catalogue, entry: Entry, folder: Path) -> dict[str, Any]:
    """The STAC item of a run, in the series if it is part of that."""
    here = folder / catalogue.runs / entry.name
    found = item_of(json.loads((here / "run.json").read_text(encoding="utf-8")), here)
    if entry not in catalogue.dated:
        return found
    up = "/".join([".."] * (1 + len([part for part in Path(catalogue.runs).parts if part != "."])))
    for change in catalogue.changes:
        if change.later == entry.name and not change.message:
            found["assets"]["change"] = {
                "href": f"{up}/changes/{change.name}/change.tif",
                "title": f"Change since {change.earlier_date or change.earlier}",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
    found["properties"]["landweave:without_data"] = entry.invalid
    found["links"] += [
        {"rel": rel, "href": f"{up}/collection.json", "type": "application/json"}
        for rel in ("root", "parent", "collection")
    ]
    return {**found, "id": entry.name, "collection": slug(catalogue.title)}


def collection(catalogue: Catalogue, folder: Path) -> dict[str, Any]:
    """The STAC collection of the series."""
    used = catalogue.dated
    dates = sorted(entry.date for entry in used)
    interval = [f"{dates[0]}T00:00:00Z", f"{dates[-1]}T00:00:00Z"] if dates else [None, None]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": slug(catalogue.title),
        "title": catalogue.title,
        "description": f"Land cover of {len(used)} scenes, segmented with landweave {versions()['landweave']}",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [list(_bounds(used)) if used else [-180, -90, 180, 90]]},
            "temporal": {"interval": [interval]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *(
                {
                    "rel": "item",
                    "href": f"./{catalogue.place(entry, ITEM)}",
                    "type": "application/geo+json",
                    "title": f"{entry.name} {entry.date}",
                }
                for entry in used
            ),
        ],
        "assets": {
            name.replace(".", "_"): {"href": f"./{name}", "title": title, "type": kind, "roles": ["metadata"]}
            for name, (title, kind) in COLLECTED.items()
            if (folder / name).exists()
        },
    }


def _bounds(entries: Sequence[Entry]) -> tuple[float, float, float, float]:
    import shapely

    shapes = [shapely.from_geojson(json.dumps(entry.footprint)) for entry in entries]
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    return west, south, east, north


# ---------------------------------------------------------------------------------------------------------------- pages


def index(catalogue: Catalogue, folder: Path) -> str:
    """The front page in Markdown: where it stands, what changed last, where everything is."""
    used = catalogue.used
    lines = [f"# {catalogue.title}", ""]
    lines += [f"> **Warning:** {warning}\n" for warning in catalogue.told]
    lines += [f"{note[0].upper()}{note[1:]}.\n" for note in catalogue.notes]
    if used:
        newest = used[-1]
        lines += [f"Newest map: **{newest.name}** {newest.date}", ""]
        lines += [f"![Map with legend]({catalogue.place(newest, 'quicklook.png')})", ""]
        lines += ["| class | hectares | share |", "|---|---:|---:|"]
        lines += [f"| {r.class_name} | {r.area_m2 / 1e4:,.1f} | {100 * r.share:.1f} % |" for r in newest.areas]
    if (folder / "areas.png").exists():
        lines += ["", "![Share of each class in the ground that was seen](areas.png)"]
    for change in catalogue.changes[-1:]:
        lines += ["", f"## Change since {change.earlier_date or change.earlier}", ""]
        if change.message:
            lines += [change.message]
            continue
        part = 100 * change.changed_m2 / change.compared_m2
        lines += [
            f"{change.changed_m2 / 1e4:,.1f} ha of {change.compared_m2 / 1e4:,.1f} ha changed ({part:.1f} %).",
            "",
        ]
        lines += [f"![What became of what](changes/{change.name}/flows.png)", ""]
    lines += ["", "## Scenes", "", "| scene | date | standing |", "|---|---|---|"]
    lines += [f"| {entry.name} | {entry.date} | {standing(catalogue, entry)} |" for entry in catalogue.entries]
    there = [name for name in COLLECTED if (folder / name).exists()]
    lines += ["", "## Files", "", *[f"- [{name}]({name}): {COLLECTED[name][0]}" for name in there]]
    return "\n".join([*lines, "- [collection.json](collection.json): STAC collection", ""])


def page(catalogue: Catalogue, folder: Path) -> str:
    """The same as one HTML page, with areas over time and every picture; it asks no other host for anything."""
    used = catalogue.used
    colours = classes_of(used)
    body = [f"<h1>{escape(catalogue.title)}</h1>"]
    body += [f'<p class="warning">{escape(warning)}</p>' for warning in catalogue.told]
    body += [f"<p>{escape(note[0].upper() + note[1:])}.</p>" for note in catalogue.notes]
    files = [f'<a href="{name}">{name}</a>' for name in COLLECTED if name != "report.html" and (folder / name).exists()]
    body += [f"<p>{' · '.join(files)}</p>"]
    if used:
        body += ["<h2>Areas, in hectares, and percent of the ground that was seen</h2>"]
        body += [_areas_table(catalogue, used, colours)]
    if (folder / "areas.png").exists():
        body += ['<figure><img src="areas.png" alt="Share of each class in the ground that was seen"></figure>']
    if catalogue.changes:
        body += ["<h2>Change</h2>"]
    for change in reversed(catalogue.changes):
        between = f"{change.earlier_date or change.earlier} → {change.later_date or change.later}"
        body += [f"<h3>{escape(between)}</h3>"]
        if change.message:
            body += [f'<p class="warning">{escape(change.message)}</p>']
            continue
        part = 100 * change.changed_m2 / change.compared_m2
        place = f"changes/{change.name}"
        body += [
            f"<p>{change.changed_m2 / 1e4:,.1f} ha of {change.compared_m2 / 1e4:,.1f} ha changed ({part:.1f} %); "
            f'{escape(change.aligned)}. <a href="{place}/change.gpkg">polygons</a> · '
            f'<a href="{place}/change.tif">raster</a> · <a href="{place}/transition.csv">table</a></p>',
            f'<figure><img loading="lazy" src="{place}/quicklook.png" alt="Where it changed"></figure>',
            f'<figure><img loading="lazy" src="{place}/flows.png" alt="What became of what"></figure>',
        ]
    body += ["<h2>Scenes</h2>", "<table><tr><th>scene<th>date<th>without data<th>standing</tr>"]
    body += [
        f'<tr><td>{_to_run(e) if e in used else escape(e.name)}<td>{e.date}<td class="n">{100 * e.invalid:.1f} %'
        f"<td>{escape(standing(catalogue, e))}</tr>"
        for e in catalogue.entries
    ]
    body += ["</table>"]
    for entry in reversed(used):
        links = [
            f'<a href="{catalogue.place(entry, name)}">{title.lower()}</a>'
            for name, (title, _, _) in ASSETS.items()
            if name != "quicklook.png" and (folder / catalogue.place(entry, name)).exists()
        ]
        body += [
            f'<figure id="{escape(entry.name)}">'
            f"<figcaption>{escape(entry.name)} {entry.date}: {' · '.join(links)}</figcaption>"
            f'<img loading="lazy" src="{catalogue.place(entry, "quicklook.png")}" alt="{escape(entry.name)}"></figure>'
        ]
    if catalogue.command:
        body += ["<h2>Do it again</h2>", f"<pre>{escape(catalogue.command)}</pre>"]
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    body += [f"<p><small>landweave {versions()['landweave']}, {when}</small></p>"]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{escape(catalogue.title)}</title>'
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def _to_run(entry: Entry) -> str:
    """The name of a scene, which leads to its run further down the page."""
    return f'<a href="#{quote(entry.name)}">{escape(entry.name)}</a>'


def _areas_table(catalogue: Catalogue, used: Sequence[Entry], colours: dict[str, str]) -> str:
    head = "".join(
        f'<th><span class="swatch" style="background:{colour}"></span>{escape(name)}'
        for name, colour in colours.items()
    )
    rows = [f"<table><tr><th>scene<th>date{head}</tr>"]
    for entry in used:
        held = {row.class_name: row.area_m2 for row in entry.areas}
        cells = "".join(_area_cell(catalogue, entry, name, held) for name in colours)
        rows.append(f"<tr><td>{escape(entry.name)}<td>{entry.date}{cells}</tr>")
    return "\n".join([*rows, "</table>"])


def _area_cell(catalogue: Catalogue, entry: Entry, name: str, held: dict[str, float]) -> str:
    """Hectares of a class on a map and, unless it hides the ground, its percent of what was seen."""
    if name not in held:
        return "<td>"
    cell = f'<td class="n">{held[name] / 1e4:,.1f}'
    if name in catalogue.hidden:
        return cell
    return f"{cell}<br><small>{100 * held[name] / catalogue.seen_m2(entry):.1f} %</small>"
