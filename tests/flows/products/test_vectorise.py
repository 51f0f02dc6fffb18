"""Facts about polygons and zones from the command line, and about index means in polygons."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from flows.compute.pool import ThisProcess
from flows.products.index_measures import IndexMeasure, index_columns, index_measures
from flows.products.vectorise import pixel_metres, vectorise
from flows.products.zones import slugs, zones
from tests.conftest import Run
from tests.scenes import draw_scene, read
from tiling.classmaps.legend import legend_of
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.from_files import open_scene

CLASSES = np.array([[0, 0, 7, 7], [0, 7, 0, 7], [300, 300, 300, 0]], np.int16)
SIDECAR = (
    '<PAMDataset><PAMRasterBand band="1"><CategoryNames>{}</CategoryNames>'
    "</PAMRasterBand></PAMDataset>"
)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A foreign class raster: 16 bits, 0 is a class, two of three classes named."""
    path = tmp_path / "mask.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=3, width=4, count=1, dtype="int16", crs="EPSG:32633",
        transform=Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as target:  # fmt: skip
        target.write(CLASSES, 1)
    names = ["Sea", *[""] * 6, "Dry land"]
    text = SIDECAR.format("".join(f"<Category>{name}</Category>" for name in names))
    path.with_name("mask.tif.aux.xml").write_text(text)
    return path


def test_any_class_raster_becomes_polygons_with_its_names(mask: Path, tmp_path: Path) -> None:
    assert vectorise(mask, tmp_path / "a.fgb", ThisProcess()) == 6
    found = geopandas.read_file(tmp_path / "a.fgb")
    assert sorted(zip(found.class_id, found.class_name, found.n_pixels, strict=True)) == [
        (0, "Sea", 1), (0, "Sea", 1), (0, "Sea", 3), (7, "Dry land", 1), (7, "Dry land", 3), (300,
        "300", 3),
    ]  # fmt: skip
    assert found.union_all().equals(shapely.box(5e5, 5e6 - 30, 5e5 + 40, 5e6))


def test_no_data_connectivity_and_dissolving_are_settings(mask: Path, tmp_path: Path) -> None:
    assert vectorise(mask, tmp_path / "a.fgb", ThisProcess(), nodata=0) == 3
    assert vectorise(mask, tmp_path / "b.fgb", ThisProcess(), connectivity=8) == 3
    assert vectorise(mask, tmp_path / "c.fgb", ThisProcess(), dissolve=True) == 3
    found = geopandas.read_file(tmp_path / "c.fgb")
    assert dict(zip(found.class_id, found.n_pixels, strict=True)) == {0: 5, 7: 4, 300: 3}


def test_the_legend_leaves_no_data_out_and_keeps_colours(mask: Path) -> None:
    assert [row[:2] for row in legend_of(mask)] == [(0, "Sea"), (7, "Dry land")]


def test_the_side_of_a_pixel_is_measured_on_the_ground(mask: Path) -> None:
    assert pixel_metres(mask) == pytest.approx(10, rel=1e-3)


