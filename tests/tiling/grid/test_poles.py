"""Poles, the antimeridian and world maps, where the Earth ends or begins anew: pyproj's geodesics
are the oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from typer.testing import CliRunner

from flows.cli import app
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.pixel_size import PixelSpacing
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.polygons.polygonise import polygonise

HALF = 20037508.342789244
"""Half the equator in web Mercator: the world is a square of twice that."""
NORTH, SOUTH = "EPSG:3413", "EPSG:3031"
GEOD = Geod(ellps="WGS84")

GRIDS = {
    "globe in degrees": GeoBox((36, 72), Affine(5, 0, -180, 0, -5, 90), "EPSG:4326"),
    "rows centred on the poles": GeoBox((37, 72), Affine(5, 0, -182.5, 0, -5, 92.5), "EPSG:4326"),
    "half a pixel beyond": GeoBox((1801, 20), Affine(0.1, 0, 5, 0, -0.1, 90.05), "EPSG:4326"),
    "south-up globe": GeoBox((36, 72), Affine(5, 0, -180, 0, 5, -90), "EPSG:4326"),
    "across the antimeridian": GeoBox((40, 80), Affine(0.25, 0, 170, 0, -0.25, 5), "EPSG:4326"),
    "world Mercator": GeoBox(
        (32, 32), Affine(HALF / 16, 0, -HALF, 0, -HALF / 16, HALF), "EPSG:3857"
    ),
    "north, coarse": GeoBox((30, 30), Affine(3e5, 0, -4.5e6, 0, -3e5, 4.5e6), NORTH),
    "north, the pole within a pixel": GeoBox(
        (31, 31), Affine(3e5, 0, -4.65e6, 0, -3e5, 4.65e6), NORTH
    ),
    "south, coarse": GeoBox((30, 30), Affine(3e5, 0, -4.5e6, 0, -3e5, 4.5e6), SOUTH),
    "south, fine": GeoBox((40, 40), Affine(30, 0, -600, 0, -30, 600), SOUTH),
    "UTM across the antimeridian": GeoBox(
        (30, 60), Affine(2e4, 0, -2e5, 0, -2e4, 1e6), "EPSG:32601"
    ),
}


def outline(
    geobox: GeoBox, window: Window, points: int = 300
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Longitudes and latitudes around a window, as the map draws its sides."""
    step = np.linspace(0, 1, points, endpoint=False)
    x = window.col + window.width * np.concatenate(
        [step, np.ones(points), 1 - step, np.zeros(points)]
    )
    y = window.row + window.height * np.concatenate(
        [np.zeros(points), step, np.ones(points), 1 - step]
    )
    assert geobox.crs is not None
    lon, lat = Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True).transform(
        *(geobox.affine @ (x, y))
    )
    return np.asarray(lon), np.clip(lat, -90, 90)


