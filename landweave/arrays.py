"""What an array of xarray says: bands on a grid, computed window by window."""

from __future__ import annotations

import datetime
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import odc.geo.xr  # noqa: F401 - gives arrays their .odc
import xarray as xr
from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.acquisition import DTYPES

UNIT = 1024
"""Pixels along each side of what is computed at once, at least: small chunks are taken together."""
_UNEVEN = 0.1
"""Part of a pixel by which coordinates may lie beside their grid; float32 degrees do."""


@dataclass(frozen=True, eq=False)
class Raster:
    """Bands `(band, y, x)` on one grid, to be computed window by window."""

    array: xr.DataArray | xr.Dataset
    names: tuple[str, ...]
    """Of the bands; empty where the array does not say."""
    geobox: Any
    dtype: np.dtype[Any]
    nodata: float | None
    scales: tuple[float, ...]
    offsets: tuple[float, ...]

    @property
    def dims(self) -> tuple[str, str]:
        y, x = self.array.odc.spatial_dims
        return str(y), str(x)

    def read(self, window: Window) -> npt.NDArray[Any]:
        """Pixels `(band, y, x)` of a window."""
        (y, x), (rows, cols) = self.dims, window.ranges
        part = self.array.isel({y: slice(*rows), x: slice(*cols)}).compute()
        if isinstance(part, xr.Dataset):
            layers = [part[name].transpose(y, x).values for name in part.data_vars]
        else:
            layers = list(part.transpose(..., y, x).values.reshape(-1, *window.shape))
        return np.stack([layer.astype(self.dtype, copy=False) for layer in layers])

    def windows(self) -> list[Window]:
        """The windows in which it is computed: whole chunks, small ones together."""
        chunks: Mapping[Any, Sequence[int]] = self.array.chunksizes
        rows, cols = (
            list(edges(chunks.get(dim, ()), size))
            for dim, size in zip(self.dims, self.geobox.shape, strict=True)
        )
        return [
            Window(top, left, bottom - top, right - left)
            for top, bottom in pairwise(rows)
            for left, right in pairwise(cols)
        ]


def edges(chunks: Sequence[int], size: int) -> Iterator[int]:
    """Where windows begin and end along one side."""
    ends = accumulate(chunks) if chunks else range(UNIT, size + UNIT, UNIT)
    last = 0
    yield last
    for end in map(partial(min, size), ends):
        if end - last >= UNIT or (end == size and end > last):
            yield end
            last = end


def without_time(
    array: xr.DataArray | xr.Dataset,
) -> tuple[xr.DataArray | xr.Dataset, datetime.date | None]:
    """The array of one moment, and its day where it says one."""
    if "time" in array.dims:
        if array.sizes["time"] != 1:
            raise InputError(
                f"the array has {array.sizes['time']} times, and a scene has one; choose it: "
                "array.isel(time=0)"
            )
        array = array.isel(time=0)
    time = array.coords.get("time")
    if time is None or time.ndim or time.isnull().item():
        return array, None
    try:
        day = str(time.values.astype("datetime64[D]") if time.dtype.kind == "M" else time.item())
        return array, datetime.date.fromisoformat(day[:10])
    except ValueError:
        return array, None


def values_are_scaled(array: xr.DataArray | xr.Dataset) -> bool:
    """Whether xarray has turned what was stored into reflectance when it opened the file."""
    variables = array.data_vars.values() if isinstance(array, xr.Dataset) else [array]
    return all(
        {"scale_factor", "add_offset"} & variable.encoding.keys()
        and variable.dtype.kind == "f"
        and (variable.encoding.get("scale_factor", 1), variable.encoding.get("add_offset", 0))
        != (1, 0)
        and "scale_factor" not in variable.attrs
        for variable in variables
    )


def given_name(array: xr.DataArray | xr.Dataset) -> str | None:
    """What a person calls an array; Dask gives each a name of its own, which ends in a hash."""
    name = getattr(array, "name", None)
    return None if name is None or re.search(r"-[0-9a-f]{32}", str(name)) else str(name)


