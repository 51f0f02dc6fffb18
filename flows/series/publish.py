"""What many runs leave: tables over time, a layer of their footprints, a static STAC collection,
and a page to read.

Everything here follows from the entries alone, and every file appears whole. Files are written
before those that point at them, so that whoever looks in the middle, or after a crash, finds
nothing that leads nowhere.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from flows.reports.blocks import Heading, Text
from flows.reports.catalogue import COLLECTED, Catalogue, classes_of, shares_of
from flows.reports.html import render_html
from flows.reports.markdown import render_markdown
from flows.reports.medium import Beside
from flows.reports.pieces import REPORT
from flows.reports.series_report import describe_series, files_of, summarise_series
from flows.requests.commandline import in_lines
from flows.series.stac_collection import collection, item
from flows.series.tables import write_footprints, write_tables
from flows.stac.run_item import ITEM
from flows.storage.keys import versions
from tiling.errors import InputError
from tiling.io.files import scratch, write_text


def write(catalogue: Catalogue, folder: Path) -> tuple[Path, ...]:
    """Publish: items, tables and layers first, then the collection and the pages that point at
    them."""
    try:
        write_tables(catalogue, folder)
        for name in ("runs.gpkg", "runs.parquet"):
            write_footprints(catalogue, folder / name)
        _draw_series(catalogue, folder)
        for entry in catalogue.entries:
            if (folder / catalogue.place(entry, "run.json")).exists():
                write_text(
                    folder / catalogue.place(entry, ITEM), _json(item(catalogue, entry, folder))
                )
        _write_pages(catalogue, folder)
        write_text(folder / "collection.json", _json(collection(catalogue, folder)))
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error
    names = ("index.md", "report.html", *list(COLLECTED)[:-1], "collection.json")
    return tuple(folder / name for name in names if (folder / name).exists())


def _write_pages(catalogue: Catalogue, folder: Path) -> None:
    """`report.html`, all there is to see, and `index.md`, the same in short; no other host is asked
    for anything."""
    beside, command = Beside(folder), in_lines(catalogue.command)
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    small = Text(f"landweave {versions()['landweave']}, {when}", small=True)
    whole = [*describe_series(catalogue, folder, beside, command), small]
    write_text(folder / REPORT, render_html(catalogue.title, whole))
    files = [folder / REPORT, *files_of(folder)]
    short = [
        Heading(catalogue.title, level=1),
        *summarise_series(catalogue, folder, files, beside, command),
    ]
    write_text(folder / "index.md", render_markdown(short))


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def _draw_series(catalogue: Catalogue, folder: Path) -> None:
    """`areas.png`, the share of each class in the ground that was seen over time, where there are
    two dates or more.

    Hectares would fall wherever a cloud comes.
    """
    from flows.series.figures import draw_series

    if len({entry.date for entry in catalogue.dated}) < 2:
        (folder / "areas.png").unlink(missing_ok=True)
        return
    colours = {n: c for n, c in classes_of(catalogue.dated).items() if n not in catalogue.hidden}
    with scratch(folder) as work:
        draw_series(catalogue.title, shares_of(catalogue), colours, work / "areas.png")
        (work / "areas.png").replace(folder / "areas.png")
