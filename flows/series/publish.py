"""What many runs leave: tables over time, a layer of their footprints, a static STAC collection,
and a page to read.

Everything here follows from the entries alone, and every file appears whole. Files are written
before those that point at them, so that whoever looks in the middle, or after a crash, finds
nothing that leads nowhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.reports.catalogue import COLLECTED, Catalogue, classes_of, shares_of
from flows.series.pages import index, page
from flows.series.stac_collection import collection, item
from flows.series.tables import write_footprints, write_tables
from flows.stac.run_item import ITEM
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
        write_text(folder / "report.html", page(catalogue, folder))
        write_text(folder / "index.md", index(catalogue, folder))
        write_text(folder / "collection.json", _json(collection(catalogue, folder)))
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error
    names = ("index.md", "report.html", *list(COLLECTED)[:-1], "collection.json")
    return tuple(folder / name for name in names if (folder / name).exists())


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
