"""Facts about vector files, whatever their format; what is special to GeoPackages is in
test_geopackage.py."""

from __future__ import annotations

import json
import multiprocessing
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import geopandas
import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyproj.datadir
import pytest
import referencing
import shapely
from pyproj import CRS

from tests.tiling.formats.test_geopackage import LEGEND, batch
from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.formats import geoparquet, vector_writers
from tiling.formats.about import About
from tiling.formats.layer import Layer
from tiling.formats.schema import schema_of
from tiling.formats.vector_writers import WRITERS, write_vectors
from tiling.polygons.dissolve import dissolve_classes
from tiling.polygons.polygonise import polygonise

LAYER = Layer(crs="EPSG:32633", legend=LEGEND, about=About("Land cover", "Drawn"))


def read(path: Path) -> geopandas.GeoDataFrame:
    frame = geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
    # FlatGeobuf is in the order of its index
    return frame.sort_values("region_id", ignore_index=True)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".fgb"])
def test_every_format_holds_the_same(tmp_path: Path, suffix: str) -> None:
    path, batches = (
        tmp_path / f"a{suffix}",
        [batch((0, 2, 50.5), (7, 1, None)), batch((9, 2, 100.0), east=5)],
    )
    assert write_vectors(path, batches, LAYER) == 3
    found = read(path)
    assert found.crs == CRS("EPSG:32633")
    assert found["class_name"].tolist() == ["Trees & <shrubs>", "Water", "Trees & <shrubs>"]
    assert found["confidence"].isna().tolist() == [False, True, False]
    assert found["area_m2"].tolist() == [100.25] * 3
    went_in = shapely.from_wkb([wkb for part in batches for wkb in part["geometry"].to_pylist()])
    assert shapely.equals_exact(found.geometry.to_numpy(), went_in).all()
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing beside it"


@pytest.mark.parametrize("suffix", WRITERS)
def test_what_stops_the_polygons_passes_through_and_leaves_nothing(
    tmp_path: Path, suffix: str
) -> None:
    def broken() -> Any:
        yield batch((0, 1, None))
        raise InputError("scene.tif cannot be read")

    with pytest.raises(InputError, match=r"^scene\.tif cannot be read$"):
        write_vectors(tmp_path / f"a{suffix}", broken(), LAYER)
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_refused_before_any_work(tmp_path: Path) -> None:
    def worked() -> Any:
        raise AssertionError
        yield

    with pytest.raises(InputError, match=r"end it in \.gpkg, \.parquet, \.fgb"):
        write_vectors(tmp_path / "a.dxf", worked(), LAYER)


def test_a_writer_of_a_package_that_does_not_load_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("dxf", "of_others_that_is_not_there:write", vector_writers.ENTRY_POINTS)
    monkeypatch.setattr(vector_writers, "_registered", lambda: {".dxf": point})
    with pytest.raises(
        InputError,
        match=r"the writer of \.dxf files, of_others_that_is_not_there:write, does not load",
    ):
        write_vectors(tmp_path / "a.DXF", iter(()), LAYER)
    with pytest.raises(InputError, match=r"end it in \.gpkg, .*, \.geojson, \.dxf$"):
        write_vectors(tmp_path / "a.txt", iter(()), LAYER)


def test_columns_of_measures_are_kept_and_named(tmp_path: Path) -> None:
    layer = Layer(crs="EPSG:32633", legend=LEGEND, schema=schema_of(["ndvi"]))
    plain = batch((0, 1, None), (1, 1, 3.0))
    whole = plain.append_column("ndvi_mean", pa.array([0.5, None]))
    write_vectors(tmp_path / "a.gpkg", [whole], layer)
    assert read(tmp_path / "a.gpkg")["ndvi_mean"].isna().tolist() == [False, True]
    assert layer.described["ndvi_mean"][0] == "Mean NDVI"
    assert layer.columns.names[-2:] == ["ndvi_mean", "geometry"]


