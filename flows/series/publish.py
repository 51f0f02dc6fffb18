"""What many runs leave: tables over time, a layer of their footprints, a static STAC collection, and a page to read.

Everything here follows from the entries alone, and every file appears whole. Files are written before those that point
at them, so that whoever looks in the middle, or after a crash, finds nothing that leads nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.assessment.figures import csv_text
from flows.reports.catalogue import COLLECTED, Catalogue, Entry, classes_of, shares_of, standing
from flows.series.pages import index, page
from flows.stac.run_item import ITEM, item_of, slug
from flows.storage.run_folder import versions
from tiling.errors import Mistake
from tiling.formats.about import About
from tiling.io.files import scratch, write_text


def write(catalogue: Catalogue, folder: Path) -> tuple[Path, ...]:
    """Publish: items, tables and layers first, then the collection and the pages that point at them."""
    try:
        _write_tables(catalogue, folder)
        for name in ("runs.gpkg", "runs.parquet"):
            write_footprints(catalogue, folder / name)
        _draw_series(catalogue, folder)
        for entry in catalogue.entries:
            if (folder / catalogue.place(entry, "run.json")).exists():
                write_text(folder / catalogue.place(entry, ITEM), _json(item(catalogue, entry, folder)))
        write_text(folder / "report.html", page(catalogue, folder))
        write_text(folder / "index.md", index(catalogue, folder))
        write_text(folder / "collection.json", _json(collection(catalogue, folder)))
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
    names = ("index.md", "report.html", *list(COLLECTED)[:-1], "collection.json")
    return tuple(folder / name for name in names if (folder / name).exists())


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


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
    write_text(folder / "areas.csv", csv_text(header, rows))
    scenes = [
        [
            entry.name, entry.date, standing(catalogue, entry), f"{100 * entry.invalid:.2f}",
            f"{entry.mapped_m2 / 1e4:.4f}", entry.segmenter, " ".join(entry.paths),
        ]
        for entry in catalogue.entries
    ]  # fmt: skip
    header = ["scene", "date", "standing", "without_data_percent", "mapped_ha", "segmenter", "files"]
    write_text(folder / "scenes.csv", csv_text(header, scenes))
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
        write_text(folder / "changes.csv", csv_text(header, changes))
    if catalogue.zones:
        write_text(folder / "zones.csv", catalogue.zones)
    for name, wanted in (("changes.csv", catalogue.changes), ("zones.csv", catalogue.zones)):
        if not wanted:
            (folder / name).unlink(missing_ok=True)  # of an earlier call with other wishes


def _draw_series(catalogue: Catalogue, folder: Path) -> None:
    """`areas.png`, the share of each class in the ground that was seen over time, where there are two dates or more.

    Hectares would fall wherever a cloud comes.
    """
    from flows.change.figures import draw_series

    if len({entry.date for entry in catalogue.dated}) < 2:
        (folder / "areas.png").unlink(missing_ok=True)
        return
    colours = {n: c for n, c in classes_of(catalogue.dated).items() if n not in catalogue.hidden}
    with scratch(folder) as work:
        draw_series(catalogue.title, shares_of(catalogue), colours, work / "areas.png")
        (work / "areas.png").replace(folder / "areas.png")


def write_footprints(catalogue: Catalogue, path: Path) -> None:
    """One feature for each run of the series: where, when, by what, and how much of each class, in hectares."""
    import pyarrow as pa
    import shapely

    from flows.products.zones import slugs
    from tiling.formats.layer import Layer
    from tiling.formats.vector_writers import write_vectors

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
