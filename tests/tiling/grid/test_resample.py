"""Pixels on another grid: where GDAL, PROJ and scipy say they are, and the same in every window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from scipy.ndimage import map_coordinates

from tests.tiling.rasters import noise, write
from tiling.grid import resample as module
from tiling.grid.resample import places, resample
from tiling.grid.window import Window

UTM_33 = GeoBox((120, 140), from_origin(500_000, 5_000_000, 10, 10), "EPSG:32633")


def grid_at(epsg: int, size: float, shape: tuple[int, int] = (150, 160)) -> GeoBox:
    """A grid of another CRS over the middle of `UTM_33`."""
    x, y = Transformer.from_crs(32633, epsg, always_xy=True).transform(500_700, 4_999_400)
    return GeoBox(
        shape,
        from_origin(x - size * shape[1] / 2, y + size * shape[0] / 2, size, size),
        f"EPSG:{epsg}",
    )


SOURCES = {
    "zone": grid_at(32632, 10),
    "degrees": grid_at(4326, 0.0001),
    "laea": grid_at(3035, 12.5),
    "coarse": GeoBox((30, 35), from_origin(500_015, 4_999_985, 40, 40), "EPSG:32633"),
    "south-up": GeoBox((70, 80), Affine(20, 0, 499_990, 0, 20, 4_998_600), "EPSG:32633"),
}


def reader(stored: Any, valid: Any = None) -> Any:
    """Reads windows of an array."""
    seen = np.ones(stored.shape, bool) if valid is None else valid

    def read(window: Window) -> tuple[Any, Any]:
        at = window.within(Window.of_shape(*stored.shape))
        return stored[at], seen[at]

    return read


UTM_33_WINDOW = Window.of_shape(*UTM_33.shape)


def places_of(source: GeoBox) -> tuple[Any, Any]:
    """Row and column of each pixel's centre, as pyproj says."""
    y, x = np.mgrid[:120, :140] + 0.5
    x, y = Transformer.from_crs(UTM_33.crs, source.crs, always_xy=True).transform(
        500_000 + 10 * x, 5_000_000 - 10 * y
    )
    inverse = ~source.affine
    return inverse.f + inverse.e * y, inverse.c + inverse.a * x


@pytest.mark.parametrize("name", list(SOURCES))
def test_the_nearest_pixel_is_the_one_that_gdal_finds(tmp_path: Path, name: str) -> None:
    source = SOURCES[name]
    stored = noise(*source.shape, seed=4)
    path = write(tmp_path / "a.tif", stored, transform=source.affine, crs=str(source.crs))
    found, data = resample(reader(stored), source, UTM_33, UTM_33_WINDOW, "uint8", smooth=False)
    with rasterio.open(path) as dataset, WarpedVRT(
        dataset, crs="EPSG:32633", transform=UTM_33.affine, height=120, width=140,
        resampling=Resampling.nearest,
        tolerance=1e-9, add_alpha=True,
    ) as warped:  # fmt: skip
        expected, alpha = warped.read()
    assert ((alpha > 0) == data).mean() > 0.999
    assert (found == expected)[data].mean() > 0.998  # some lie on an edge between two pixels
    assert data.mean() > 0.5


@pytest.mark.parametrize("name", list(SOURCES))
def test_between_pixels_values_are_interpolated(name: str) -> None:
    source = SOURCES[name]
    stored = noise(*source.shape, seed=4).astype("float32")
    found, data = resample(reader(stored), source, UTM_33, UTM_33_WINDOW, "float32", smooth=True)
    rows, cols = places_of(source)
    expected = map_coordinates(
        stored.astype("float64"), (rows - 0.5, cols - 0.5), order=1, mode="nearest"
    )
    np.testing.assert_allclose(found[data], expected[data], atol=0.05)  # of values that jump by 200
    whole, _ = resample(
        reader(stored.astype("int16")), source, UTM_33, UTM_33_WINDOW, "int16", smooth=True
    )
    assert np.abs(whole[data] - expected[data]).max() <= 0.55
    assert np.array_equal(
        data, (rows >= 0) & (rows < source.height) & (cols >= 0) & (cols < source.width)
    )