def test_geoparquet_says_what_the_specification_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoparquet, "ROW_GROUP", 2)
    path = tmp_path / "a.parquet"
    write_vectors(path, [batch((0, 2, 1.0), (7, 1, None)), batch((9, 2, 1.0), east=5)], LAYER)
    file = pq.ParquetFile(path)
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["Polygon"])
    assert column["bbox"] == [0, 0, 6, 1]
    assert CRS.from_json_dict(column["crs"]) == CRS("EPSG:32633")
    sides = ("xmin", "ymin", "xmax", "ymax")
    assert column["covering"] == {"bbox": {side: ["bbox", side] for side in sides}}
    table = file.read()
    boxes = shapely.bounds(shapely.from_wkb(table["geometry"].to_numpy()))
    assert [[row[side] for side in sides] for row in table["bbox"].to_pylist()] == boxes.tolist()
    assert file.metadata.num_row_groups == 2
    assert {
        file.metadata.row_group(0).column(i).compression for i in range(file.metadata.num_columns)
    } == {"ZSTD"}
    found = geopandas.read_parquet(path, bbox=(5.5, 0, 7, 1))
    assert found["region_id"].tolist() == [9], "readers can pick a place"


SCHEMAS = Path(__file__).parents[2] / "schemas"


def geoparquet_errors(geo: dict[str, Any]) -> list[str]:
    """What the published schema, and that of PROJ for a CRS, find wrong with a file's key `geo`."""
    schema = json.loads((SCHEMAS / "geoparquet-1.1.0-dev.json").read_text(encoding="utf-8"))
    crs = json.loads(
        Path(pyproj.datadir.get_data_dir(), "projjson.schema.json").read_text(encoding="utf-8")
    )
    known = referencing.Registry().with_resource(
        "https://proj.org/schemas/v0.5/projjson.schema.json",
        referencing.Resource.from_contents(crs),
    )
    validator = jsonschema.Draft7Validator(schema, registry=known)
    return [
        error.json_path
        for error in validator.iter_errors({**geo, "version": geo["version"] + "-dev"})
    ]