def rasters_of(array: xr.DataArray | xr.Dataset) -> list[Raster]:
    """The bands of an array: one raster, or one a band where no data differs between them."""
    geobox = geobox_of_array(array)
    y, x = array.odc.spatial_dims
    if isinstance(array, xr.DataArray):
        others = [str(dim) for dim in array.dims if dim not in (y, x)]
        if len(others) > 1:
            raise InputError(
                f"the array has dimensions {join_dims(array.dims)}; a scene has (band, {y}, {x})"
            )
        count = array.sizes[others[0]] if others else 1
        return [raster(array, [array] * count, geobox, band_names(array, others))]
    # What was said of an array before it was made a dataset is said there of all.
    bands = {
        n: one.assign_attrs(array.attrs | one.attrs)
        for n, one in array.data_vars.items()
        if one.ndim
    }
    for name, one in bands.items():
        if set(one.dims) != {y, x}:
            raise InputError(f"{name} has dimensions {join_dims(one.dims)}; a band has ({y}, {x})")
    if not bands:
        raise InputError("the dataset has no variable, and each is a band; add some")
    whole = xr.Dataset(bands, attrs=array.attrs).unify_chunks()
    if len({repr(nodata_of(one)) for one in bands.values()}) == 1:
        return [raster(whole, list(bands.values()), geobox, tuple(map(str, bands)))]
    return [raster(whole[[name]], [one], geobox, (str(name),)) for name, one in bands.items()]


def raster(
    array: xr.DataArray | xr.Dataset,
    bands: Sequence[xr.DataArray],
    geobox: Any,
    names: tuple[str, ...],
) -> Raster:
    """Bands that share a type and a value of no data."""
    dtype = np.result_type(*(band.dtype for band in bands))
    dtype = np.dtype("float32") if dtype == np.float16 else dtype
    if dtype.name not in DTYPES:
        raise InputError(
            f"the array holds {dtype}, which no scene has; convert it: array.astype('float32')"
        )
    nodata = nodata_of(bands[0])
    if nodata is None and dtype.kind == "f":
        nodata = nan
    if nodata is not None and dtype.kind != "f":
        limits = np.iinfo(dtype)
        nodata = nodata if nodata in range(limits.min, limits.max + 1) else None  # no pixel has it
    scales = calibration(bands, "scale_factor", "scales", 1.0)
    return Raster(
        array,
        names,
        geobox,
        dtype,
        nodata,
        scales,
        calibration(bands, "add_offset", "offsets", 0.0),
    )


def calibration(
    bands: Sequence[xr.DataArray], name: str, names: str, usual: float
) -> tuple[float, ...]:
    """A number for each band: rioxarray lists them where they differ."""
    each = bands[0].attrs.get(names)
    if each is not None and len(bands) == len(each):
        return tuple(map(float, each))
    return tuple(float(band.attrs.get(name, usual)) for band in bands)


def nodata_of(array: xr.DataArray) -> float | None:
    """The value of no data, by the names that xarray, rioxarray and odc-geo give it."""
    for facts in (array.attrs, array.encoding):
        for name in ("_FillValue", "missing_value", "nodata"):
            if facts.get(name) is not None and np.ndim(facts[name]) == 0:
                return float(facts[name])
    return None


def band_names(array: xr.DataArray, dims: Sequence[str]) -> tuple[str, ...]:
    """Names of the bands: texts along their dimension, or in the attribute long_name."""
    band = array.coords.get(dims[0] if dims else "band")
    if band is not None and band.dtype.kind in "UOS" and band.ndim <= 1:
        return tuple(str(name) for name in np.atleast_1d(band.values))
    said = array.attrs.get("long_name", None if dims else given_name(array))
    texts = (said,) if isinstance(said, str) else tuple(said or ())
    return tuple(map(str, texts)) if len(texts) == (array.sizes[dims[0]] if dims else 1) else ()


def geobox_of_array(array: xr.DataArray | xr.Dataset) -> Any:
    """The grid of an array; `InputError` where it has none that a scene may have."""
    dims = array.odc.spatial_dims
    if dims is None:
        raise InputError(
            f"the array has dimensions {join_dims(array.dims)}, and none of them are y and x"
        )
    if array.odc.crs is None:
        raise InputError(
            "the array has no CRS; say which: array.odc.assign_crs('EPSG:…'), or with rioxarray "
            "array.rio.write_crs('EPSG:…')"
        )
    for dim in dims:
        if dim in array.coords and not is_even(array.coords[dim].values.astype(float)):
            raise InputError(
                f"the coordinates {dim} are not evenly spaced; bring the array onto a grid: "
                "array.interp(…)"
            )
    geobox = array.odc.geobox
    if not isinstance(geobox, GeoBox):
        raise InputError("the array does not say where its pixels lie; give it coordinates y and x")
    if not geobox.axis_aligned:
        raise InputError(
            "the array lies on a rotated grid; straighten it first: array.odc.reproject(…)"
        )
    return geobox


def is_even(places: npt.NDArray[np.float64]) -> bool:
    """Whether coordinates lie on a regular grid, as far as float32 tells degrees."""
    even = np.linspace(places[0], places[-1], places.size)
    step = np.ptp(places) / max(1, places.size - 1)
    return places.size == 1 or bool(step and np.abs(places - even).max() <= _UNEVEN * step)


def join_dims(dims: Iterable[Hashable]) -> str:
    return ", ".join(map(str, dims))
