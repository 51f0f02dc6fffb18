"""What is found in an array: its grid, its bands, its no data, its day; and what it may not be."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from math import isnan

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from landweave.arrays import nodata_of, rasters_of, values_are_scaled, without_time
from tiling.errors import InputError

GRID = GeoBox((3, 4), Affine(10, 0, 500_000, 0, -10, 5_300_000), "EPSG:32633")


def stack(dtype: str = "uint16", **attrs: object) -> xr.DataArray:
    """Two bands `(band, y, x)` as odc-geo makes them."""
    pixels = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array = wrap_xr(pixels, GRID, dims=("band", "y", "x"), axis=1, **attrs)
    return array.assign_coords(band=["red", "nir"])


def test_odc_and_rioxarray_conventions_say_the_same() -> None:
    import rioxarray  # noqa: F401 - gives arrays their .rio

    x, y = 500_000 + 10 * (np.arange(4) + 0.5), 5_300_000 - 10 * (np.arange(3) + 0.5)
    plain = xr.DataArray(
        np.arange(24).reshape(2, 3, 4), dims=("band", "y", "x"), coords={"y": y, "x": x}
    )
    by_rio = plain.astype("uint16").rio.write_crs("EPSG:32633").rio.write_nodata(0)
    (one,), (other,) = rasters_of(by_rio), rasters_of(stack(nodata=0))
    assert one.geobox == other.geobox == GRID
    assert one.nodata == other.nodata == 0
    assert np.array_equal(one.read(one.windows()[0]), other.read(other.windows()[0]))


def test_bands_are_called_as_variables_as_coordinates_or_as_rioxarray_lists_them() -> None:
    array = stack()
    numbered = array.assign_coords(band=[1, 2])
    assert rasters_of(array)[0].names == ("red", "nir")
    assert rasters_of(numbered)[0].names == ()
    assert rasters_of(numbered.assign_attrs(long_name=("green", "blue")))[0].names == (
        "green",
        "blue",
    )
    assert rasters_of(array.sel(band="nir"))[0].names == ("nir",)
    assert rasters_of(array.to_dataset("band"))[0].names == ("red", "nir")


def test_dimensions_may_stand_in_any_order() -> None:
    window = rasters_of(stack())[0].windows()[0]
    turned = rasters_of(stack().transpose("x", "band", "y"))[0]
    assert np.array_equal(turned.read(window), rasters_of(stack())[0].read(window))


def test_no_data_and_scale_are_those_of_attributes_or_encoding() -> None:
    assert rasters_of(stack(_FillValue=7))[0].nodata == 7
    encoded = stack()
    encoded.encoding["_FillValue"] = 9
    assert nodata_of(encoded) == 9
    assert rasters_of(stack())[0].nodata is None
    assert rasters_of(stack(_FillValue=float("nan")))[0].nodata is None
    assert isnan(rasters_of(stack("float32"))[0].nodata or 0)
    scaled = rasters_of(stack(scale_factor=1e-4, add_offset=-0.1))[0]
    assert (scaled.scales, scaled.offsets) == ((1e-4, 1e-4), (-0.1, -0.1))
    assert rasters_of(stack(scales=(1.0, 2.0)))[0].scales == (1.0, 2.0)


def test_what_xarray_scaled_is_reflectance() -> None:
    decoded = stack("float32")
    assert not values_are_scaled(decoded)
    decoded.encoding |= {"scale_factor": 1e-4, "dtype": "uint16"}
    assert values_are_scaled(decoded)
    assert not values_are_scaled(stack(scale_factor=1e-4))


def test_bands_of_several_types_share_the_one_that_holds_them_all() -> None:
    mixed = stack().to_dataset("band").assign(nir=lambda one: one.nir.astype("int8"))
    (raster,) = rasters_of(mixed)
    assert raster.dtype == np.int32
    mixed.nir.attrs["_FillValue"] = -1
    assert [(one.names, one.dtype.name, one.nodata) for one in rasters_of(mixed)] == [
        (("red",), "uint16", None),
        (("nir",), "int8", -1),
    ]


def test_the_day_is_that_of_the_one_moment() -> None:
    moment = stack().assign_coords(time=np.datetime64("2024-06-03T10:20:31", "ns"))
    assert without_time(moment)[1] == datetime.date(2024, 6, 3)
    assert without_time(moment.expand_dims("time"))[0].dims == ("band", "y", "x")
    assert without_time(stack().assign_coords(time=np.datetime64("NaT", "ns")))[1] is None
    assert without_time(stack())[1] is None


def rotated() -> xr.DataArray:
    return wrap_xr(np.zeros((3, 4), "uint8"), GRID.rotate(10))


def nowhere() -> xr.DataArray:
    return xr.DataArray(
        np.zeros((3, 4)), dims=("y", "x"), coords={"y": [3, 2, 1], "x": [1, 2, 3, 4]}
    )


def many_times() -> xr.DataArray:
    return xr.concat([stack(), stack()], "time").assign_coords(time=[0, 1])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (
            lambda: xr.DataArray(np.zeros((3, 4)), dims=("a", "b")),
            "dimensions a, b, and none of them are y and x",
        ),
        (nowhere, "has no CRS; say which"),
        (many_times, r"has 2 times, and a scene has one; choose it: array.isel\(time=0\)"),
        (
            lambda: stack().expand_dims(level=2),
            r"dimensions level, band, y, x; a scene has \(band, y, x\)",
        ),
        (lambda: stack().isel(x=[0, 1, 3]), "coordinates x are not evenly spaced"),
        (rotated, "a rotated grid; straighten it first"),
        (lambda: stack().astype(bool), "holds bool, which no scene has"),
        (
            lambda: stack().to_dataset("band").assign(nir=stack()),
            r"nir has dimensions band, y, x; a band has \(y, x\)",
        ),
        (lambda: stack().to_dataset("band")[[]], "none of them are y and x|has no variable"),
    ],
)
def test_what_is_no_scene_is_said_in_one_line(
    array: Callable[[], xr.DataArray | xr.Dataset], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        rasters_of(without_time(array())[0])


def test_windows_are_whole_chunks_small_ones_together() -> None:
    grid = GeoBox((3000, 5000), GRID.affine, GRID.crs)
    pixels = da.zeros((3000, 5000), "uint8", chunks=((100,) * 30, (2500, 2500)))
    windows = rasters_of(wrap_xr(pixels, grid))[0].windows()
    assert {window.height for window in windows} == {1100, 800}
    assert {window.width for window in windows} == {2500}
    assert sum(window.area for window in windows) == 15_000_000
