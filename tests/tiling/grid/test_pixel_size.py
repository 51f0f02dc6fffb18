"""Metres from pixel to pixel: pyproj's geodesics, the same for a pixel however it is read."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from tiling.errors import InputError
from tiling.grid.pixel_size import PixelSpacing
from tiling.grid.window import Window

DEGREES = GeoBox((200, 300), Affine(1e-3, 0, 15, 0, -2e-3, 60), "EPSG:4326")
UTM = GeoBox((200, 300), Affine(10, 0, 500_000, 0, -20, 6_600_000), "EPSG:32633")
MERCATOR = GeoBox((200, 300), Affine(10, 0, 1_600_000, 0, -10, 8_400_000), "EPSG:3857")
FEET = GeoBox((100, 100), Affine(30, 0, 3_000_000, 0, -30, 600_000), "EPSG:2263")


@pytest.mark.parametrize(
    "geobox", [DEGREES, UTM, MERCATOR, FEET], ids=["degrees", "UTM", "Mercator", "feet"]
)
def test_distances_are_geodesic(geobox: GeoBox) -> None:
    assert geobox.crs is not None
    to_lonlat = Transformer.from_crs(geobox.crs.proj, "EPSG:4326", always_xy=True)
    down, across = PixelSpacing(geobox).read(Window.of_shape(*geobox.shape))
    for row, col in ((3, 4), (60, 70), (90, 31)):
        here, below, beside = (
            to_lonlat.transform(*(geobox.affine @ (c + 0.5, r + 0.5)))
            for r, c in ((row, col), (row + 1, col), (row, col + 1))
        )
        geod = Geod(ellps="GRS80" if geobox is FEET else "WGS84")
        assert down[row, col] == pytest.approx(geod.inv(*here, *below)[2], rel=2e-4)
        assert across[row, col] == pytest.approx(geod.inv(*here, *beside)[2], rel=2e-4)


def test_mercators_metres_are_too_long() -> None:
    """At 60° north a metre of web Mercator is half a metre."""
    assert PixelSpacing(MERCATOR).side == pytest.approx(5, rel=0.02)


@given(st.integers(0, 199), st.integers(0, 299), st.integers(1, 200), st.integers(1, 300))
@pytest.mark.parametrize("geobox", [DEGREES, UTM], ids=["degrees", "UTM"])
def test_a_pixel_has_one_spacing_however_it_is_read(
    geobox: GeoBox, row: int, col: int, height: int, width: int
) -> None:
    whole = Window.of_shape(*geobox.shape)
    window = Window(row, col, height, width) & whole
    for all_of_it, part in zip(
        PixelSpacing(geobox).read(whole), PixelSpacing(geobox).read(window), strict=True
    ):
        assert np.array_equal(part, all_of_it[window.within(whole)])


def test_a_pole_has_distances_too() -> None:
    globe = GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326")
    down, across = PixelSpacing(globe).read(Window.of_shape(180, 360))
    assert (across > 0).all()
    assert down == pytest.approx(111_000, rel=0.01)


def test_a_grid_without_crs_has_no_distances() -> None:
    with pytest.raises(InputError, match="no distances"):
        PixelSpacing(GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), None))
