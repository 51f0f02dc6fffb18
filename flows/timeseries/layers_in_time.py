"""A table of dates beside the polygons of a GeoPackage, and for each of its themes a layer that
QGIS shows in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tiling.formats.geopackage import GEOMETRY
from tiling.formats.qml import Ramp, graduated_qml

_KINDS = {"string": "TEXT", "date32[day]": "DATE", "double": "REAL"}
"""Of a column in SQL, by its type in Arrow; all others are whole numbers."""


@dataclass(frozen=True)
class Theme:
    """The rows of a table that are one layer in time, and how it is drawn."""

    name: str
    """That of the layer."""
    title: str
    ramp: Ramp
    low: float
    high: float
    rows: str = ""
    """What its rows hold in the column of themes; empty: its name."""
    value: str = ""
    """Column by which it is coloured; empty: that of the table."""


@dataclass(frozen=True)
class DateTable:
    """A table of dates: columns, and which of them say what."""

    rows: pa.Table
    name: str
    polygons: str
    """The layer whose feature a row is of."""
    feature: str
    """Column with the number of that feature."""
    theme: str
    date: str
    value: str
    """Column by which a layer is coloured; a row without it is not drawn."""
    titles: Mapping[str, str]
    """What a person calls the columns."""


def add_dates(path: Path, table: DateTable, themes: Sequence[Theme]) -> None:
    """Write a table into a GeoPackage, and a view of it with the polygons for each theme.

    A view is a layer by clause 2.1 of the standard; its column OGC_FID is GDAL's for the number of
    a feature, https://gdal.org/drivers/vector/gpkg.html#spatialite-views. Shapes are stored once.
    """
    with closing(sqlite3.connect(path)) as database, database:
        _write_table(database, table)
        for theme in themes:
            _write_layer(database, table, theme)


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _write_table(database: sqlite3.Connection, table: DateTable) -> None:
    names = table.rows.column_names
    columns = ", ".join(
        f"{_quote(field.name)} {_KINDS.get(str(field.type), 'INTEGER')}"
        for field in table.rows.schema
    )
    name = _quote(table.name)
    database.execute(
        f"CREATE TABLE {name} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, {columns})"
    )
    places = ", ".join("?" * len(names))
    listed = ", ".join(map(_quote, names))
    for batch in table.rows.to_batches(max_chunksize=1 << 16):
        texts = [
            column.cast(pa.string()) if pa.types.is_date(column.type) else column
            for column in batch.columns
        ]
        rows = zip(*(column.to_pylist() for column in texts), strict=True)
        database.executemany(f"INSERT INTO {name} ({listed}) VALUES ({places})", rows)
    database.execute(
        f"CREATE INDEX {_quote(table.name + '_by_theme')} ON {name} "
        f"({_quote(table.theme)}, {_quote(table.date)})"
    )
    database.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES (?, 'attributes', ?)",
        (table.name, table.name),
    )
    _write_titles(database, table.name, table.titles)


def _write_titles(database: sqlite3.Connection, name: str, titles: Mapping[str, str]) -> None:
    database.executemany(
        "INSERT INTO gpkg_data_columns (table_name, column_name, name, title) VALUES (?, ?, ?, ?)",
        [(name, column, title, title) for column, title in titles.items()],
    )


def _write_layer(database: sqlite3.Connection, table: DateTable, theme: Theme) -> None:
    """The view of one theme, registered as the polygons are, with its style."""
    columns = ", ".join(f"dates.{_quote(name)}" for name in table.rows.column_names)
    known = (theme.rows or theme.name).replace("'", "''")
    value = theme.value or table.value
    database.execute(
        f"CREATE VIEW {_quote(theme.name)} AS SELECT dates.fid AS OGC_FID, "
        f"shapes.{GEOMETRY} AS {GEOMETRY}, {columns} FROM {_quote(table.name)} AS dates "
        f"JOIN {_quote(table.polygons)} AS shapes ON shapes.fid = dates.{_quote(table.feature)} "
        f"WHERE dates.{_quote(table.theme)} = '{known}' "
        f"AND dates.{_quote(value)} IS NOT NULL"
    )
    database.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, min_x, min_y, "
        "max_x, max_y, srs_id) SELECT ?, 'features', ?, ?, min_x, min_y, max_x, max_y, srs_id "
        "FROM gpkg_contents WHERE table_name = ?",
        (theme.name, theme.name, theme.title, table.polygons),
    )
    database.execute(
        "INSERT INTO gpkg_geometry_columns SELECT ?, column_name, geometry_type_name, srs_id, z, m "
        "FROM gpkg_geometry_columns WHERE table_name = ?",
        (theme.name, table.polygons),
    )
    style = graduated_qml(
        value, theme.ramp, theme.low, theme.high, aliases=table.titles, date=table.date
    )
    _write_style(database, theme.name, "in time", style)
    _write_titles(database, theme.name, table.titles)


def colour_polygons(
    path: Path, layer: str, column: str, theme: Theme, titles: Mapping[str, str]
) -> None:
    """Have QGIS show a layer of polygons by a column of its own, in the colours of a theme."""
    style = graduated_qml(column, theme.ramp, theme.low, theme.high, aliases=titles)
    with closing(sqlite3.connect(path)) as database, database:
        _write_style(database, layer, theme.name, style)


def _write_style(database: sqlite3.Connection, layer: str, name: str, style: str) -> None:
    """The style that QGIS opens a layer with."""
    database.execute(
        "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
        "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, owner) "
        "VALUES ('', '', ?, ?, ?, ?, '', 1, '', '')",
        (layer, GEOMETRY, name, style),
    )
