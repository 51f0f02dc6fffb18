"""How much of the Earth each pixel covers: whole numbers, so that sums are exact however they are
cut and ordered.

Tables, polygons, zones and change all add up these integers and multiply by `PixelAreas.unit` once,
at the end. Two totals of the same pixels are then equal to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from tiling.errors import InputError
from tiling.grid.window import Window

CELL = 64
"""Side of the lattice cells, in pixels, that share one area: 640 m at 10 m pixels, where a
projection's scale hardly changes. The lattice starts at pixel (0, 0)."""

LARGEST_CELL = 50_000.0
"""Metres on the map that no side of a cell of several pixels exceeds: where pixels are large, cells
are of fewer."""

_STEPS = 16
"""Pieces that the sides of a pixel beyond that are cut into: a straight line on the map is no
geodesic then."""

PIXEL_BITS = 20
"""A pixel is 2²⁰ to 2²¹ units: rounding stays below a millionth of it, and int64 holds the sum of
4·10¹² pixels."""


def sum_by(
    groups: npt.NDArray[np.integer], values: npt.NDArray[np.integer], n: int
) -> npt.NDArray[np.int64]:
    """Sum of the integers `values` in each of the groups 0 … n - 1, exact while no sum reaches
    2⁵³."""
    return np.bincount(groups.ravel(), values.ravel(), n).astype(np.int64)


