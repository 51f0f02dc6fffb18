"""Facts about the GeoPackage; how QGIS shows it is in test_qgis.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
import shapely
from pyproj import CRS

from tiling.classmaps.legend import with_default_rows
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.formats.layer import Layer
from tiling.formats.schema import SCHEMA
from tiling.formats.vector_writers import write_vectors

LEGEND = ((1, "Water", "#3b7dd8"), (2, "Trees & <shrubs>", "#2f7d3b"))

COLUMNS = [
    "region_id",
    "class_id",
    "class_name",
    "area_m2",
    "perimeter_m",
    "confidence",
    "n_pixels",
]


def batch(*rows: tuple[int, int, float | None], east: float = 0) -> pa.RecordBatch:
    """Unit squares beside each other, one for each (region, class, confidence)."""
    ids, classes, confidence = zip(*rows, strict=True)
    west = east + np.arange(len(rows))
    columns = {
        "region_id": ids,
        "class_id": classes,
        "n_pixels": [1] * len(rows),
        "area_m2": [100.25] * len(rows),
        "perimeter_m": [40.0] * len(rows),
        "confidence": confidence,
        "geometry": shapely.to_wkb(shapely.box(west, 0, west + 1, 1)),
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[f.name], f.type) for f in SCHEMA], schema=SCHEMA
    )


def write(path: Path, *batches: pa.RecordBatch, **options: Any) -> int:
    return write_vectors(
        path, batches, Layer(**{"crs": "EPSG:32633", "legend": LEGEND, "schema": SCHEMA} | options)
    )


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path, first, second = (
        tmp_path / "a.gpkg",
        batch((0, 2, 50.5), (7, 1, None)),
        batch((9, 2, 100.0), east=5),
    )
    assert write(path, first, second) == 3
    meta, found = pyogrio.read_arrow(path, layer="landcover")
    assert CRS(meta["crs"]) == CRS("EPSG:32633")
    assert found.column_names[:-1] == COLUMNS
    assert found["region_id"].to_pylist() == [0, 7, 9]
    assert found["class_name"].to_pylist() == ["Trees & <shrubs>", "Water", "Trees & <shrubs>"]
    assert found["confidence"].to_pylist() == [50.5, None, 100.0]
    assert found["area_m2"].to_pylist() == [100.25] * 3
    went_in = first["geometry"].to_pylist() + second["geometry"].to_pylist()
    assert shapely.equals_exact(
        shapely.from_wkb(found[meta["geometry_name"]]), shapely.from_wkb(went_in)
    ).all()


def test_it_is_a_geopackage_of_version_1_2_with_an_index(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(path, batch((0, 1, None), (1, 2, None)), about=About("Land cover of x", "By y"))
    assert query(path, "PRAGMA application_id") == [(int.from_bytes(b"GPKG"),)]
    assert query(path, "PRAGMA user_version") == [(10200,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA journal_mode") == [("delete",)]
    assert query(path, "SELECT count(*) FROM rtree_landcover_geom WHERE minx > 0.5") == [(1,)]
    contents = query(
        path, "SELECT table_name, data_type, identifier, description FROM gpkg_contents ORDER BY 1"
    )
    assert contents[0] == ("landcover", "features", "Land cover of x", "By y")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gpkg"], "nothing beside it"


def test_it_is_as_gdal_makes_them(tmp_path: Path) -> None:
    """What is special to how we write it stays on the way; nothing is missing for those who edit
    the file later."""
    ours, theirs = tmp_path / "a.gpkg", tmp_path / "b.gpkg"
    write(ours, batch((0, 1, None), (1, 2, None)))
    pyogrio.write_dataframe(
        pyogrio.read_dataframe(ours, layer="landcover"), theirs, layer="landcover", VERSION="1.2"
    )
    triggers = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'landcover' "
        "ORDER BY name"
    )
    assert query(ours, triggers) == query(theirs, triggers) != []
    extensions = (
        "SELECT table_name, extension_name FROM gpkg_extensions WHERE table_name = 'landcover'"
    )
    assert (
        query(ours, extensions) == query(theirs, extensions) == [("landcover", "gpkg_rtree_index")]
    )
    assert query(ours, "SELECT rtreecheck('rtree_landcover_geom')") == [("ok",)]


def test_it_opens_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(path, batch((0, 1, None), (1, 2, None)))
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            assert database.execute("SELECT count(*) FROM landcover").fetchone() == (2,)
            assert database.execute("SELECT count(*) FROM rtree_landcover_geom").fetchone() == (2,)
        assert len(pyogrio.read_dataframe(path, layer="landcover", IMMUTABLE="YES")) == 2
        assert [file.name for file in tmp_path.iterdir()] == ["a.gpkg"], "no lock, no journal"
    finally:
        tmp_path.chmod(0o755)


def test_it_carries_its_style_and_the_names_of_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(path, batch((0, 1, None), (1, 2, None)), name="forest")
    ((table, column, default, qml),) = query(
        path, "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
    )
    assert (table, default) == ("forest", 1)
    assert (column,) in query(
        path, "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = 'forest'"
    )
    assert "Trees &amp; &lt;shrubs&gt;" in qml
    named = (
        "SELECT constraint_name FROM gpkg_data_columns WHERE table_name = 'forest' AND "
        "column_name = 'class_id'"
    )
    assert query(
        path,
        "SELECT value, description FROM gpkg_data_column_constraints WHERE constraint_name = "
        f"({named})",
    ) == [
        ("1", "Water"),
        ("2", "Trees & <shrubs>"),
    ]


def test_classes_that_the_legend_lacks_are_named_and_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(path, batch((0, 1, None), (1, 40, None)))
    assert query(path, "SELECT class_name FROM landcover") == [("Water",), ("40",)]
    assert 'value="40"' in query(path, "SELECT styleQML FROM layer_styles")[0][0]
    assert with_default_rows(LEGEND, [40])[-1][:2] == (40, "40")


def test_an_empty_map_is_a_valid_empty_layer(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    assert write(path) == 0
    info = pyogrio.read_info(path, layer="landcover")
    assert (info["features"], info["geometry_type"], info["crs"]) == (0, "Polygon", "EPSG:32633")
    assert list(info["fields"]) == COLUMNS


def test_geographic_coordinates_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(path, batch((0, 1, None), east=179.5), crs="EPSG:4326")
    assert pyogrio.read_info(path, layer="landcover")["total_bounds"] == (179.5, 0.0, 180.5, 1.0)
    assert query(path, "SELECT srs_id FROM gpkg_geometry_columns") == [(4326,)]


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    unfinished = tmp_path / ".a.gpkg.unfinished"
    unfinished.mkdir()
    for name in ("a.gpkg", "a.gpkg-journal", "a.gpkg-wal"):
        (unfinished / name).write_bytes(b"half a file")
    write(path, batch((0, 1, None)))
    write(path, batch((0, 1, None), (1, 2, None)))
    assert query(path, "SELECT count(*) FROM landcover") == [(2,)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.gpkg"]


@pytest.mark.parametrize(
    "error", [InputError("scene.tif cannot be read"), OSError("worker lost"), KeyboardInterrupt()]
)
def test_what_stops_the_polygons_passes_through_and_leaves_the_old_file(
    tmp_path: Path, error: BaseException
) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield batch((0, 1, None))
        raise error

    path = tmp_path / "a.gpkg"
    write(path, batch((5, 1, None)))
    with pytest.raises(type(error)) as raised:
        write_vectors(path, broken(), Layer(crs="EPSG:32633", legend=LEGEND))
    assert raised.value is error
    assert query(path, "SELECT region_id FROM landcover") == [(5,)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.gpkg"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/a\.gpkg cannot be written"):
        write(tmp_path / "nowhere" / "a.gpkg", batch((0, 1, None)))
    (tmp_path / "a.gpkg").mkdir()
    with pytest.raises(InputError, match=r"a\.gpkg cannot be written"):
        write(tmp_path / "a.gpkg", batch((0, 1, None)))


def test_metadata_say_what_the_layer_is_and_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write(
        path,
        batch((0, 1, None)),
        about=About("Land & cover", "Drawn", history=("From scene.tif", "By rules")),
    )
    ((scope, table, text),) = query(
        path,
        "SELECT reference_scope, table_name, metadata FROM gpkg_metadata "
        "JOIN gpkg_metadata_reference ON id = md_file_id WHERE md_standard_uri = "
        "'http://mrcc.com/qgis.dtd'",
    )
    assert (scope, table) == ("table", "landcover")
    root = ET.fromstring(text)
    assert (root.findtext("title"), root.findtext("abstract")) == ("Land & cover", "Drawn")
    assert [entry.text for entry in root.iter("history")] == ["From scene.tif", "By rules"]