@pytest.mark.parametrize("name", GRIDS)
def test_every_pixel_has_the_area_of_its_geodesic_outline(name: str) -> None:
    geobox = GRIDS[name]
    areas = PixelAreas(geobox)
    units = areas.read(Window.of_shape(*geobox.shape))
    assert (units > 0).all()
    places = np.random.default_rng(0).integers(0, geobox.shape, (60, 2)).tolist()
    height, width = geobox.shape
    for row, col in [*places, (0, 0), (height - 1, width - 1), (height // 2, width // 2)]:
        expected = abs(GEOD.polygon_area_perimeter(*outline(geobox, Window(row, col, 1, 1)))[0])
        assert units[row, col] * areas.unit == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_pixels_of_a_map_add_up_whatever_windows_they_are_read_in(name: str) -> None:
    geobox = GRIDS[name]
    areas, whole = PixelAreas(geobox), Window.of_shape(*geobox.shape)
    units = areas.read(whole)
    for window in whole.blocks(7):
        assert np.array_equal(
            areas.read(window),
            units[window.ranges[0][0] : window.ranges[0][1], slice(*window.ranges[1])],
        )
    down, across = PixelSpacing(geobox).read(whole)
    assert (down > 0).all()
    assert (across > 0).all()


@pytest.mark.parametrize(
    "name", ["globe in degrees", "rows centred on the poles", "south-up globe"]
)
def test_all_rows_of_the_globe_cover_the_ellipsoid(name: str) -> None:
    areas = PixelAreas(GRIDS[name])
    total = areas.read(Window.of_shape(*areas.geobox.shape)).sum() * areas.unit
    assert total == pytest.approx(510_065_621_724_088, rel=1e-6)


def test_a_world_of_web_mercator_ends_at_85_degrees() -> None:
    areas = PixelAreas(GRIDS["world Mercator"])
    total = areas.read(Window.of_shape(32, 32)).sum() * areas.unit
    band = GEOD.polygon_area_perimeter(
        [0, 0, 0.1, 0.1], [0, 85.0511287798066, 85.0511287798066, 0]
    )[0]
    assert total == pytest.approx(2 * 3600 * abs(band), rel=1e-3)


def test_no_pixel_of_a_fine_grid_at_the_pole_is_without_an_area() -> None:
    grid = GeoBox((4, 4), Affine(1e-6, 0, 0, 0, -1e-6, 90), "EPSG:4326")
    assert (PixelAreas(grid).read(Window(0, 0, 4, 4)) > 0).all()


def test_coarse_pixels_are_as_far_apart_as_pyproj_says() -> None:
    for name in ("world Mercator", "north, coarse"):
        geobox = GRIDS[name]
        assert geobox.crs is not None
        to_lonlat = Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True)
        down, across = PixelSpacing(geobox).read(Window.of_shape(*geobox.shape))
        for row, col in ((3, 4), (12, 20), (25, 7)):
            for found, ends in ((down, ((0.5, 0), (0.5, 1))), (across, ((0, 0.5), (1, 0.5)))):
                here, there = (
                    to_lonlat.transform(*(geobox.affine @ (col + x, row + y))) for x, y in ends
                )
                assert found[row, col] == pytest.approx(GEOD.inv(*here, *there)[2], rel=1e-6)


def write(
    path: Path, geobox: GeoBox, classes: npt.NDArray[np.uint8] | None = None, **about: Any
) -> Path:
    height, width = geobox.shape
    drawn = np.kron(
        np.random.default_rng(1).integers(1, 4, (height // 4 + 1, width // 4 + 1)), np.ones((4, 4))
    )
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="uint8",
        nodata=0,
        crs=geobox.crs.to_wkt() if geobox.crs else None,
        transform=geobox.affine,
        **about,
    ) as target:
        target.write(drawn[:height, :width].astype(np.uint8) if classes is None else classes, 1)
    return path


def test_a_band_around_the_earth_is_as_long_as_its_parallels(tmp_path: Path) -> None:
    """One line from 180° west to 180° east joins two names of one point: as a geodesic it has no
    length."""
    classes = np.full((36, 72), 1, np.uint8)
    classes[6:12] = 2  # 60° to 30° north
    (batch, *_) = polygonise(
        write(tmp_path / "globe.tif", GRIDS["globe in degrees"], classes), simplify=0
    )
    rows = batch.to_pydict()
    band = rows["class_id"].index(2)
    parallels = sum(
        GEOD.line_length(np.linspace(-180, 180, 3601), np.full(3601, lat)) for lat in (60.0, 30.0)
    )
    sides = 2 * GEOD.inv(180, 30, 180, 60)[2]
    assert rows["perimeter_m"][band] == pytest.approx(parallels + sides, rel=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "rows centred on the poles",
        "across the antimeridian",
        "world Mercator",
        "north, the pole within a pixel",
    ],
)
def test_every_command_measures_the_same_ground(name: str, tmp_path: Path) -> None:
    geobox = GRIDS[name]
    raster = write(tmp_path / "map.tif", geobox)
    areas = PixelAreas(geobox)
    units = areas.read(Window.of_shape(*geobox.shape))
    with rasterio.open(raster) as source:
        expected = {
            value: float(units[source.read(1) == value].sum() * areas.unit) for value in (1, 2, 3)
        }
    for command in (
        ("vectorise", raster, "--out", tmp_path / "v.gpkg"),
        ("zones", raster, tmp_path / "v.gpkg", "--out", tmp_path / "z.gpkg"),
        ("change", raster, raster, "--out", tmp_path / "c"),
    ):
        done = CliRunner().invoke(app, [*map(str, command)])
        assert done.exit_code == 0, (command, done.output)
    polygons = pyogrio.read_dataframe(tmp_path / "v.gpkg", layer="landcover")
    assert (polygons["perimeter_m"] > 0).all()
    by_class = polygons.groupby("class_id")["area_m2"].sum().to_dict()
    assert by_class == pytest.approx(expected, rel=1e-12)
    zones = pyogrio.read_dataframe(tmp_path / "z.gpkg", layer="zones")
    assert zones["mapped_m2"].sum() == pytest.approx(sum(expected.values()), rel=1e-6)
    changed = json.loads((tmp_path / "c" / "change.json").read_text())
    assert changed["compared_m2"] == pytest.approx(sum(expected.values()), rel=1e-12)


@pytest.mark.parametrize(
    "geobox",
    [
        GeoBox((20, 36), Affine(10, 0, -180, 0, -10, 100), "EPSG:4326"),
        GeoBox((20, 36), Affine(10, 0, -180, 0, 10, -100), "EPSG:4326"),
        GeoBox((20, 20), Affine(1, 0, 0, 0, -1, 120), "EPSG:4326"),
    ],
    ids=["ten degrees beyond both", "south-up", "all of it"],
)
def test_rows_beyond_a_pole_are_refused_by_every_command_in_one_line(
    geobox: GeoBox, tmp_path: Path
) -> None:
    raster = write(tmp_path / "beyond.tif", geobox)
    with pytest.raises(
        InputError,
        match=r"beyond\.tif reaches from .*° to .*° of latitude, and there is nothing beyond 90",
    ):
        open_dataset(str(raster))
    zones = tmp_path / "zones.geojson"
    geopandas.GeoSeries([shapely.box(1, 50, 9, 80)], crs="EPSG:4326").to_file(zones)
    for command in (
        ("vectorise", raster, "--out", tmp_path / "v.gpkg"),
        ("zones", raster, zones, "--out", tmp_path / "z.gpkg"),
        ("change", raster, raster, "--out", tmp_path / "c"),
        (
            "segment",
            raster,
            "--bands",
            "nir=1",
            "--segmenter",
            "otsu",
            "--set",
            "index=nir",
            "--out",
            tmp_path / "r",
        ),
    ):
        done = CliRunner().invoke(app, [*map(str, command)])
        assert isinstance(done.exception, InputError), command
        assert "of latitude" in str(done.exception)
        assert {path.name for path in tmp_path.iterdir()} == {"beyond.tif", "zones.geojson"}