def test_zones_keep_their_columns_and_get_areas(mask: Path, tmp_path: Path) -> None:
    west, north = 5e5, 5e6
    boxes = [
        shapely.box(west, north - 20, west + 20, north),
        shapely.box(west + 30, north - 30, west + 60, north),
    ]
    frame = geopandas.GeoDataFrame(
        {"fid": [5, 6], "name": ["a", None]}, geometry=boxes, crs="EPSG:32633"
    )
    frame.to_crs("EPSG:4326").to_file(tmp_path / "zones.geojson")
    layer, table, _ = zones(mask, tmp_path / "zones.geojson", tmp_path / "out.gpkg")
    found = geopandas.read_file(layer, layer="zones")
    assert found.crs == "EPSG:4326"
    assert (found["name"][0], found["name"].isna()[1]) == ("a", True)
    assert found["mapped_share"].tolist() == pytest.approx([1, 1 / 3], abs=1e-6)
    assert found["sea_share"].tolist() == pytest.approx([0.75, 1 / 3], abs=1e-6)
    assert (found["sea_m2"] + found["dry_land_m2"]).tolist() == pytest.approx(
        found["mapped_m2"].tolist()
    )
    with open(table, encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert [float(row["sea_m2"]) for row in rows] == found["sea_m2"].tolist()


def test_zones_without_columns_get_areas(mask: Path, tmp_path: Path) -> None:
    boxes = [shapely.box(5e5, 5e6 - 20, 5e5 + 20, 5e6), shapely.box(5e5, 5e6 - 30, 5e5 + 40, 5e6)]
    frame = geopandas.GeoDataFrame(geometry=boxes, crs="EPSG:32633")
    frame.to_file(tmp_path / "bare.gpkg")
    layer, table, _ = zones(mask, tmp_path / "bare.gpkg", tmp_path / "out.gpkg")
    found = geopandas.read_file(layer, layer="zones")
    assert len(found) == 2
    assert found["sea_share"].tolist() == pytest.approx([0.75, 5 / 12], abs=1e-6)
    with open(table, encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert [float(row["sea_m2"]) for row in rows] == found["sea_m2"].tolist()


def test_regions_are_cut_along_zones_and_carry_their_columns(mask: Path, tmp_path: Path) -> None:
    west, north = 5e5, 5e6
    boxes = [
        shapely.box(west + 20, north - 30, west + 40, north),
        shapely.box(west, north - 30, west + 30, north),
    ]
    frame = geopandas.GeoDataFrame(
        {"name": ["east", None], "class_id": [8, 9]}, geometry=boxes, crs="EPSG:32633"
    )
    frame.to_file(tmp_path / "zones.gpkg")
    assert vectorise(mask, tmp_path / "a.gpkg", ThisProcess(), zones=tmp_path / "zones.gpkg") == 7
    found = geopandas.read_file(tmp_path / "a.gpkg", layer="landcover")
    rows = zip(
        found["zone_class_id"],
        found["class_id"],
        found["class_name"],
        found["n_pixels"],
        strict=True,
    )
    assert sorted(rows) == [
        (8, 0, "Sea", 1), (8, 0, "Sea", 1), (8, 7, "Dry land", 3), (8, 300, "300", 1),
        (9, 0, "Sea", 3), (9, 7, "Dry land", 1), (9, 300, "300", 2),
    ]  # fmt: skip
    assert set(found["name"].dropna()) == {"east"}
    assert found[found["zone_class_id"] == 8].union_all().equals(boxes[0])
    dissolved = {"zones": tmp_path / "zones.gpkg", "dissolve": True, "geopackage": "1.4"}
    assert vectorise(mask, tmp_path / "b.gpkg", ThisProcess(), **dissolved) == 6
    found = geopandas.read_file(tmp_path / "b.gpkg", layer="landcover")
    assert found.groupby("zone_class_id")["n_pixels"].sum().to_dict() == {8: 6, 9: 6}
    assert version_of(tmp_path / "a.gpkg") == 10_200
    assert version_of(tmp_path / "b.gpkg") == 10_400


def version_of(geopackage: Path) -> int:
    with closing(sqlite3.connect(geopackage)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_columns_of_classes_never_clash() -> None:
    assert slugs({1: "Trees & shrubs", 2: "trees, shrubs", 3: "3"}, [1, 2, 3]) == [
        "trees_shrubs_1", "trees_shrubs_2", "class_3",
    ]  # fmt: skip


def test_a_measure_is_the_index_in_ten_thousandths(tmp_path: Path) -> None:
    path = draw_scene(tmp_path / "scene.tif", 60, 80)
    scene = open_scene((str(path),))
    measure = index_measures(scene, ["ndvi"], Window(10, 20, 30, 40))["ndvi"]
    red, nir = (read(path, band).astype(float) for band in (3, 4))
    with np.errstate(all="ignore"):
        expected = np.rint(1e4 * (nir - red) / (nir + red))
    expected = np.where(red > 0, expected, IndexMeasure.missing)[15:25, 30:50]
    found = measure(Window(5, 10, 10, 20))
    assert found.dtype == np.int32
    assert (np.abs(found - expected) <= 1).all(), "float32 may round a half the other way"


def test_two_indices_that_differ_in_capitals_only_cannot_both_have_a_column() -> None:
    assert index_columns(["ndvi", "NDWI", "NDVI"]) == ("ndvi", "ndwi")
    with pytest.raises(InputError, match="capitals only"):
        index_columns(["BAI", "BaI"])


# ------------------------------------------------------------------------------------- command line


def write_plain(path: Path, values: np.ndarray, **settings: object) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype=values.dtype,
        crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6), **settings,
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path


def test_measurements_are_no_classes_unless_someone_insists(landweave: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    levels = write_plain(tmp_path / "levels.tif", rng.integers(0, 100, (60, 60)).astype(np.uint8))
    status, _, err = landweave("vectorise", levels, "--out", tmp_path / "a.fgb")
    assert status == 2
    assert "levels.tif looks like measurements, not classes: 100 values" in err
    assert not (tmp_path / "a.fgb").exists()
    assert (
        landweave("vectorise", levels, "--out", tmp_path / "a.fgb", "--any-values", "--workers", 0)[
            0
        ]
        == 0
    )
    # many values, in regions
    regions = np.kron(np.arange(144).reshape(12, 12), np.ones((5, 5))).astype(np.uint8)
    few = rng.integers(1, 9, (60, 60)).astype(np.uint8)  # speckle of a few classes
    for number, values in enumerate((regions, few)):
        classes = write_plain(tmp_path / f"{number}.tif", values)
        status, _, err = landweave(
            "vectorise", classes, "-o", tmp_path / f"new{number}" / "a.fgb", "--workers", 0
        )
        assert status == 0, err
        assert (tmp_path / f"new{number}" / "a.fgb").exists()


def test_a_smallest_area_beyond_the_raster_is_warned_of(
    landweave: Run, mask: Path, tmp_path: Path
) -> None:
    def warnings(area: str) -> str:
        status, _, err = landweave(
            "vectorise", mask, "-o", tmp_path / "a.fgb", "--workers", 0, "--min-area", area
        )
        assert status == 0
        return "".join(line for line in err.splitlines() if "warning" in line)

    assert "--min-area 1300 is more than all of mask.tif, 1,20" in warnings("1300")
    assert warnings("1100") == ""


def test_zones_elsewhere_are_a_mistake(landweave: Run, mask: Path, tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[shapely.box(-99, 19, -98, 20)], crs="EPSG:4326").to_file(
        tmp_path / "z.geojson"
    )
    status, _, err = landweave(
        "zones", mask, tmp_path / "z.geojson", "--out", tmp_path / "out.gpkg"
    )
    assert status == 2
    assert "z.geojson and " in err.splitlines()[-1]
    assert "share no pixel with data" in err
    assert not (tmp_path / "out.gpkg").exists()


def test_polygons_made_here_are_zones_too(landweave: Run, mask: Path, tmp_path: Path) -> None:
    vectorise(mask, tmp_path / "a.gpkg", ThisProcess())
    status, out, err = landweave(
        "zones", mask, tmp_path / "a.gpkg", "-o", tmp_path / "new" / "z.gpkg", "--json"
    )
    assert status == 0, err
    rows = json.loads(out)["zones"]
    assert sorted({row["zone_class_name"] for row in rows}) == ["300", "Dry land", "Sea"]
    for row in rows:
        own = {"Sea": "sea", "Dry land": "dry_land", "300": "class_300"}[row["zone_class_name"]]
        assert row[f"{own}_share"] == pytest.approx(1)


def test_geojson_comes_with_a_note_on_its_size(landweave: Run, mask: Path, tmp_path: Path) -> None:
    status, out, _ = landweave("vectorise", mask, "--out", tmp_path / "a.geojson", "--workers", "0")
    assert status == 0
    assert "MB of GeoJSON, which readers load whole" in out
    _, out, _ = landweave("vectorise", mask, "--out", tmp_path / "a.gpkg", "--workers", "0")
    assert "readers load" not in out
