"""How grids lie to each other: the same pixels, the same lattice a few pixels away, elsewhere, all
of them together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import ProjError

from tiling.errors import InputError
from tiling.grid.window import Window

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""

_SAME = 0.01
"""Part of a pixel by which two grids may differ and have the same pixels."""

_POINTS = 129
"""Along each side of an outline."""


def finest(grids: Sequence[GeoBox]) -> GeoBox:
    """The grid of the smallest pixels, among those in the CRS of the first."""
    alike = [grid for grid in grids if grid.crs == grids[0].crs]
    return min(alike, key=lambda box: abs(box.affine.a * box.affine.e))


def place_on(one: GeoBox, other: GeoBox) -> tuple[int, int] | None:
    """Row and column of `other` that the first pixel of `one` is; None where their pixels are not
    the same squares."""
    if one.crs != other.crs:
        return None
    a, b = one.affine, other.affine
    if a.a * b.a <= 0 or a.e * b.e <= 0:
        return None
    col, row = ~b @ (a.c, a.f)
    last_col, last_row = ~b @ (a.c + one.width * a.a, a.f + one.height * a.e)
    ends = (row, col, last_row - one.height, last_col - one.width)
    place = round(row), round(col)
    return (
        place
        if all(abs(end - at) < _SAME for end, at in zip(ends, place * 2, strict=True))
        else None
    )


def edges(box: GeoBox) -> Bounds:
    """Easting and northing of the first and of the last corner."""
    a = box.affine
    return a.c, a.f, a.c + box.width * a.a, a.f + box.height * a.e


def check_overlap(path: str, one: GeoBox, grid: GeoBox) -> None:
    """Refuse a file that lies elsewhere. Looks at points: outlines break at the antimeridian and at
    the poles."""
    if lies_apart(path, one, grid):
        raise InputError(f"{path} lies elsewhere than the scene; give a file of the same place")


def lies_apart(path: str, one: GeoBox, grid: GeoBox) -> bool:
    """Whether a file's grid and another have no place in common."""
    if one == grid:
        return False
    try:
        return not (_reaches(one, grid) or _reaches(grid, one))
    except ProjError as error:
        raise InputError(
            f"{path} has a CRS from which PROJ knows no way to the scene's; reproject it"
        ) from error


def _reaches(one: GeoBox, other: GeoBox) -> bool:
    """Whether some point of a regular set in one grid lies in the other."""
    west, north, east, south = edges(one)
    x, y = np.meshgrid(np.linspace(west, east, 33), np.linspace(north, south, 33))
    x, y = Transformer.from_crs(one.crs, other.crs, always_xy=True).transform(x, y)
    west, north, east, south = edges(other)
    return bool(np.any(((x - west) * (x - east) <= 0) & ((y - north) * (y - south) <= 0)))


def bounds_in(crs: CRS | None, bounds: Bounds, of: CRS | None) -> Bounds:
    """Bounds in `crs` of what lies within `bounds` in the CRS `of`; infinite where a part of it has
    no place there.

    Points along the outline are followed: between two of them the sides of a Sentinel-2 tile bulge
    by centimetres.
    """
    if crs == of:
        return bounds
    west, south, east, north = bounds
    across, up = np.linspace(west, east, _POINTS), np.linspace(south, north, _POINTS)
    x = np.concatenate([across, across, np.full(_POINTS, west), np.full(_POINTS, east)])
    y = np.concatenate([np.full(_POINTS, south), np.full(_POINTS, north), up, up])
    x, y = Transformer.from_crs(of, crs, always_xy=True).transform(x, y)
    return float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y))


def bounds_of(grid: GeoBox) -> Bounds:
    """Bounds of a grid in its own CRS."""
    first, top, last, bottom = edges(grid)
    return min(first, last), min(top, bottom), max(first, last), max(top, bottom)


def extend_to(grid: GeoBox, bounds: Bounds) -> GeoBox:
    """The grid that continues the pixels of `grid` over `bounds` in its CRS, and begins and ends on
    whole pixels."""
    corners = [~grid.affine @ corner for corner in ((bounds[0], bounds[1]), (bounds[2], bounds[3]))]
    cols, rows = zip(*corners, strict=True)
    # A hundredth of a pixel is no reason for one more.
    left, top = math.floor(min(cols) + _SAME), math.floor(min(rows) + _SAME)
    right, bottom = math.ceil(max(cols) - _SAME), math.ceil(max(rows) - _SAME)
    return GeoBox(
        (bottom - top, right - left), grid.affine @ Affine.translation(left, top), grid.crs
    )


def crop(grid: GeoBox, window: Window) -> GeoBox:
    """The part of a grid that a window of its pixels covers."""
    return grid[window.row : window.row_stop, window.col : window.col_stop]


def window_on(grid: GeoBox, one: GeoBox) -> Window:
    """The pixels of `grid` that another grid may reach, two more on each side; beyond them it has
    none."""
    west, south, east, north = bounds_in(grid.crs, bounds_of(one), one.crs)
    if not all(map(math.isfinite, (west, south, east, north))):
        return Window.of_shape(*grid.shape)
    corners = [~grid.affine @ corner for corner in ((west, south), (east, north))]
    cols, rows = zip(*corners, strict=True)
    row, col = math.floor(min(rows)) - 2, math.floor(min(cols)) - 2
    reached = Window(row, col, math.ceil(max(rows)) + 2 - row, math.ceil(max(cols)) + 2 - col)
    return reached & Window.of_shape(*grid.shape)


def geobox_of(source: Any) -> GeoBox:
    """The grid of an open raster; without a CRS where it has none."""
    return GeoBox(source.shape, source.transform, _crs(source.crs.to_wkt()) if source.crs else None)


def north_up_bounds(source: rasterio.DatasetReader) -> tuple[float, float, float, float]:
    """West, south, east, north of a raster, also of one whose rows run north."""
    (west, east), (south, north) = sorted(source.bounds[0::2]), sorted(source.bounds[1::2])
    return west, south, east, north


@lru_cache(maxsize=64)
def _crs(wkt: str) -> CRS:
    return CRS(wkt)
