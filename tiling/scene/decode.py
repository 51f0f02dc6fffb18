"""Windows of a scene decoded: pixels of its bands, and which of them are valid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from tiling.grid.geobox import geobox_of
from tiling.grid.resample import resample
from tiling.grid.window import Window
from tiling.io.datasets import Pixels, Valid, borrow_dataset, read_or_explain

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from tiling.scene.acquisition import Acquisition, Band, Mask


def decode(
    grid: GeoBox,
    images: Sequence[Acquisition],
    window: Window,
    bands: Sequence[Band],
    pixels: Pixels,
    valid: Valid,
) -> None:
    """Fill `pixels (band, y, x)`, which are 0, and `valid (y, x)` with a window that lies inside
    the grid.

    Of several images each pixel comes with all its bands from the first that has it.
    """
    valid[...] = False
    for depth, image in enumerate(images):
        inside = window if image.extent is None else window & image.extent
        if not inside or valid[at := inside.within(window)].all():
            continue
        chosen = [image.band(band.name) for band in bands]
        if depth == 0:
            _decode(grid, image.mask, inside, chosen, pixels[:, *at], valid[at])
            continue
        values, there = np.zeros_like(pixels[:, *at]), np.zeros_like(valid[at])
        _decode(grid, image.mask, inside, chosen, values, there)
        np.copyto(pixels[:, *at], values, where=there & ~valid[at])
        valid[at] |= there


def _decode(
    grid: GeoBox,
    mask: Mask | None,
    window: Window,
    bands: Sequence[Band],
    pixels: Pixels,
    valid: Valid,
) -> None:
    """Fill `pixels` and `valid` with one image's window, whatever lies on it or under it."""
    valid[...] = True
    together: dict[tuple[str, str], list[int]] = {}  # rasterio reads bands of one type at once
    for place, band in enumerate(bands):
        together.setdefault((band.path, band.dtype), []).append(place)
    for (path, _), places in together.items():
        read_or_explain(
            path, window, partial(_read_bands, grid, window, bands, places, pixels, valid)
        )
    for band, values in zip(bands, pixels, strict=True):
        if not band.resampled:
            _mask_nodata(valid, values, band)
    if mask is not None:
        read_or_explain(mask.path, window, partial(_read_mask, grid, mask, window, valid))


def _read_bands(
    grid: GeoBox,
    window: Window,
    bands: Sequence[Band],
    places: list[int],
    pixels: Pixels,
    valid: Valid,
) -> None:
    """Fill the `places` of `bands` that lie in one file."""
    first = bands[places[0]]
    with borrow_dataset(first.path) as dataset:
        if first.resampled:
            source = geobox_of(dataset)
            for place in places:
                read, dtype = partial(_read_stored, dataset, bands[place]), bands[place].dtype
                pixels[place], data = resample(read, source, grid, window, dtype, smooth=True)
                valid &= data
            return
        inside, at = _part(dataset, window, first.at)
        here = inside.within(window)
        if inside != window:
            there = np.zeros_like(valid)
            there[here] = True
            valid &= there
        if not inside:
            return
        indexes = [bands[place].index for place in places]
        if len(places) == len(bands) and inside == window:
            dataset.read(indexes, window=at, out=pixels)
        else:
            for place, values in zip(places, dataset.read(indexes, window=at), strict=True):
                pixels[place][here] = values
        if first.masked:
            valid[here] &= dataset.read_masks(first.index, window=at) > 0
        if first.alpha:
            valid[here] &= dataset.read(first.alpha, window=at) > 0


def _read_mask(grid: GeoBox, mask: Mask, window: Window, valid: Valid) -> None:
    """Make not valid what a mask hides; beyond its edge it says nothing."""
    with borrow_dataset(mask.path) as dataset:
        if mask.resampled:
            read, dtype = partial(_read_mask_band, dataset, mask), dataset.dtypes[mask.index - 1]
            values, there = resample(read, geobox_of(dataset), grid, window, dtype, smooth=False)
            valid &= ~(_find_hidden(mask, values) & there)
            return
        inside, at = _part(dataset, window, mask.at)
        if inside:
            valid[inside.within(window)] &= ~_find_hidden(mask, dataset.read(mask.index, window=at))


def _find_hidden(mask: Mask, values: Pixels) -> Valid:
    """Where a mask's values hide what lies under them."""
    hidden: Valid = np.isin(values, mask.values) if mask.values or mask.bits else values != 0
    if mask.bits:
        hidden |= (values & np.array(sum(1 << bit for bit in mask.bits)).astype(values.dtype)) != 0
    return hidden


def _read_stored(dataset: Any, band: Band, window: Window) -> tuple[Pixels, Valid]:
    """A band's pixels as they are stored, and which of them hold data."""
    at = _rasterio_window(window)
    values: Pixels = dataset.read(band.index, window=at)
    valid = np.ones(window.shape, np.bool_)
    if band.masked:
        valid &= dataset.read_masks(band.index, window=at) > 0
    if band.alpha:
        valid &= dataset.read(band.alpha, window=at) > 0
    _mask_nodata(valid, values, band)
    return values, valid


def _read_mask_band(dataset: Any, mask: Mask, window: Window) -> tuple[Pixels, Valid]:
    return dataset.read(mask.index, window=_rasterio_window(window)), np.ones(
        window.shape, np.bool_
    )


def _part(
    dataset: Any, window: Window, at: tuple[int, int]
) -> tuple[Window, rasterio.windows.Window]:
    """What a file whose first pixel is `at` in the scene covers of a window; and where that is in
    the file."""
    inside = window & Window(*at, dataset.height, dataset.width)
    return inside, _rasterio_window(inside.shift(-at[0], -at[1]))


def _rasterio_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def _mask_nodata(valid: Valid, values: Pixels, band: Band) -> None:
    """Make not valid where one band is NaN, infinite or its no data value, as the file's dtype
    would store that."""
    dtype, nodata = np.dtype(band.dtype), band.nodata
    if dtype.kind == "f":
        valid &= np.isfinite(values)
    if nodata is None or not np.isfinite(nodata):
        return
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            valid &= values != dtype.type(nodata)
    elif float(nodata).is_integer() and np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max:
        valid &= values != dtype.type(int(nodata))


def chip_of(bands: Sequence[Band], pixels: Pixels, valid: Valid) -> xr.Dataset:
    """A chip around arrays: `pixels (band, y, x)`, `valid (y, x)`; and per band name, scale, offset
    and units."""
    import xarray as xr  # slow to load, and many commands make no chip

    return xr.Dataset(
        {"pixels": (("band", "y", "x"), pixels), "valid": (("y", "x"), valid)},
        coords={
            "band": [band.name for band in bands],
            "scale": ("band", [band.scale for band in bands]),
            "offset": ("band", [band.offset for band in bands]),
            "units": ("band", [band.units for band in bands]),
        },
    )


def blank(bands: Sequence[Band], window: Window) -> tuple[Pixels, Valid]:
    """Zeros for the pixels of a window and False for their validity."""
    dtype = np.result_type(*(np.dtype(band.dtype) for band in bands))
    return np.zeros((len(bands), *window.shape), dtype), np.zeros(window.shape, np.bool_)
