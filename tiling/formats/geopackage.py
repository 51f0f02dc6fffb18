"""Polygons as a GeoPackage that QGIS opens coloured, named and indexed, with no plugin and no
project."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tiling.formats.layer import Layer, Stream
from tiling.formats.qml import outline_qml, vector_qml

GEOMETRY = "geom"

LABEL = '"class_name"'
MAP_TIP = (
    '<b>[% "class_name" %]</b><br>[% format_number("area_m2" / 10000, 2) %] ha'
    """[% coalesce('<br>confidence ' || round("confidence") || ' of 100', '') %]"""
)

# GeoPackage 1.2 (OGC 12-128r15), annex F.9, for a column whose values are named; the last table is
# QGIS's own.
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


METADATA = """
CREATE TABLE gpkg_metadata (
    id INTEGER CONSTRAINT m_pk PRIMARY KEY ASC NOT NULL, md_scope TEXT NOT NULL DEFAULT 'dataset',
    md_standard_uri TEXT NOT NULL, mime_type TEXT NOT NULL DEFAULT 'text/xml', metadata TEXT NOT NULL DEFAULT ''
);
CREATE TABLE gpkg_metadata_reference (
    reference_scope TEXT NOT NULL, table_name TEXT, column_name TEXT, row_id_value INTEGER,
    timestamp DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    md_file_id INTEGER NOT NULL, md_parent_id INTEGER,
    CONSTRAINT crmr_mfi_fk FOREIGN KEY (md_file_id) REFERENCES gpkg_metadata (id),
    CONSTRAINT crmr_mpi_fk FOREIGN KEY (md_parent_id) REFERENCES gpkg_metadata (id)
);
INSERT INTO gpkg_extensions (table_name, extension_name, definition, scope)
    SELECT column1, 'gpkg_metadata', 'http://www.geopackage.org/spec121/#extension_metadata', 'read-write'
    FROM (VALUES ('gpkg_metadata'), ('gpkg_metadata_reference'));
"""
"""The same standard, annex F.8."""

UNGUARDED = {
    "OGR_SQLITE_SYNCHRONOUS": "OFF",
    "OGR_SQLITE_PRAGMA": "journal_mode=OFF,page_size=16384",
    "OGR_GPKG_MAX_RAM_USAGE_RTREE": "268435456",
}
"""How GDAL writes a file that nobody sees before it is whole: without a journal, and without
waiting for the disk (the tables added at the end do that once). Most polygons of a kilobyte or more
then fit into one page. The R-tree gets 256 MiB, enough for eight million polygons; left alone, GDAL
asks how much memory happens to be free."""


def write_geopackage(path: Path, stream: Stream) -> None:
    """Write a GeoPackage with one layer, its R-tree and, where it has one, its style.

    Into a file that is there the layer goes beside the others.
    """
    import pyogrio  # loads pandas

    layer, first = stream.layer, not path.exists()
    texts = {"IDENTIFIER": layer.about.title, "DESCRIPTION": layer.about.abstract}
    with _configure_gdal(UNGUARDED):
        pyogrio.write_arrow(
            stream.reader,
            path,
            layer=layer.name,
            driver="GPKG",
            geometry_name="geometry",
            geometry_type=layer.geometry_type,
            crs=layer.wkt,
            dataset_options={"VERSION": layer.geopackage} if first else {},
            layer_options={
                "GEOMETRY_NAME": _free(GEOMETRY, stream.columns.names),
                "FID": _free("fid", stream.columns.names),
            }
            | {name: text for name, text in texts.items() if text},
        )
    with closing(sqlite3.connect(path)) as database, database:
        if first:
            # in one transaction, lest each statement waits for the disk
            database.executescript(f"BEGIN; {TABLES} {METADATA if layer.about.title else ''}")
        if layer.classified or layer.outline or layer.class_column:
            _write_style(database, stream)
        _write_names(database, layer)
        if layer.about.title:
            _write_metadata(database, layer)


@contextmanager
def _configure_gdal(options: dict[str, str]) -> Iterator[None]:
    """Settings of the GDAL that pyogrio brings along, for a while."""
    import pyogrio

    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def speech(layer: Layer) -> Any:
    """How a classified layer speaks to people in QGIS: the words that `tiling.formats.qml` asks
    for."""
    aliases = {name: alias for name, (alias, _) in layer.described.items()}
    return {"aliases": aliases, "label": LABEL, "map_tip": MAP_TIP, "outline": layer.outline}


def _free(name: str, taken: Iterable[str]) -> str:
    """`name`, or with underscores behind it where a column is called so; SQL does not tell
    capitals."""
    while name in {other.lower() for other in taken}:
        name += "_"
    return name


def outline_speech(layer: Layer) -> Any:
    """How a layer of outlines speaks to people in QGIS: the words that `tiling.formats.qml` asks
    for."""
    aliases = {name: alias for name, (alias, _) in layer.described.items()}
    label = f'"{layer.label}"' if layer.label else ""
    classes = (layer.class_column, tuple(layer.legend)) if layer.class_column else None
    return {"aliases": aliases, "label": label, "classes": classes}


def _write_style(database: sqlite3.Connection, stream: Stream) -> None:
    """The style QGIS takes by default, and the class names, where there are classes, as the list of
    values that `class_id` may have."""
    layer = stream.layer
    style = (
        vector_qml(stream.legend, **speech(layer))
        if layer.classified
        else outline_qml(layer.outline, layer.geometry_type, **outline_speech(layer))
    )
    database.execute(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
        "f_geometry_column, styleName, "
        "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, "
        "?, '', 1, '', '')",
        (layer.name, GEOMETRY, "classes" if layer.classified else "outlines", style),
    )
    if not layer.classified:
        return
    database.executemany(
        "INSERT INTO gpkg_data_column_constraints (constraint_name, constraint_type, value, "
        "description) "
        "VALUES ('classes', 'enum', ?, ?)",
        [(str(value), name) for value, name, _ in stream.legend],
    )


def _write_metadata(database: sqlite3.Connection, layer: Layer) -> None:
    """What the layer says of itself, in the form that QGIS shows under its properties."""
    written = database.execute(
        "INSERT INTO gpkg_metadata (md_scope, md_standard_uri, mime_type, metadata) "
        "VALUES ('dataset', 'http://mrcc.com/qgis.dtd', 'text/xml', ?)",
        (layer.about.qmd,),
    )
    database.execute(
        "INSERT INTO gpkg_metadata_reference (reference_scope, table_name, md_file_id) VALUES "
        "('table', ?, ?)",
        (layer.name, written.lastrowid),
    )


def _write_names(database: sqlite3.Connection, layer: Layer) -> None:
    """What a person calls the columns, and what they hold."""
    database.executemany(
        "INSERT INTO gpkg_data_columns (table_name, column_name, name, title, description, "
        "constraint_name) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        [
            (layer.name, field, alias, alias, meaning, "classes" if field == "class_id" else None)
            for field, (alias, meaning) in layer.described.items()
        ],
    )
