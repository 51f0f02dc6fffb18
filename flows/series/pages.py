"""A series to read: its front page in Markdown, and the same as one HTML page with every
picture."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from flows.reports.catalogue import COLLECTED, Catalogue, Entry, classes_of, status_text
from flows.stac.run_item import ASSETS
from flows.storage.keys import versions

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em;
color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .25em .8em; text-align: left;
vertical-align: top }
th { border-bottom: 1px solid #999 } td.n { text-align: right; font-variant-numeric: tabular-nums }
tr:nth-child(even) td { background: #f6f6f6 } img { max-width: 100%; border: 1px solid #ddd }
.warning { background: #fff3cd; padding: .4em .8em; border-left: 4px solid #e0a800 } .swatch {
display: inline-block;
width: .9em; height: .9em; margin-right: .4em; border: 1px solid #777; vertical-align: -1px }
pre { background: #f6f6f6; padding: .6em .8em; white-space: pre-wrap; overflow-wrap: anywhere }
figure { margin: 0 0 2em } figcaption { color: #555 } details > img { margin-top: .5em }
"""


def index(catalogue: Catalogue, folder: Path) -> str:
    """The front page in Markdown: where it stands, what changed last, where everything is."""
    used = catalogue.used
    lines = [f"# {catalogue.title}", ""]
    lines += [f"> **Warning:** {warning}\n" for warning in catalogue.all_warnings]
    lines += [f"{note[0].upper()}{note[1:]}.\n" for note in catalogue.notes]
    if used:
        newest = used[-1]
        lines += [f"Newest map: **{newest.name}** {newest.date}", ""]
        lines += [f"![Map with legend]({catalogue.place(newest, 'quicklook.png')})", ""]
        lines += ["| class | hectares | share |", "|---|---:|---:|"]
        lines += [
            f"| {r.class_name} | {r.area_m2 / 1e4:,.1f} | {100 * r.share:.1f} % |"
            for r in newest.areas
        ]
    if (folder / "areas.png").exists():
        lines += ["", "![Share of each class in the ground that was seen](areas.png)"]
    for change in catalogue.changes[-1:]:
        lines += ["", f"## Change since {change.earlier_date or change.earlier}", ""]
        if change.message:
            lines += [change.message]
            continue
        part = 100 * change.changed_m2 / change.compared_m2
        lines += [
            f"{change.changed_m2 / 1e4:,.1f} ha of {change.compared_m2 / 1e4:,.1f} ha changed "
            f"({part:.1f} %).",
            "",
        ]
        lines += [f"![What became of what](changes/{change.name}/flows.png)", ""]
    lines += ["", "## Scenes", "", "| scene | date | standing |", "|---|---|---|"]
    lines += [
        f"| {entry.name} | {entry.date} | {status_text(catalogue, entry)} |"
        for entry in catalogue.entries
    ]
    there = [name for name in COLLECTED if (folder / name).exists()]
    lines += ["", "## Files", "", *[f"- [{name}]({name}): {COLLECTED[name][0]}" for name in there]]
    return "\n".join([*lines, "- [collection.json](collection.json): STAC collection", ""])


def page(catalogue: Catalogue, folder: Path) -> str:
    """The same as one HTML page, with areas over time and every picture; it asks no other host for
    anything."""
    used = catalogue.used
    colours = classes_of(used)
    body = [f"<h1>{escape(catalogue.title)}</h1>"]
    body += [f'<p class="warning">{escape(warning)}</p>' for warning in catalogue.all_warnings]
    body += [f"<p>{escape(note[0].upper() + note[1:])}.</p>" for note in catalogue.notes]
    files = [
        f'<a href="{name}">{name}</a>'
        for name in COLLECTED
        if name != "report.html" and (folder / name).exists()
    ]
    body += [f"<p>{' · '.join(files)}</p>"]
    if used:
        body += ["<h2>Areas, in hectares, and percent of the ground that was seen</h2>"]
        body += [_areas_table(catalogue, used, colours)]
    if (folder / "areas.png").exists():
        body += [
            '<figure><img src="areas.png" alt="Share of each class in the ground that was '
            'seen"></figure>'
        ]
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
            f"<p>{change.changed_m2 / 1e4:,.1f} ha of {change.compared_m2 / 1e4:,.1f} ha changed "
            f"({part:.1f} %); "
            f'{escape(change.aligned)}. <a href="{place}/change.gpkg">polygons</a> · '
            f'<a href="{place}/change.tif">raster</a> · <a '
            f'href="{place}/transition.csv">table</a></p>',
            f'<figure><img loading="lazy" src="{place}/quicklook.png" alt="Where it '
            'changed"></figure>',
            f'<figure><img loading="lazy" src="{place}/flows.png" alt="What became of '
            'what"></figure>',
        ]
    body += ["<h2>Scenes</h2>", "<table><tr><th>scene<th>date<th>without data<th>standing</tr>"]
    body += [
        f"<tr><td>{_to_run(e) if e in used else escape(e.name)}<td>{e.date}<td "
        f'class="n">{100 * e.invalid:.1f} %'
        f"<td>{escape(status_text(catalogue, e))}</tr>"
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
            f'<img loading="lazy" src="{catalogue.place(entry, "quicklook.png")}" '
            f'alt="{escape(entry.name)}"></figure>'
        ]
    if catalogue.command:
        body += ["<h2>Do it again</h2>", f"<pre>{escape(catalogue.command)}</pre>"]
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    body += [f"<p><small>landweave {versions()['landweave']}, {when}</small></p>"]
    return (
        '<!DOCTYPE html>\n<html lang="en"><meta '
        f'charset="utf-8"><title>{escape(catalogue.title)}</title>'
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
    """Hectares of a class on a map and, unless it hides the ground, its percent of what was
    seen."""
    if name not in held:
        return "<td>"
    cell = f'<td class="n">{held[name] / 1e4:,.1f}'
    if name in catalogue.hidden:
        return cell
    return f"{cell}<br><small>{100 * held[name] / catalogue.seen_m2(entry):.1f} %</small>"
