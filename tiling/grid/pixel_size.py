"""How far it is from one pixel to the next, in metres on the ground: the same for a pixel however
it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from tiling.errors import InputError
from tiling.grid.pixel_area import cell_side
from tiling.grid.window import Window

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PixelSpacing:
    """Ground distances between the centres of neighbouring pixels of a grid.

    On a geographic grid each row has its own, from the ellipsoid's radii of curvature there. On any
    other each lattice cell, the same as for areas, has the geodesic lengths of its middle lines.
    Where the Earth ends inside a cell, or the CRS has no ellipsoid, pixels are as far apart as on
    the map.
    """

    geobox: GeoBox

    def __post_init__(self) -> None:
        if self.geobox.crs is None:
            raise InputError(
                "a raster without a CRS has no distances; assign one, for example with "
                "gdal_edit.py -a_srs"
            )

    def read(self, window: Window) -> tuple[Floats, Floats]:
        """`(y, x) float64` metres to the next row and to the next column, for the pixels of a
        window; read-only."""
        if self._crs.is_geographic and self.geobox.axis_aligned:
            down, across = (of_rows[:, None] for of_rows in self._by_row(window))
        else:
            cell = self._cell
            cells = Window(
                window.row // cell,
                window.col // cell,
                -(-window.row_stop // cell) - window.row // cell,
                -(-window.col_stop // cell) - window.col // cell,
            )
            rows = np.arange(window.row, window.row_stop) // cell - cells.row
            cols = np.arange(window.col, window.col_stop) // cell - cells.col
            down, across = (metres[np.ix_(rows, cols)] for metres in self._by_cell(cells))
        return np.broadcast_to(down, window.shape), np.broadcast_to(across, window.shape)

    @property
    def side(self) -> float:
        """The longer side of the pixel in the middle, in metres."""
        height, width = self.geobox.shape
        down, across = self.read(Window(height // 2, width // 2, 1, 1))
        return float(max(down[0, 0], across[0, 0]))

    def _by_row(self, window: Window) -> tuple[Floats, Floats]:
        """Meridian arc and arc of the parallel (Snyder, Map Projections: A Working Manual, eq. 4-19
        and 4-21)."""
        affine, ellipsoid = self.geobox.affine, self._crs.get_geod()
        assert ellipsoid is not None  # a geographic CRS has one
        radians = self._crs.axis_info[0].unit_conversion_factor
        centres = affine.f + affine.e * (np.arange(window.row, window.row_stop) + 0.5)
        latitude = np.clip(centres * radians, -math.pi / 2, math.pi / 2)
        curved = 1 - ellipsoid.es * np.sin(latitude) ** 2
        down = ellipsoid.a * (1 - ellipsoid.es) / curved**1.5 * abs(affine.e) * radians
        across = ellipsoid.a / np.sqrt(curved) * np.cos(latitude) * abs(affine.a) * radians
        return down, np.maximum(across, 1e-9)  # at a pole all columns meet

    def _by_cell(self, cells: Window) -> tuple[Floats, Floats]:
        """`(cell row, cell col)` metres per pixel down and across the middle of each lattice
        cell."""
        a, b, c, d, e, f = self.geobox.affine[:6]
        on_map, cell = self._on_map, self._cell
        ellipsoid: Geod | None = self._crs.get_geod() if self._crs.geodetic_crs else None
        if ellipsoid is None:
            return np.full(cells.shape, on_map[0]), np.full(cells.shape, on_map[1])
        col, row = np.meshgrid(
            (np.arange(cells.col, cells.col_stop) + 0.5) * cell,
            (np.arange(cells.row, cells.row_stop) + 0.5) * cell,
        )
        to_lonlat = Transformer.from_crs(self._crs, self._crs.geodetic_crs, always_xy=True)

        def lonlat(rows: float, cols: float) -> tuple[Floats, Floats]:
            at_row, at_col = row + rows * cell, col + cols * cell
            return to_lonlat.transform(a * at_col + b * at_row + c, d * at_col + e * at_row + f)

        found = []
        for (rows, cols), otherwise in zip(((0.5, 0.0), (0.0, 0.5)), on_map, strict=True):
            lengths = ellipsoid.inv(*lonlat(-rows, -cols), *lonlat(rows, cols))[2]
            metres = np.asarray(lengths).reshape(cells.shape) / cell
            found.append(np.where(np.isfinite(metres) & (metres > 0), metres, otherwise))
        return found[0], found[1]

    @property
    def _on_map(self) -> tuple[float, float]:
        """Map units from pixel to pixel, down and across, in metres where they are lengths."""
        a, b, _, d, e, _ = self.geobox.affine[:6]
        unit = self._crs.axis_info[0].unit_conversion_factor if self._crs.axis_info else 1.0
        return math.hypot(b, e) * unit, math.hypot(a, d) * unit

    @property
    def _cell(self) -> int:
        """Side of a lattice cell in pixels."""
        return cell_side(0.0 if self._crs.is_geographic else max(self._on_map))

    @property
    def _crs(self) -> CRS:
        assert self.geobox.crs is not None  # checked at the door
        return self.geobox.crs.proj


def middle_pixel_side(geobox: GeoBox) -> float:
    """Metres along a side of the pixel in the middle of a grid; of a square as large where it is
    none."""
    height, width = geobox.shape
    down, across = PixelSpacing(geobox).read(Window(height // 2, width // 2, 1, 1))
    return float(np.sqrt(down[0, 0] * across[0, 0]))
