"""Area of each class in each zone: polygons laid over a class raster, exact where their outlines
cut pixels.

What a polygon covers of a pixel follows from its edges alone. An edge that rises by dy through a
row of pixels adds dy to the coverage of every pixel to its right, and to the one it passes through
dy × (the part of the pixel to its right); edges that run the other way subtract the same. So the
edges of all zones are cut at the lattice lines, each piece leaves two differences in its row, and
sums along the row are the coverages: the scan conversion of font rasterisers with exact areas (as
in FreeType's `ftgrays.c`), here for any number of polygons at once.

Coordinates and coverages are integers in units of 2⁻⁴⁰ pixel. Differences that should cancel do so
exactly: two zones that share an outline add up to what their union covers, to the last bit, and no
cut of the raster shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.errors import RasterioIOError

from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset

UNIT = 1 << 40
"""Coverage of a whole pixel."""

BLOCK = 1024
"""Side of the blocks a raster is read in."""

AT_ONCE = 1 << 22
"""How many covered pixels are looked at together: overlapping zones can cover a block many
times."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Edges(NamedTuple):
    """Outlines in pixel coordinates, as edges from their upper to their lower end; horizontal ones
    are left out."""

    zone: npt.NDArray[np.int64]
    sign: npt.NDArray[np.int64]
    """1 where the zone lies to the right of the edge, -1 where it lies to the left."""
    x0: Floats
    y0: Floats
    x1: Floats
    y1: Floats

    def where(self, chosen: npt.NDArray[Any]) -> Edges:
        """The edges that a mask or an index picks."""
        return Edges(*(column[chosen] for column in self))


class Covered(NamedTuple):
    """Runs of pixels in one row, equally covered by one zone: parallel arrays."""

    zone: Integers
    row: Integers
    col: Integers
    length: Integers
    coverage: Integers
    """In units of 2⁻⁴⁰ pixel; rounding may leave a run that is not covered with a few of them."""