@dataclass(frozen=True)
class PixelAreas:
    """Ellipsoidal areas of the pixels of a grid.

    On a geographic grid each row has the closed-form area between its parallels, as far as they are
    on the Earth. On any other, each lattice cell, of 64 px a side and fewer where pixels exceed 780
    m, has the geodesic area of its outline, shared equally by its pixels. Either depends on the
    pixel's place alone, never on the window it is read with. Where the Earth ends inside a cell
    (world maps), or the CRS has no ellipsoid, a pixel has its area on the map. No pixel has none:
    beside a pole of a fine grid in degrees, where less than a millionth is left, it has one unit.
    """

    geobox: GeoBox

    def __post_init__(self) -> None:
        if self.geobox.crs is None:
            raise InputError(
                "a raster without a CRS has no areas; assign one, for example with gdal_edit.py "
                "-a_srs"
            )

    @property
    def unit(self) -> float:
        """Square metres per integer unit: a power of two, so multiplying by it is exact."""
        return 2.0 ** (math.floor(math.log2(self._map_area)) - PIXEL_BITS)

    def read(self, window: Window) -> npt.NDArray[np.int64]:
        """`(y, x) int64` units of each pixel of a window within the grid; read-only, to be
        multiplied by `unit`."""
        units, rows, cols = self._units(window)
        return np.broadcast_to(units[np.ix_(rows, cols)], window.shape)

    def read_runs(
        self, window: Window, start: npt.NDArray[np.integer], length: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.int64]:
        """Units of runs of pixels in the rows of a window, each given by the flat index of its
        first pixel."""
        units, rows, cols = self._units(window)
        before = np.zeros((len(units), window.width + 1), np.int64)
        np.cumsum(units[:, cols], axis=1, out=before[:, 1:])
        row = start // window.width
        col, line = start - row * window.width, rows[row]
        return before[line, col + length] - before[line, col]

    def _units(
        self, window: Window
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Units of pixels that differ, and where among them each row and column of a window finds
        its own."""
        cell = self._cell
        cells = Window(
            window.row // cell,
            window.col // cell,
            -(-window.row_stop // cell) - window.row // cell,
            -(-window.col_stop // cell) - window.col // cell,
        )
        by_row = self._crs.is_geographic and self.geobox.axis_aligned
        square_metres = self._row_areas(cells) if by_row else self._cell_areas(cells)
        units = np.maximum(np.rint(square_metres / self.unit).astype(np.int64), 1)
        rows = np.arange(window.row, window.row_stop) - cells.row * cell
        cols = np.arange(window.col, window.col_stop) // cell - cells.col
        return (units, rows, np.zeros_like(cols)) if by_row else (units, rows // cell, cols)

    def _row_areas(self, cells: Window) -> npt.NDArray[np.float64]:
        """`(y, 1)` m² of the pixels of whole cells: numpy's vector loops see the same blocks
        whatever was asked for.

        The strip between two parallels has the area b²Δλ/2 · [s/(1 - e²s²) + artanh(es)/e] with s =
        sin φ (Snyder, Map Projections: A Working Manual, eq. 3-12). Both differences are written as
        products, or small pixels would drown in cancellation.
        """
        affine, ellipsoid = self.geobox.affine, self._ellipsoid
        edges = affine.f + affine.e * np.arange(
            cells.row * self._cell, cells.row_stop * self._cell + 1
        )
        latitudes = np.clip(edges * self._radians_per_unit, -math.pi / 2, math.pi / 2)
        south, north = np.sort((latitudes[:-1], latitudes[1:]), axis=0)
        e2, sin_south, sin_north = ellipsoid.es, np.sin(south), np.sin(north)
        rise = 2 * np.cos((north + south) / 2) * np.sin((north - south) / 2)
        strip = (
            rise
            * (1 + e2 * sin_south * sin_north)
            / ((1 - e2 * sin_south**2) * (1 - e2 * sin_north**2))
        )
        e = math.sqrt(e2)
        slope = rise / (1 - e2 * sin_south * sin_north)
        strip += np.arctanh(e * slope) / e if e else slope
        return (abs(affine.a) * self._radians_per_unit * ellipsoid.b**2 / 2 * strip)[:, None]

    def _cell_areas(self, cells: Window) -> npt.NDArray[np.float64]:
        """`(cell row, cell col)` m² of one pixel of each lattice cell, cut off at the edge of the
        grid."""
        if self._crs.ellipsoid is None:
            return np.full(cells.shape, self._map_area)
        height, width = self.geobox.shape
        rows = np.minimum(np.arange(cells.row, cells.row_stop + 1) * self._cell, height)
        cols = np.minimum(np.arange(cells.col, cells.col_stop + 1) * self._cell, width)
        steps = _STEPS if self._side > LARGEST_CELL else 1
        col, row = np.meshgrid(_refine(cols, steps), _refine(rows, steps))
        a, b, c, d, e, f = self.geobox.affine[:6]
        lon, lat = _to_lonlat(self._crs).transform(a * col + b * row + c, d * col + e * row + f)
        lon, lat = (_outlines(x, steps) for x in (lon, lat))
        outlines = zip(lon, lat, strict=True)
        measure = self._ellipsoid.polygon_area_perimeter
        areas = np.reshape([abs(measure(*outline)[0]) for outline in outlines], cells.shape)
        areas /= np.outer(np.diff(rows), np.diff(cols))
        return np.where(np.isfinite(areas), areas, self._map_area)

    @property
    def _cell(self) -> int:
        """Side of a cell in pixels: a power of two."""
        return cell_side(self._side)

    @property
    def _side(self) -> float:
        """The longer side of a pixel on the map, in metres; 0 where map units are angles."""
        if self._crs.is_geographic:
            return 0.0
        a, b, _, d, e, _ = self.geobox.affine[:6]
        return (
            max(math.hypot(a, d), math.hypot(b, e)) * self._crs.axis_info[0].unit_conversion_factor
        )

    @property
    def _crs(self) -> CRS:
        assert self.geobox.crs is not None  # checked at the door
        return self.geobox.crs.proj

    @property
    def _ellipsoid(self) -> Geod:
        ellipsoid = self._crs.get_geod()
        assert ellipsoid is not None
        return ellipsoid

    @property
    def _radians_per_unit(self) -> float:
        return self._crs.axis_info[0].unit_conversion_factor

    @property
    def _map_area(self) -> float:
        """m² of a pixel on the map, or at the equator where map units are angles."""
        affine, metres = self.geobox.affine, self._crs.axis_info[0].unit_conversion_factor
        if self._crs.is_geographic:
            metres *= self._ellipsoid.a
        return abs(affine.determinant) * metres**2


def cell_side(pixel: float) -> int:
    """How many pixels of so many metres a lattice cell has a side: a power of two, 64 at most."""
    return (
        CELL
        if pixel * CELL <= LARGEST_CELL
        else 2 ** max(0, math.floor(math.log2(LARGEST_CELL / pixel)))
    )


def _refine(lines: npt.NDArray[np.integer], steps: int) -> npt.NDArray[np.float64]:
    """Lines of a lattice and, between two of them, others."""
    apart = np.diff(lines)[:, None] * (np.arange(steps) / steps)
    return np.append((lines[:-1, None] + apart).ravel(), lines[-1])


def _outlines(x: npt.NDArray[np.float64], steps: int) -> npt.NDArray[np.float64]:
    """`(cell, 4 × steps)`: a coordinate known at refined lattice lines, once around each cell."""
    rows, cols = np.meshgrid(
        np.arange(0, x.shape[0] - 1, steps), np.arange(0, x.shape[1] - 1, steps), indexing="ij"
    )
    there, all_of_it = np.arange(steps), np.full(steps, steps)
    down = np.concatenate([0 * there, there, all_of_it, steps - there])
    right = np.concatenate([there, all_of_it, steps - there, 0 * there])
    return x[rows.reshape(-1, 1) + down, cols.reshape(-1, 1) + right]


@cache
def _to_lonlat(crs: CRS) -> Transformer:
    return Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
