"""Polygons as a GeoPackage that QGIS opens coloured, named and indexed, with no plugin and no project."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
import pyogrio.errors
from pyproj import CRS

from tiling.errors import Mistake
from tiling.polygons import SCHEMA
from tiling.style import LegendRow, completed, vector_qml

FIELDS = {
    "region_id": ("Region", "Index, row × width + column, of the region's first pixel"),
    "class_id": ("Class value", "Value of the class raster"),
    "class_name": ("Class", "Name of the class"),
    "area_m2": ("Area (m²)", "Area on the ellipsoid, the sum of the areas of the pixels"),
    "confidence": ("Confidence (%)", "Mean confidence of the pixels, 0 to 100"),
    "n_pixels": ("Pixels", "Number of pixels"),
}
"""Columns in their order, with what a person calls them and what they hold."""

COLUMNS = pa.schema(
    [
        pa.field("class_name", pa.string(), nullable=False) if name == "class_name" else SCHEMA.field(name)
        for name in FIELDS
    ]
    + [SCHEMA.field("geometry")]
)

GEOMETRY = "geom"

MAP_TIP = (
    '<b>[% "class_name" %]</b><br>[% format_number("area_m2" / 10000, 2) %] ha'
    """[% coalesce('<br>confidence ' || round("confidence") || ' %', '') %]"""
)

# GeoPackage 1.2 (OGC 12-128r15), annex F.9, for a column whose values are named; the last table is QGIS's own.
TABLES = """
CREATE TABLE gpkg_data_columns (
    table_name TEXT NOT NULL, column_name TEXT NOT NULL, name TEXT, title TEXT, description TEXT, mime_type TEXT,
    constraint_name TEXT,
    CONSTRAINT pk_gdc PRIMARY KEY (table_name, column_name), CONSTRAINT gdc_tn UNIQUE (table_name, name)
);
CREATE TABLE gpkg_data_column_constraints (
    constraint_name TEXT NOT NULL, constraint_type TEXT NOT NULL, value TEXT, min NUMERIC, min_is_inclusive BOOLEAN,
    max NUMERIC, max_is_inclusive BOOLEAN, description TEXT,
    CONSTRAINT gdcc_ntv UNIQUE (constraint_name, constraint_type, value)
);
INSERT INTO gpkg_extensions (table_name, extension_name, definition, scope)
    SELECT column1, 'gpkg_schema', 'http://www.geopackage.org/spec121/#extension_schema', 'read-write'
    FROM (VALUES ('gpkg_data_columns'), ('gpkg_data_column_constraints'));
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
INSERT INTO gpkg_contents (table_name, data_type, identifier, description) VALUES
    ('layer_styles', 'attributes', 'layer_styles', 'QGIS styles');
"""


def write_geopackage(
    path: str | Path,
    batches: Iterable[pa.RecordBatch],
    *,
    crs: Any,
    legend: Sequence[LegendRow],
    layer: str = "landcover",
    title: str = "",
    description: str = "",
) -> int:
    """Number of polygons written to `path`, which appears whole or not at all.

    `batches` have the columns of `tiling.polygons.SCHEMA` and are taken one at a time; `crs` is anything pyproj
    understands. Classes that the legend lacks are named by their value. Raises `Mistake` where the file cannot be
    written; what `batches` raises passes through.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.stem}.unfinished.gpkg")
    stream = _Stream(batches, legend)
    try:
        _remove(unfinished)
        _write_layer(unfinished, stream, CRS.from_user_input(crs).to_wkt(), layer, title, description)
        _write_style(unfinished, completed(legend, stream.classes), layer)
        unfinished.replace(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, sqlite3.Error, OSError) as error:
        if error is stream.failure:
            raise
        raise Mistake(f"{path} cannot be written: {error}; is its folder there, writable and not full?") from error
    finally:
        _remove(unfinished)
    return stream.n_polygons


class _Stream:
    """Batches on their way into the file: named by the legend, counted, and with what went wrong in their making."""

    def __init__(self, batches: Iterable[pa.RecordBatch], legend: Sequence[LegendRow]) -> None:
        self.batches, self.legend = batches, legend
        self.n_polygons = 0
        self.classes: set[int] = set()
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self.batches:
                yield self._named(batch)
        except BaseException as error:
            self.failure = error  # Arrow's C interface hands on a message, not the exception
            raise

    def _named(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values = pc.unique(batch["class_id"])
        self.classes.update(values.to_pylist())
        self.n_polygons += batch.num_rows
        names = {value: name for value, name, _ in completed(self.legend, values.to_pylist())}
        class_name = pa.array([names[value] for value in values.to_pylist()], pa.string())
        named = batch.append_column("class_name", class_name.take(pc.index_in(batch["class_id"], values)))
        return named.select(COLUMNS.names).cast(COLUMNS)


def _write_layer(path: Path, stream: _Stream, crs: str, layer: str, title: str, description: str) -> None:
    texts = {"IDENTIFIER": title, "DESCRIPTION": description}
    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(COLUMNS, stream),
            path,
            layer=layer,
            driver="GPKG",
            geometry_name="geometry",
            geometry_type="Polygon",
            crs=crs,
            dataset_options={"VERSION": "1.2"},  # QGIS 3.22 warns of the newer default
            layer_options={"GEOMETRY_NAME": GEOMETRY} | {name: text for name, text in texts.items() if text},
        )
    except RuntimeError:
        if stream.failure is not None:
            raise stream.failure from None
        raise


def _write_style(path: Path, legend: Sequence[LegendRow], layer: str) -> None:
    """The style QGIS takes by default, and the class names as the list of values that `class_id` may have."""
    qml = vector_qml(
        legend, aliases={field: alias for field, (alias, _) in FIELDS.items()}, label='"class_name"', map_tip=MAP_TIP
    )
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(TABLES)
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, 'classes', ?, '', 1, '', '')",
            (layer, GEOMETRY, qml),
        )
        database.executemany(
            "INSERT INTO gpkg_data_column_constraints (constraint_name, constraint_type, value, description) "
            "VALUES ('classes', 'enum', ?, ?)",
            [(str(value), name) for value, name, _ in legend],
        )
        database.executemany(
            "INSERT INTO gpkg_data_columns (table_name, column_name, name, title, description, constraint_name) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (layer, field, alias, alias, meaning, "classes" if field == "class_id" else None)
                for field, (alias, meaning) in FIELDS.items()
            ],
        )


def _remove(unfinished: Path) -> None:
    """Delete what a crash may have left, with SQLite's own files beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{unfinished}{suffix}").unlink(missing_ok=True)
