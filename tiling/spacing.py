"""How far it is from one pixel to the next, in metres on the ground: the same for a pixel however it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from tiling.errors import Mistake
from tiling.window import Window

CELL = 64
"""Side of the lattice cells, in pixels, that share one spacing where the grid is not geographic, as for areas."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PixelSpacing:
    """Ground distances between the centres of neighbouring pixels of a grid.

    On a geographic grid each row has its own, from the ellipsoid's radii of curvature there. On any other each 64-px
    lattice cell has the geodesic lengths of its middle lines. Where the Earth ends inside a cell, or the CRS has no
    ellipsoid, pixels are as far apart as on the map.
    """

    geobox: GeoBox

    def __post_init__(self) -> None:
        if self.geobox.crs is None:
            raise Mistake("a raster without a CRS has no distances; assign one, for example with gdal_edit.py -a_srs")

    def read(self, window: Window) -> tuple[Floats, Floats]:
        """`(y, x) float64` metres to the next row and to the next column, for the pixels of a window; read-only."""
        if self._crs.is_geographic and self.geobox.axis_aligned:
            down, across = (of_rows[:, None] for of_rows in self._by_row(window))
        else:
            cells = Window(
                window.row // CELL,
                window.col // CELL,
                -(-window.row_stop // CELL) - window.row // CELL,
                -(-window.col_stop // CELL) - window.col // CELL,
            )
            rows = np.arange(window.row, window.row_stop) // CELL - cells.row
            cols = np.arange(window.col, window.col_stop) // CELL - cells.col
            down, across = (metres[np.ix_(rows, cols)] for metres in self._by_cell(cells))
        return np.broadcast_to(down, window.shape), np.broadcast_to(across, window.shape)

    @property
    def side(self) -> float:
        """The longer side of the pixel in the middle, in metres."""
        height, width = self.geobox.shape
        down, across = self.read(Window(height // 2, width // 2, 1, 1))
        return float(max(down[0, 0], across[0, 0]))

    def _by_row(self, window: Window) -> tuple[Floats, Floats]:
        """Meridian arc and arc of the parallel (Snyder, Map Projections: A Working Manual, eq. 4-19 and 4-21)."""
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
        """`(cell row, cell col)` metres per pixel down and across the middle of each lattice cell."""
        a, b, c, d, e, f = self.geobox.affine[:6]
        unit = self._crs.axis_info[0].unit_conversion_factor if self._crs.axis_info else 1.0
        on_map = math.hypot(b, e) * unit, math.hypot(a, d) * unit
        ellipsoid: Geod | None = self._crs.get_geod() if self._crs.geodetic_crs else None
        if ellipsoid is None:
            return np.full(cells.shape, on_map[0]), np.full(cells.shape, on_map[1])
        col, row = np.meshgrid(
            (np.arange(cells.col, cells.col_stop) + 0.5) * CELL, (np.arange(cells.row, cells.row_stop) + 0.5) * CELL
        )
        to_lonlat = Transformer.from_crs(self._crs, self._crs.geodetic_crs, always_xy=True)

        def lonlat(rows: float, cols: float) -> tuple[Floats, Floats]:
            at_row, at_col = row + rows * CELL, col + cols * CELL
            return to_lonlat.transform(a * at_col + b * at_row + c, d * at_col + e * at_row + f)

        found = []
        for (rows, cols), otherwise in zip(((0.5, 0.0), (0.0, 0.5)), on_map, strict=True):
            lengths = ellipsoid.inv(*lonlat(-rows, -cols), *lonlat(rows, cols))[2]
            metres = np.asarray(lengths).reshape(cells.shape) / CELL
            found.append(np.where(np.isfinite(metres) & (metres > 0), metres, otherwise))
        return found[0], found[1]

    @property
    def _crs(self) -> CRS:
        assert self.geobox.crs is not None  # checked at the door
        return self.geobox.crs.proj
