"""How long the sides of pixels are on the ground, in whole micrometres: so outlines of regions add
up exactly."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

UNIT = 1e-6
"""Metres."""


class SideLengths(NamedTuple):
    """Lengths of the sides of pixels in some rows of a grid, in units of `UNIT`."""

    across: npt.NDArray[np.int64]
    """`(y + 1,)` of upper sides, and of the last row's lower ones."""
    down: npt.NDArray[np.int64]
    """`(y,)` of left and right sides."""


def measure_sides(grid: GeoBox, row: int, row_stop: int) -> SideLengths:
    """The sides of pixels in rows of a grid: on the map, or on the ellipsoid where map units are
    degrees.

    There an upper side is an arc of its parallel, N cos φ Δλ, and a right one of the meridian, M Δφ
    (Snyder, Map Projections: A Working Manual, eq. 4-18 to 4-21).
    """
    a, b, _, d, e, f = grid.affine[:6]
    across, down = math.hypot(a, d), math.hypot(b, e)
    edges = np.arange(row, row_stop + 1)
    crs = None if grid.crs is None else grid.crs.proj
    geod = None if crs is None else crs.get_geod()
    metres = 1.0 if crs is None else crs.axis_info[0].unit_conversion_factor
    if crs is None or geod is None or not crs.is_geographic:
        flat = np.ones(edges.size)
        return SideLengths(_to_units(across * metres * flat), _to_units(down * metres * flat[1:]))
    if not grid.axis_aligned:
        f, e = 0.0, 0.0  # as at the equator: no row has a latitude of its own
    pole = math.pi / 2
    parallels = np.clip(metres * (f + e * edges), -pole, pole)
    middle = np.clip(metres * (f + e * (edges[:-1] + 0.5)), -pole, pole)
    normal = geod.a / np.sqrt(1 - geod.es * np.sin(parallels) ** 2)
    bend = geod.a * (1 - geod.es) / (1 - geod.es * np.sin(middle) ** 2) ** 1.5
    return SideLengths(
        _to_units(across * metres * normal * np.cos(parallels)), _to_units(down * metres * bend)
    )


def _to_units(metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.rint(metres / UNIT).astype(np.int64)
