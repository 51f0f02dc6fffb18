"""Tables of a series, and the layer of its footprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.reports.catalogue import Catalogue, classes_of, status_text
from flows.reports.tables import csv_text
from tiling.formats.about import About
from tiling.io.files import write_text

Table = tuple[list[str], list[list[Any]]]
"""A header and rows below it."""


def write_tables(catalogue: Catalogue, folder: Path) -> None:
    """Write the CSV files of a series, and take away those of an earlier call with other wishes."""
    write_text(folder / "areas.csv", csv_text(*area_table(catalogue)))
    write_text(folder / "scenes.csv", csv_text(*scene_table(catalogue)))
    changes = csv_text(*change_table(catalogue)) if catalogue.changes else ""
    for name, text in (("changes.csv", changes), ("zones.csv", catalogue.zones)):
        if text:
            write_text(folder / name, text)
        else:
            (folder / name).unlink(missing_ok=True)


def area_table(catalogue: Catalogue) -> Table:
    """Every class of every map of the series."""
    header = ["scene", "date", "class_id", "class_name", "pixels", "area_m2", "area_ha"]
    rows: list[list[Any]] = [
        [
            entry.name, entry.date, row.class_id, row.class_name, row.pixels, repr(row.area_m2),
            f"{row.area_m2 / 1e4:.4f}", f"{100 * row.share:.4f}",
        ]
        for entry in catalogue.used
        for row in entry.areas
    ]  # fmt: skip
    return [*header, "share_percent"], rows


def scene_table(catalogue: Catalogue) -> Table:
    """Every scene and what came of it."""
    header = ["scene", "date", "standing", "without_data_percent", "mapped_ha", "segmenter"]
    rows: list[list[Any]] = [
        [
            entry.name, entry.date, status_text(catalogue, entry), f"{100 * entry.invalid:.2f}",
            f"{entry.mapped_m2 / 1e4:.4f}", entry.segmenter, " ".join(entry.paths),
        ]
        for entry in catalogue.entries
    ]  # fmt: skip
    return [*header, "files"], rows


def change_table(catalogue: Catalogue) -> Table:
    """What became of what between two maps that follow each other."""
    header = ["earlier", "later", "earlier_date", "later_date", "from_name", "to_name", "pixels"]
    rows: list[list[Any]] = [
        [
            one.earlier, one.later, one.earlier_date, one.later_date, was, now, pixels, repr(area),
            f"{area / 1e4:.4f}",
        ]
        for one in catalogue.changes
        for was, now, pixels, area in one.transitions
    ]  # fmt: skip
    return [*header, "area_m2", "area_ha"], rows


def write_footprints(catalogue: Catalogue, path: Path) -> None:
    """One feature for each run of the series: where, when, by what, and how much of each class, in
    hectares."""
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
        columns[column] = [
            sum(r.area_m2 for r in entry.areas if r.class_name == name) / 1e4 for entry in used
        ]
        fields[column] = (f"{name} (ha)", f"Area of {name}")
    table = pa.table(columns)
    shapes = [shapely.from_geojson(json.dumps(entry.footprint)) for entry in used]
    multi: list[Any] = [shapely.multipolygons(shapely.get_parts(shape)) for shape in shapes]
    table = table.append_column(
        pa.field("geometry", pa.large_binary(), metadata={"ARROW:extension:name": "ogc.wkb"}),
        pa.array(shapely.to_wkb(multi), pa.large_binary()),
    )
    layer = Layer(
        crs="EPSG:4326", schema=table.schema, name="runs", about=About(catalogue.title),
        geometry_type="MultiPolygon",
        fields=fields,
    )  # fmt: skip
    write_vectors(path, table.to_batches(), layer)