@pytest.mark.parametrize(
    "crs", ["EPSG:32633", "EPSG:4326", "+proj=laea +lat_0=52 +lon_0=10 +datum=WGS84"]
)
@pytest.mark.parametrize(
    "batches", [[], [batch((0, 2, 1.0), (7, 1, None))]], ids=["empty", "two squares"]
)
def test_geoparquet_is_valid_by_the_published_schema(
    tmp_path: Path, crs: str, batches: list[Any]
) -> None:
    write_vectors(tmp_path / "a.parquet", batches, Layer(crs=crs, legend=LEGEND))
    geo = json.loads(pq.read_metadata(tmp_path / "a.parquet").metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert not geoparquet_errors(geo)
    geo["columns"]["geometry"]["crs"]["type"] = "a place"
    del geo["columns"]["geometry"]["covering"]["bbox"]["ymax"]
    assert len(geoparquet_errors(geo)) == 2, "it does look"


@pytest.mark.slow
def test_worker_processes_give_the_same_file_to_the_byte(tmp_path: Path) -> None:
    patches = noise(40, 40, high=5).repeat(4, 0).repeat(4, 1)
    mask = write(tmp_path / "classes.tif", np.where(patches == 4, 1, patches))
    layer = Layer(crs="EPSG:32633", legend=LEGEND)
    options: dict[str, Any] = {"tile": 64, "simplify": 0.75}
    write_vectors(tmp_path / "one.parquet", polygonise(mask, **options), layer)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        write_vectors(tmp_path / "two.parquet", polygonise(mask, map=pool.imap, **options), layer)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_empty_map_is_an_empty_layer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_vectors(path, [], LAYER) == 0
    assert (
        len(geopandas.read_parquet(path) if suffix == ".parquet" else geopandas.read_file(path))
        == 0
    )


def test_flatgeobuf_has_an_index(tmp_path: Path) -> None:
    path = tmp_path / "a.fgb"
    write_vectors(path, [batch((0, 1, None), (1, 2, None))], LAYER)
    assert pyogrio.read_info(path)["capabilities"]["fast_spatial_filter"]


def test_classes_dissolve_into_one_feature_each() -> None:
    somewhere = [
        batch((9, 2, 40.0), (10, 1, None)),
        batch((3, 2, 60.0), east=4),
        batch((5, 2, None), east=9),
    ]
    (whole,) = dissolve_classes(somewhere)
    assert whole["class_id"].to_pylist() == [1, 2]
    assert whole["region_id"].to_pylist() == [10, 3]
    assert whole["n_pixels"].to_pylist() == [1, 3]
    assert whole["area_m2"].to_pylist() == [100.25, 300.75]
    assert whole["confidence"].to_pylist() == [None, 50.0]
    assert shapely.get_num_geometries(shapely.from_wkb(whole["geometry"].to_pylist())).tolist() == [
        1,
        3,
    ]


def test_pieces_of_one_region_are_united_again() -> None:
    (whole,) = dissolve_classes([batch((4, 1, 10.0), (4, 1, 30.0))])
    (shape,) = shapely.from_wkb(whole["geometry"].to_pylist())
    assert shapely.get_num_geometries(shape) == 1
    assert shapely.equals(shape, shapely.box(0, 0, 2, 1))


def test_a_shapefile_has_short_names_its_crs_and_its_encoding(tmp_path: Path) -> None:
    layer = Layer(crs="EPSG:32633", legend=((1, "Wälder", "#2f7d3b"), *LEGEND[1:]))
    path = write(tmp_path / "c.tif", np.repeat([[1, 1, 2], [1, 2, 2]], 4, axis=1).astype(np.uint8))
    write_vectors(tmp_path / "a.shp", polygonise(path, nodata=None), layer)
    assert {file.name for file in tmp_path.iterdir()} - {"c.tif"} == {
        f"a.{end}" for end in ("shp", "shx", "dbf", "prj", "cpg")
    }
    assert (tmp_path / "a.cpg").read_text() == "UTF-8"
    frame = geopandas.read_file(tmp_path / "a.shp")
    assert frame.crs.to_epsg() == 32633
    assert list(frame.columns[:6]) == [
        "region_id",
        "class_id",
        "class_name",
        "area_m2",
        "perimete_m",
        "confidence",
    ]
    assert "Wälder" in set(frame.class_name)
    assert frame.geometry.area.sum() == 2400


def test_geojson_is_in_degrees(tmp_path: Path) -> None:
    path = write(tmp_path / "c.tif", np.ones((4, 4), np.uint8))
    write_vectors(tmp_path / "a.geojson", polygonise(path), LAYER)
    text = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in text
    ((feature,),) = (text["features"],)
    west, south, east, north = shapely.geometry.shape(feature["geometry"]).bounds
    assert 14.99 < west < east < 15.01
    assert 45 < south < north < 46


def test_short_names_are_cut_where_they_say_least_and_never_alike() -> None:
    names = [
        "class_name",
        "perimeter_m",
        "impervious_surface_m2",
        "impervious_soils_m2",
        "ndvi_mean",
        "mapped_share",
    ]
    short = vector_writers.short_names(names)
    assert all(len(name) <= 10 for name in short.values())
    assert len(set(short.values())) == len(names)
    assert short["perimeter_m"].endswith("_m")
    assert short["impervious_surface_m2"].endswith("_m2")
    assert short["ndvi_mean"] == "ndvi_mean"


def test_a_shapefile_that_would_be_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_writers, "SHAPEFILE_BYTES", 10)
    path = write(tmp_path / "c.tif", np.ones((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"2 GB of a shapefile; end it in"):
        write_vectors(tmp_path / "a.shp", polygonise(path), LAYER)
    assert [file.name for file in tmp_path.iterdir()] == ["c.tif"]
