"""Facts about areas in zones: exact coverage, whatever the cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exactextract
import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from tests.chance import chances
from tests.tiling.rasters import write
from tiling.classmaps import zonal_areas
from tiling.classmaps.zonal_areas import UNIT, coverage, edges_of, zone_areas
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window

HERE = Window(0, 0, 7, 9)
PIXELS = shapely.box(
    *np.meshgrid(np.arange(9), np.arange(7)), *np.meshgrid(np.arange(1, 10), np.arange(1, 8))
)


@st.composite
def polygons(draw: st.DrawFn) -> list[shapely.Geometry]:
    """One to three polygons on and around the pixels: slanted ones, and some that lie on lattice
    lines."""
    places = st.one_of(st.integers(-2, 11).map(float), st.floats(-2, 11, width=32))
    outlines = draw(
        st.lists(
            st.lists(st.tuples(places, places), min_size=3, max_size=7), min_size=1, max_size=3
        )
    )
    shapes = [shapely.make_valid(shapely.Polygon(outline)) for outline in outlines]
    flat = [
        shapely.MultiPolygon([p for p in shapely.get_parts(s) if p.geom_type == "Polygon"])
        for s in shapes
    ]
    return [shape for shape in flat if shape.is_valid]


def dense(shapes: list[shapely.Geometry], window: Window) -> Any:
    """`(zone, y, x)` coverage in units."""
    array = np.zeros((len(shapes), *window.shape), np.int64)
    for zone, row, col, length, covered in zip(
        *coverage(edges_of(shapes, Affine.identity()), window), strict=True
    ):
        array[zone, row - window.row, col - window.col : col - window.col + length] += covered
    return array


CLOSED_GAP = shapely.MultiPolygon(
    [
        shapely.Polygon([(0, 2), (2, 0), (0, 1)]),
        shapely.Polygon([(0, 0), (0, 1), (1, 1e-38), (2, 0)]),
    ]
)


@settings(max_examples=40)
@example([CLOSED_GAP])
@given(polygons())
def test_coverage_is_the_area_of_the_intersection(shapes: list[shapely.Geometry]) -> None:
    for found, shape in zip(dense(shapes, HERE), shapes, strict=True):
        np.testing.assert_allclose(
            found / UNIT, shapely.area(shapely.intersection(PIXELS, shape)), atol=1e-9
        )


@settings(max_examples=20)
@given(polygons(), st.integers(1, 5))
def test_coverage_does_not_depend_on_the_window(shapes: list[shapely.Geometry], size: int) -> None:
    whole = dense(shapes, HERE)
    for block in HERE.blocks(size):
        np.testing.assert_array_equal(dense(shapes, block), whole[:, *block.within(HERE)])


@pytest.mark.slow
def test_coverage_of_many_corners_is_that_area_too_whatever_the_window() -> None:
    for chance in chances(60):
        corners = [chance.uniform(-2, 11, (int(chance.integers(5, 12)), 2)) for _ in range(3)]
        corners[0] = corners[0].round()  # on lattice lines
        corners[1] = (corners[1] * 4).round() / 4
        shapes = [shapely.make_valid(shapely.Polygon(outline)) for outline in corners]
        flat = [
            shapely.MultiPolygon([p for p in shapely.get_parts(s) if p.geom_type == "Polygon"])
            for s in shapes
        ]
        sound = [shape for shape in flat if shape.is_valid]
        test_coverage_is_the_area_of_the_intersection.hypothesis.inner_test(sound)
        test_coverage_does_not_depend_on_the_window.hypothesis.inner_test(
            sound, int(chance.integers(1, 5))
        )


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_parts_of_a_cut_zone_sum_exactly_to_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = (np.arange(9) + rng.uniform(0, 0.8, 9)) * 2 * np.pi / 9
    centre = np.array([[4.5, 3.5]])
    star = centre + rng.uniform(1, 5, 9)[:, None] * np.stack(
        [np.cos(angles), np.sin(angles)], axis=1
    )
    fan = [shapely.Polygon(np.concatenate([centre, star[[i, (i + 1) % 9]]])) for i in range(9)]
    one, other = (
        shapely.Polygon(np.concatenate([centre, star[part]]))
        for part in (range(5), [*range(4, 9), 0])
    )
    slices, halves = dense(fan, HERE), dense([one, other], HERE)
    np.testing.assert_array_equal(slices[:4].sum(0), halves[0])
    np.testing.assert_array_equal(slices[4:].sum(0), halves[1])


def test_holes_are_not_covered() -> None:
    ring = shapely.box(1, 1, 8, 6) - shapely.box(2.5, 2, 4, 4)
    assert dense([ring], HERE)[0, 1:6, 1:8].sum() == (35 - 3) * UNIT
    assert dense([ring], HERE)[0, 2, 2:4].tolist() == [UNIT // 2, 0]


def test_areas_of_a_drawn_map(tmp_path: Path) -> None:
    raster = write(tmp_path / "map.tif", np.array([[1, 1, 2, 2], [1, 1, 2, 0]], np.uint8), nodata=0)
    left, top = 500_000, 5_000_000
    # half of column 1, column 2, half of column 3
    zone = shapely.box(left + 15, top - 20, left + 35, top)
    beyond = shapely.box(left - 40, top - 20, left + 10, top)
    nowhere = shapely.Polygon()
    found = zone_areas(raster, [zone, beyond, nowhere])
    one = found.square_metres[1, 0] / 2  # of two whole pixels
    assert found.values == (1, 2)
    assert one == pytest.approx(100, rel=1e-3)
    np.testing.assert_allclose(
        found.square_metres, [[one, 2.5 * one], [2 * one, 0], [0, 0]], rtol=1e-12
    )
    np.testing.assert_array_equal(found.share, [0.875, 0.2, np.nan])


def test_a_zone_over_everything_holds_the_areas_of_all_pixels(
    tmp_path: Path, monkeypatch: Any
) -> None:
    classes = np.random.default_rng(0).integers(0, 4, (70, 90)).astype(np.int16)
    where = Affine(0.01, 0, 170, 0, -0.02, 60)
    raster = write(tmp_path / "map.tif", classes, crs="EPSG:4326", transform=where)
    areas = PixelAreas(GeoBox((70, 90), where, "EPSG:4326"))
    units = areas.read(Window(0, 0, 70, 90))
    expected = [float(units[classes == value].sum()) * areas.unit for value in range(4)]
    world = shapely.box(160, 40, 180, 70)
    whole = zone_areas(raster, [world])
    assert whole.values == (0, 1, 2, 3), "without a declared no data 0 is a class"
    assert whole.square_metres[0].tolist() == expected
    for block, at_once in ((16, 1 << 22), (1024, 100)):
        monkeypatch.setattr(zonal_areas, "BLOCK", block)
        monkeypatch.setattr(zonal_areas, "AT_ONCE", at_once)
        assert zone_areas(raster, [world]).square_metres.tolist() == whole.square_metres.tolist()
    assert zone_areas(raster, [world], nodata=0).values == (1, 2, 3)


def test_a_raster_of_fractions_is_refused(tmp_path: Path) -> None:
    raster = write(tmp_path / "map.tif", np.ones((4, 4), np.float32))
    with pytest.raises(InputError, match="holds float32"):
        zone_areas(raster, [shapely.box(0, 0, 1, 1)])


def test_areas_are_those_of_exactextract(shared_data: Path) -> None:
    """On a real map in metres: the same covered fractions, so the same hectares but for the
    ellipsoid's scale."""
    raster = shared_data / "chesapeake_md_multires" / "m_3907833_nw_17_1_lc.tif"
    with rasterio.open(raster) as source:
        west, south, east, north = source.bounds
        crs, pixel = source.crs, abs(source.transform.a * source.transform.e)
        areas = PixelAreas(GeoBox(source.shape, source.transform, crs.to_wkt()))
    rng = np.random.default_rng(0)
    centres = np.stack([rng.uniform(west, east, 12), rng.uniform(south, north, 12)], axis=1)
    shapes = [
        shapely.Point(centre).buffer(rng.uniform(50, 1500), quad_segs=5) for centre in centres
    ]
    found = zone_areas(raster, shapes)
    frame = geopandas.GeoDataFrame(geometry=shapes, crs=crs)
    expected = exactextract.exact_extract(
        str(raster), frame, ["unique", "frac", "count"], output="pandas"
    )
    mean = areas.read(Window(0, 0, 260, 260)).mean() * areas.unit
    for zone, (values, parts, count) in enumerate(
        expected[["unique", "frac", "count"]].itertuples(index=False)
    ):
        shares = dict(zip(np.asarray(values, int).tolist(), parts, strict=True))
        theirs = np.array([shares.get(value, 0) * count for value in found.values])
        np.testing.assert_allclose(found.square_metres[zone] / mean, theirs, rtol=1e-4, atol=1e-6)
        assert found.square_metres[zone].sum() == pytest.approx(count * pixel, rel=2e-3)