def edges_of(polygons: Sequence[shapely.Geometry] | npt.NDArray[Any], affine: Affine) -> Edges:
    """The edges of polygons and multipolygons, in the pixel coordinates of a grid. Invalid ones are
    repaired there."""
    to_pixels = ~affine
    a, b, c, d, e, f = to_pixels[:6]

    def moved(xy: Floats) -> Floats:
        pixels = np.stack(
            [a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f], axis=1
        )
        return np.rint(pixels * UNIT) / UNIT

    shapes = shapely.transform(shapely.force_2d(np.asarray(polygons, object)), moved)
    invalid = ~shapely.is_valid(shapes)
    # By structure: what a polygon encloses counts. By linework a gap that rounding has closed off
    # would be filled.
    shapes[invalid] = shapely.make_valid(shapes[invalid], method="structure", keep_collapsed=False)
    parts, zone_of_part = shapely.get_parts(shapes, return_index=True)
    # make_valid may nest collections
    nested, part_of_nested = shapely.get_parts(parts, return_index=True)
    flat = shapely.get_type_id(nested) == shapely.GeometryType.POLYGON
    nested, zone_of_nested = nested[flat], zone_of_part[part_of_nested[flat]]
    rings, polygon_of_ring = shapely.get_rings(shapely.orient_polygons(nested), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    zone = zone_of_nested[polygon_of_ring[ring]]
    inside = ring[1:] == ring[:-1]
    start, end, zone = xy[:-1][inside], xy[1:][inside], zone[:-1][inside].astype(np.int64)
    # Exteriors run counter-clockwise as if y grew upwards: edges towards smaller y have the polygon
    # to their right.
    sign = np.sign(start[:, 1] - end[:, 1]).astype(np.int64)
    upper = np.where((sign < 0)[:, None], start, end)
    lower = np.where((sign < 0)[:, None], end, start)
    return Edges(zone, sign, *upper.T, *lower.T).where(sign != 0)


class Outlines:
    """The edges of polygons on a grid, found by the window that they reach into."""

    def __init__(
        self, polygons: Sequence[shapely.Geometry] | npt.NDArray[Any], affine: Affine
    ) -> None:
        edges, n = edges_of(polygons, affine), len(polygons)
        self._edges = edges.where(np.argsort(edges.zone, kind="stable"))
        self._stops = np.append(0, np.cumsum(np.bincount(edges.zone, minlength=n)))
        self._tree = shapely.STRtree(_boxes(edges, n))
        self.sizes = _sizes(edges, n)
        """`(n,)` the area of each polygon in pixels; NaN of one without area."""

    def near(self, window: Window) -> Edges:
        """All edges of the polygons that may cover pixels of a window."""
        near = np.sort(
            self._tree.query(shapely.box(window.col, window.row, window.col_stop, window.row_stop))
        )
        _, place = repeat_and_count(self._stops[near], np.diff(self._stops)[near])
        return self._edges.where(place)


def coverage(edges: Edges, window: Window) -> Covered:
    """What zones cover of the pixels of a window, the same whatever the window: runs by zone, row
    and column."""
    edges = edges.where(
        (edges.y1 > window.row)
        & (edges.y0 < window.row_stop)
        & (np.minimum(edges.x0, edges.x1) < window.col_stop)
    )
    zone, row, col, difference = _differences(edges, window)
    width = window.width + 1
    rows = zone * window.height + row - window.row
    key = rows * width + col - window.col
    order = np.argsort(key, kind="stable")
    key, first = np.unique(key[order], return_index=True)
    if not key.size:
        return Covered(*(np.empty(0, np.int64) for _ in Covered._fields))
    # One sum over all rows of all zones; what stood before a row begins is taken off again (int64
    # may wrap meanwhile).
    total = np.cumsum(np.add.reduceat(difference[order], first))
    rows = key // width
    begins = np.append(True, rows[1:] != rows[:-1])
    before = np.append(0, total[:-1])[begins]
    covered = total - before[np.cumsum(begins) - 1]
    start = key % width
    length = np.append(np.where(begins[1:], width - 1, start[1:]), width - 1) - start
    there = (covered != 0) & (length > 0)
    rows, start, length, covered = rows[there], start[there], length[there], covered[there]
    return Covered(
        rows // window.height,
        rows % window.height + window.row,
        start + window.col,
        length,
        covered,
    )


def _differences(edges: Edges, window: Window) -> tuple[Integers, Integers, Integers, Integers]:
    """Zone, row, column and difference of coverage along the row, of all pieces of edges in a
    window."""
    # Cut at the rows. Where an edge crosses a line is computed from the whole edge: the window must
    # not show.
    top = np.maximum(np.floor(edges.y0).astype(np.int64), window.row)
    bottom = np.minimum(np.ceil(edges.y1).astype(np.int64), window.row_stop)
    edge, row = repeat_and_count(top, bottom - top)
    x0, y0, x1, y1 = (column[edge] for column in edges[2:])
    slope = (x1 - x0) / (y1 - y0)

    def x_at(y: Floats) -> Floats:
        x = np.clip(x0 + (y - y0) * slope, np.minimum(x0, x1), np.maximum(x0, x1))
        return np.where(y == y0, x0, np.where(y == y1, x1, x))

    ya, yb = np.maximum(y0, row), np.minimum(y1, row + 1)
    xa, xb = x_at(ya), x_at(yb)

    # Cut at the columns; all that lies left of the window is one piece, what lies to its right
    # matters to nobody here.
    west, east = np.minimum(xa, xb), np.maximum(xa, xb)
    left = np.clip(np.floor(west).astype(np.int64), window.col - 1, window.col_stop)
    right = np.clip(np.ceil(east).astype(np.int64), left + 1, window.col_stop)
    piece, col = repeat_and_count(left, np.maximum(right - left, 0))
    xa, xb, ya, yb, west, east = (column[piece] for column in (xa, xb, ya, yb, west, east))
    row, edge = row[piece], edge[piece]

    def y_at(x: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            y = np.clip(ya + (x - xa) * ((yb - ya) / (xb - xa)), ya, yb)
        return np.where(
            x <= west, np.where(xa < xb, ya, yb), np.where(x >= east, np.where(xa < xb, yb, ya), y)
        )

    from_x = np.where(col < window.col, west, np.maximum(west, col))
    to_x = np.minimum(east, col + 1)
    upright = xa == xb
    from_y, to_y = np.where(upright, ya, y_at(from_x)), np.where(upright, yb, y_at(to_x))
    rise = np.abs(_whole(to_y - row) - _whole(from_y - row))
    # Left of the window the whole rise counts for its first column.
    part = np.where(col < window.col, 1.0, col + 1 - (from_x + to_x) / 2)
    here = np.rint(rise * part).astype(np.int64)
    sign, zone = edges.sign[edge], edges.zone[edge]
    col = np.maximum(col, window.col)
    return (
        np.concatenate([zone, zone]),
        np.concatenate([row, row]),
        np.concatenate([col, col + 1]),
        np.concatenate([sign * here, sign * (rise - here)]),
    )


def repeat_and_count(first: Integers, times: Integers) -> tuple[Integers, Integers]:
    """For every item its index, as often as said, and the numbers that count up from `first`."""
    times = np.maximum(times, 0)
    item = np.repeat(np.arange(times.size), times)
    return item, np.arange(item.size) - np.repeat(np.cumsum(times) - times, times) + first[item]


def _whole(y: Floats) -> Integers:
    return np.rint(y * UNIT).astype(np.int64)


@dataclass(frozen=True)
class ZoneAreas:
    """How much of each class every zone holds."""

    values: tuple[int, ...]
    """The classes found under the zones, ascending."""
    square_metres: Floats
    """`(zone, class)` area on the ellipsoid."""
    share: Floats
    """`(zone,)` the part of each zone, 0–1 in pixels, that lies on pixels with data; NaN for a zone
    without area."""


def zone_areas(
    raster: str | Path,
    polygons: Sequence[shapely.Geometry] | npt.NDArray[Any],
    *,
    nodata: int | None = None,
    map: Any = map,
) -> ZoneAreas:
    """Areas of the classes of a raster in polygons given in its CRS; pixels on an outline count by
    their covered part.

    `nodata` is what the file declares unless it is given. Memory follows from a block and the
    polygons, never from the raster; `map` may watch the blocks go by. Raises `InputError` for
    rasters that cannot be read or hold no classes.
    """
    with open_dataset(str(raster)) as source:
        if not np.can_cast(source.dtypes[0], np.int32):
            raise InputError(
                f"{raster} holds {source.dtypes[0]}; a class raster holds integers of at most 32 "
                "bits"
            )
        if source.crs is None:
            raise InputError(
                f"{raster} has no CRS; assign one, for example with gdal_edit.py -a_srs EPSG:32633"
            )
        if nodata is None and source.nodata is not None:
            nodata = int(source.nodata)
        outlines = Outlines(polygons, source.transform)
        areas = PixelAreas(geobox_of(source))
        sums = _Sums(len(polygons))

        def add(window: Window) -> None:
            near = outlines.near(window)
            if near.zone.size:
                covered = coverage(near, window)
                sums.add(covered, window, _read(source, window), areas.read(window), nodata)

        for _ in map(add, list(Window.of_shape(*source.shape).blocks(BLOCK))):
            pass
    return sums.areas(areas.unit, outlines.sizes)


class _Sums:
    """Exact sums of coverage × area: 61-bit products, added up as their upper and lower 32 bits."""

    def __init__(self, n: int) -> None:
        self.values = np.empty(0, np.int64)
        self.totals = np.zeros((n, 0, 3), np.int64)
        """`(zone, class, …)`: the two halves, and the coverage in units of 2⁻²⁴ pixel."""

    def add(
        self,
        covered: Covered,
        window: Window,
        classes: npt.NDArray[np.integer],
        units: npt.NDArray[np.int64],
        nodata: int | None,
    ) -> None:
        ends = np.cumsum(covered.length)
        for some in np.split(np.arange(ends.size), np.flatnonzero(np.diff(ends // AT_ONCE)) + 1):
            run, col = repeat_and_count(covered.col[some], covered.length[some])
            run = some[run]
            at = covered.row[run] - window.row, col - window.col
            found = classes[at].astype(np.int64)
            there = np.ones(found.size, bool) if nodata is None else found != nodata
            zone, part, found = covered.zone[run][there], covered.coverage[run][there], found[there]
            known = np.union1d(self.values, found)
            wider = np.zeros((len(self.totals), known.size, 3), np.int64)
            wider[:, np.searchsorted(known, self.values)] = self.totals
            self.values, self.totals = known, wider
            product = part * units[at][there]
            into = zone, np.searchsorted(known, found)
            np.add.at(self.totals[..., 0], into, product >> 32)
            np.add.at(self.totals[..., 1], into, product & 0xFFFFFFFF)
            np.add.at(self.totals[..., 2], into, part >> 16)

    def areas(self, unit: float, sizes: Floats) -> ZoneAreas:
        upper, lower, pixels = np.moveaxis(self.totals, 2, 0)
        exact = (upper.astype(object) << 32) + lower  # Python's integers have no end
        square_metres = (exact.astype(float) / UNIT * unit).reshape(upper.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.round(pixels.sum(1) / 2**24 / sizes, 6)
        return ZoneAreas(tuple(self.values.tolist()), square_metres, share)


def _boxes(edges: Edges, n: int) -> npt.NDArray[Any]:
    """Each zone's bounding box, from its edges; an empty one for a zone without."""
    low, high = np.full((n, 2), np.inf), np.full((n, 2), -np.inf)
    np.minimum.at(low, edges.zone, np.stack([np.minimum(edges.x0, edges.x1), edges.y0], axis=1))
    np.maximum.at(high, edges.zone, np.stack([np.maximum(edges.x0, edges.x1), edges.y1], axis=1))
    boxes = np.full(n, shapely.Polygon(), object)
    there = np.isfinite(low[:, 0])
    boxes[there] = shapely.box(*low[there].T, *high[there].T)
    return boxes


def _sizes(edges: Edges, n: int) -> Floats:
    """Each zone's area in pixels."""
    first = np.zeros(n)
    first[edges.zone] = edges.x0  # from somewhere near: far from the origin digits would cancel
    middle = (edges.x0 + edges.x1) / 2 - first[edges.zone]
    sizes = np.bincount(edges.zone, -edges.sign * middle * (edges.y1 - edges.y0), n)
    return np.where(sizes > 0, sizes, np.nan)


def _read(source: Any, window: Window) -> npt.NDArray[np.integer]:
    try:
        return source.read(1, window=window.ranges)
    except RasterioIOError as error:
        raise InputError(
            f"{source.name} cannot be read at {window}: {error}; make or download the file again"
        ) from error