@pytest.mark.parametrize("name", list(SOURCES))
def test_places_are_those_of_the_projection(name: str) -> None:
    source = SOURCES[name]
    rows, cols = np.broadcast_arrays(*places(UTM_33, source, UTM_33_WINDOW))
    expected = places_of(source)
    np.testing.assert_allclose(rows, expected[0], atol=1e-3)
    np.testing.assert_allclose(cols, expected[1], atol=1e-3)


@pytest.mark.parametrize(
    "grid",
    [
        GeoBox(
            (300, 400), from_origin(688_000, 6_000_000, 1000, 1000), "EPSG:32660"
        ),  # 180° lies in it
        GeoBox(
            (200, 200), from_origin(-1_000_000, 1_000_000, 10_000, 10_000), "EPSG:3995"
        ),  # the north pole too
    ],
)
def test_where_places_jump_each_is_looked_up(grid: GeoBox) -> None:
    world = GeoBox((1800, 3600), from_origin(-180, 90, 0.1, 0.1), "EPSG:4326")
    rows, cols = places(grid, world, Window.of_shape(*grid.shape))
    y, x = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(*(grid.affine @ (x, y)))
    np.testing.assert_allclose(rows, (90 - y) / 0.1, atol=0.02)
    np.testing.assert_allclose(cols, (x + 180) / 0.1, atol=0.02)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    name=st.sampled_from(list(SOURCES)), smooth=st.booleans(), row=st.integers(0, 110),
    col=st.integers(0, 130),
    height=st.integers(1, 120), width=st.integers(1, 140), at_once=st.sampled_from([2**18, 500,
    17]),
)  # fmt: skip
def test_a_pixel_does_not_depend_on_the_window(
    name: str, smooth: bool, row: int, col: int, height: int, width: int, at_once: int
) -> None:
    source = SOURCES[name]
    stored, valid = (
        noise(*source.shape, seed=1).astype("float64") / 3,
        noise(*source.shape, seed=2) > 40,
    )
    whole = resample(reader(stored, valid), source, UTM_33, UTM_33_WINDOW, "float64", smooth=smooth)
    window = Window(row, col, height, width) & UTM_33_WINDOW
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once)
        part = resample(reader(stored, valid), source, UTM_33, window, "float64", smooth=smooth)
    at = window.within(UTM_33_WINDOW)
    assert np.array_equal(part[0], whole[0][at])
    assert np.array_equal(part[1], whole[1][at])


def test_no_data_is_not_mixed_into_its_neighbours_and_nan_neither() -> None:
    stored = np.full((30, 35), 7.5)
    valid = noise(30, 35) > 60
    stored[~valid] = np.nan
    found, data = resample(
        reader(stored, valid), SOURCES["coarse"], UTM_33, UTM_33_WINDOW, "float64", smooth=True
    )
    assert data.any()
    np.testing.assert_allclose(found[data], 7.5)
    assert not data[:1].any()  # the source begins 15 m further in
    near, there = resample(
        reader(stored, valid), SOURCES["coarse"], UTM_33, UTM_33_WINDOW, "float64", smooth=False
    )
    assert np.array_equal(there, data)
    assert np.array_equal(np.isfinite(near[there]), np.ones(there.sum(), bool))


def test_a_source_of_far_smaller_pixels_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = GeoBox((1200, 1400), from_origin(500_000, 5_000_000, 1, 1), "EPSG:32633")
    stored, asked = noise(1200, 1400, seed=5), []

    def read(window: Window) -> tuple[Any, Any]:
        asked.append(window.area)
        return reader(stored)(window)

    whole, _ = resample(read, fine, UTM_33, UTM_33_WINDOW, "uint8", smooth=False)
    monkeypatch.setattr(module, "_MOST_STORED", 10_000)
    asked.clear()
    pieces, data = resample(read, fine, UTM_33, UTM_33_WINDOW, "uint8", smooth=False)
    assert max(asked) <= 10_000
    assert np.array_equal(pieces, whole)
    assert np.array_equal(pieces, stored[5::10, 5::10])
    assert data.all()


def test_a_source_that_lies_elsewhere_has_nothing_to_say() -> None:
    far = GeoBox((10, 10), from_origin(900_000, 5_000_000, 10, 10), "EPSG:32633")
    found, data = resample(reader(noise(10, 10)), far, UTM_33, UTM_33_WINDOW, "uint8", smooth=True)
    assert not data.any()
    assert not found.any()
