"""Facts about the area of pixels."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.window import Window

GRIDS = {
    "geographic": GeoBox((300, 200), Affine(0.01, 0, 170, 0, -0.01, 50), "EPSG:4326"),
    "south-up": GeoBox((300, 200), Affine(0.01, 0, 170, 0, 0.01, -40), "EPSG:4326"),
    "projected": GeoBox((300, 200), Affine(10, 0, 3e5, 0, -10, 5.3e6), "EPSG:32633"),
    "rotated geographic": GeoBox(
        (300, 200), Affine(0.001, 0.0002, 10, 0.0002, -0.001, 50), "EPSG:4326"
    ),
}


def square_metres(areas: PixelAreas, window: Window | None = None) -> float:
    """Total area of a window, by default of the grid."""
    window = window or Window.of_shape(*areas.geobox.shape)
    return float(areas.read(window).sum() * areas.unit)


def geodesic(geobox: GeoBox, window: Window) -> float:
    """Area within the outline of a window on the map, its sides cut into 4000 geodesics each."""
    step = np.linspace(0, 1, 4000, endpoint=False)
    x = window.col + window.width * np.concatenate([step, np.ones(4000), 1 - step, np.zeros(4000)])
    y = window.row + window.height * np.concatenate([np.zeros(4000), step, np.ones(4000), 1 - step])
    to_lonlat = Transformer.from_crs(geobox.crs.proj, geobox.crs.proj.geodetic_crs, always_xy=True)
    a, b, c, d, e, f = geobox.affine[:6]
    outline = to_lonlat.transform(a * x + b * y + c, d * x + e * y + f)
    return abs(geobox.crs.proj.get_geod().polygon_area_perimeter(*outline)[0])


def test_a_degree_cell_at_45_north_has_its_geodesic_area() -> None:
    grid = GeoBox((1200, 1200), Affine(1 / 1200, 0, 7, 0, -1 / 1200, 46), "EPSG:4326")
    assert square_metres(PixelAreas(grid)) == pytest.approx(
        geodesic(grid, Window(0, 0, 1200, 1200)), rel=1e-7
    )


@pytest.mark.parametrize("name", GRIDS)
def test_a_block_of_pixels_has_its_geodesic_area(name: str) -> None:
    areas, window = PixelAreas(GRIDS[name]), Window(64, 64, 128, 64)
    assert square_metres(areas, window) == pytest.approx(geodesic(GRIDS[name], window), rel=1e-6)


def test_utm_pixels_differ_from_their_size_on_the_map_by_the_square_of_the_scale() -> None:
    at_the_central_meridian = GeoBox(
        (64, 64), Affine(10, 0, 5e5 - 320, 0, -10, 5.3e6), "EPSG:32633"
    )
    assert square_metres(PixelAreas(at_the_central_meridian)) == pytest.approx(
        64 * 64 * 100 / 0.9996**2, rel=2e-6
    )


def test_the_pixels_of_the_world_cover_the_ellipsoid() -> None:
    areas = PixelAreas(GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326"))
    a, e = Geod(ellps="WGS84").a, math.sqrt(Geod(ellps="WGS84").es)
    surface = 2 * math.pi * a**2 * (1 + (1 - e**2) / e * math.atanh(e))
    assert square_metres(areas) == pytest.approx(surface, rel=1e-7)


def test_rows_half_beyond_a_pole_cover_what_is_on_the_earth() -> None:
    centred = PixelAreas(GeoBox((181, 360), Affine(1, 0, -180.5, 0, -1, 90.5), "EPSG:4326"))
    cut = PixelAreas(GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326"))
    assert square_metres(centred) == pytest.approx(square_metres(cut), rel=1e-7)


def test_a_sphere_obeys_the_textbook() -> None:
    areas = PixelAreas(
        GeoBox((64, 64), Affine(0.1, 0, 0, 0, -0.1, 60), "+proj=longlat +R=6371000 +no_defs")
    )
    zone = (
        6371000**2 * math.radians(6.4) * (math.sin(math.radians(60)) - math.sin(math.radians(53.6)))
    )
    assert square_metres(areas) == pytest.approx(zone, rel=1e-7)


def test_feet_and_metres_measure_one_ground() -> None:
    foot = 1200 / 3937
    metres = GeoBox((64, 64), Affine(3, 0, 3e5, 0, -3, 6e4), "EPSG:32118")
    feet = GeoBox((64, 64), Affine(3 / foot, 0, 3e5 / foot, 0, -3 / foot, 6e4 / foot), "EPSG:2263")
    assert square_metres(PixelAreas(feet)) == pytest.approx(
        square_metres(PixelAreas(metres)), rel=1e-6
    )


def test_grads_and_degrees_measure_one_ground() -> None:
    degrees = GeoBox(
        (64, 64),
        Affine(0.009, 0, 0, 0, -0.009, 45),
        "+proj=longlat +a=6378249.2 +b=6356515 +no_defs",
    )
    grads = GeoBox((64, 64), Affine(0.01, 0, 0, 0, -0.01, 50), "EPSG:4807")
    assert square_metres(PixelAreas(grads)) == pytest.approx(
        square_metres(PixelAreas(degrees)), rel=1e-6
    )


def test_off_the_earth_a_pixel_has_its_area_on_the_map() -> None:
    world = PixelAreas(GeoBox((64, 128), Affine(3e5, 0, -19.2e6, 0, -3e5, 9.6e6), "ESRI:54009"))
    assert square_metres(world, Window(0, 0, 1, 1)) == pytest.approx(9e10, rel=1e-6)
    # Mollweide's areas are true
    assert square_metres(world) == pytest.approx(64 * 128 * 9e10, rel=3e-3)


def test_a_local_crs_measures_on_the_map() -> None:
    local = 'LOCAL_CS["quarry",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    assert square_metres(PixelAreas(GeoBox((10, 20), Affine(0.5, 0, 0, 0, -0.5, 0), local))) == 50.0


def test_a_raster_without_a_crs_has_no_area() -> None:
    with pytest.raises(InputError, match="without a CRS"):
        PixelAreas(GeoBox((10, 10), Affine(1, 0, 0, 0, -1, 0), None))


@pytest.mark.parametrize("size", [0.05, 0.6, 10, 30, 1000])
@pytest.mark.parametrize(
    ("crs", "west", "north"), [("EPSG:32633", 5e5, 5.3e6), ("EPSG:2263", 9e5, 2e5)]
)
def test_a_pixel_of_any_size_is_a_million_units(
    size: float, crs: str, west: float, north: float
) -> None:
    """In metres and in feet."""
    areas = PixelAreas(GeoBox((64, 64), Affine(size, 0, west, 0, -size, north), crs))
    assert math.frexp(areas.unit)[0] == 0.5, "the unit is a power of two"
    assert 2**19.9 < areas.read(Window(0, 0, 1, 1)) < 2**21.1


windows = st.builds(
    Window, st.integers(0, 299), st.integers(0, 199), st.integers(1, 300), st.integers(1, 200)
)


@pytest.mark.parametrize("name", GRIDS)
@given(window=windows)
def test_an_area_depends_on_the_pixel_alone(name: str, window: Window) -> None:
    areas, whole = PixelAreas(GRIDS[name]), Window.of_shape(300, 200)
    window &= whole
    np.testing.assert_array_equal(areas.read(window), WHOLES[name][window.within(whole)])


WHOLES = {name: PixelAreas(grid).read(Window.of_shape(300, 200)) for name, grid in GRIDS.items()}


def test_it_travels() -> None:
    areas = PixelAreas(GRIDS["projected"])
    window = Window(3, 5, 70, 80)
    before = areas.read(window)
    there = pickle.loads(pickle.dumps(areas))
    assert there == areas
    np.testing.assert_array_equal(there.read(window), before)


def test_sums_by_group_are_exact_where_float32_is_not() -> None:
    groups, values = np.array([[0, 2], [2, 2]]), np.array([[1, 2**40], [1, 2**45]])
    np.testing.assert_array_equal(sum_by(groups, values, 4), [1, 0, 2**40 + 1 + 2**45, 0])
