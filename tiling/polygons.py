"""Exact polygons of a class raster of any size, worked tile by tile.

A region made of pixels is fully described by the corners of its outline. Sort them by row: the first and second are
joined by an edge, so are the third and fourth, and so on. Sort them by column: the same holds for the vertical edges.
Every corner ends one edge of either kind, so stepping from edge to edge walks round each ring.

Whether a corner lies at a lattice point is decided by the 2 × 2 pixels around it. So a tile that knows the final region
ids of its own pixels and of those one step outside can name its corners alone, and the outline of a region is the same
set of corners whoever found them. There are no pieces to glue and no seams to dissolve, and three passes suffice:

1. every tile labels its pixels and leaves its border behind; the borders are united into final ids (`tiling.regions`);
2. every tile names its corners; regions within one tile become polygons there, corners of the others travel on;
3. the corners that travelled become polygons.

Two rules make the result a clean coverage, valid by OGC Simple Features and noded:

- Where the pixels of one region touch only diagonally, the outline turns around the *foreign* pixel: two rings meet in
  a point. The other way round one ring would cross itself. Whether the two are one region is known only after pass 1.
- Where three regions meet, those whose outline runs straight on get a vertex too, so that neighbours share vertices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from tiling.area import PixelAreas, sum_by
from tiling.errors import Mistake
from tiling.regions import OUTSIDE, Border, Classes, Frame, Ids, Labels, Seams, TileRegions, frame_of
from tiling.window import Window

NO_CONFIDENCE = 255

SCHEMA = pa.schema(
    [
        pa.field("region_id", pa.int64(), nullable=False),
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("n_pixels", pa.int64(), nullable=False),
        pa.field("area_m2", pa.float64(), nullable=False),
        pa.field("confidence", pa.float64()),
        pa.field("geometry", pa.large_binary(), nullable=False, metadata={"ARROW:extension:name": "ogc.wkb"}),
    ]
)
"""Columns of a batch: one row for each region, its exterior ring first, in the CRS of the raster."""

BATCH_VERTICES = 1_000_000
"""How many vertices of the last pass are worked on at once, some 250 B each; a larger region is worked on alone."""

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def polygonise(
    raster: str | Path,
    *,
    nodata: int | None = 0,
    confidence: str | Path | None = None,
    tile: int = 1024,
    map: Map = map,
) -> Iterator[pa.RecordBatch]:
    """The 4-connected regions of a class raster as polygons, in batches of `SCHEMA`; the same for every `tile` size.

    Pixels of the value `nodata` are left out; None means the value the file declares. `confidence` is a raster on the
    same grid, 0–100; its no data (255 if it declares none) does not enter the mean. `map` may work elsewhere, as long
    as results come in order. Raises `Mistake` for rasters that cannot be read or hold no classes.
    """
    return _polygonise(ClassRaster.open(raster, nodata, confidence), tile, map)


def _polygonise(source: ClassRaster, tile: int, map: Map) -> Iterator[pa.RecordBatch]:
    height, width = source.areas.geobox.shape
    windows = {(w.row // tile, w.col // tile): w for w in Window.of_shape(height, width).blocks(tile)}
    borders: dict[tuple[int, int], Border] = dict(
        zip(windows, map(partial(find_border, source), windows.values()), strict=True)
    )
    seams = Seams.between(borders)

    def with_surroundings() -> Iterator[Surrounded]:
        for place, window in windows.items():
            frame, border = frame_of(place, borders, seams), borders[place]
            yield Surrounded(window, frame, seams.among(*frame, *(side.ids for side in border)))

    crossing = []
    for batch, rest in map(partial(trace, source), with_surroundings()):
        if batch.num_rows:
            yield batch
        crossing.append(rest)
    yield from _join(crossing, source)


# --- the passes over tiles -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassRaster:
    """Where the classes come from; what travels to workers in place of pixels."""

    path: str
    nodata: int | None
    areas: PixelAreas
    confidence: str | None = None
    no_confidence: int = NO_CONFIDENCE

    @classmethod
    def open(cls, raster: str | Path, nodata: int | None, confidence: str | Path | None) -> ClassRaster:
        """Check at the door that the files hold what they should."""
        with _opened(raster) as classes:
            if classes.count != 1 or not np.can_cast(classes.dtypes[0], np.int32):
                raise Mistake(
                    f"{raster} holds {classes.count} × {classes.dtypes[0]}; a class raster has one band of integers "
                    "of at most 32 bits: make one with gdal_translate -b 1 -ot Int32"
                )
            if classes.crs is None:
                raise Mistake(f"{raster} has no CRS; assign one, for example with gdal_edit.py -a_srs EPSG:32633")
            areas = PixelAreas(GeoBox(classes.shape, classes.transform, classes.crs.to_wkt()))
            if nodata is None and classes.nodata is not None:
                nodata = int(classes.nodata)
        if confidence is None:
            return cls(str(raster), nodata, areas)
        with _opened(confidence) as sure:
            if (sure.height, sure.width, sure.dtypes[0]) != (classes.height, classes.width, "uint8"):
                raise Mistake(
                    f"{confidence} is {sure.dtypes[0]} of {sure.height} × {sure.width} px; the confidence of {raster} "
                    f"must be uint8, 0–100, of {classes.height} × {classes.width} px"
                )
            no_confidence = NO_CONFIDENCE if sure.nodata is None else int(sure.nodata)
        return cls(str(raster), nodata, areas, str(confidence), no_confidence)

    def regions(self, window: Window) -> TileRegions:
        """The regions of one tile."""
        return TileRegions.of(_read(self.path, window), window, self.areas.geobox.shape[1], self.nodata)

    def sums(self, labels: Labels, n: int, window: Window) -> npt.NDArray[np.int64]:
        """`(n, 4)`: pixels, area units, sum of confidence and pixels with confidence of each label."""
        pixels = np.bincount(labels.ravel(), minlength=n)
        area = sum_by(labels, self.areas.read(window), n)
        if self.confidence is None:
            return np.stack([pixels, area, np.zeros_like(pixels), np.zeros_like(pixels)], axis=1)
        sure = _read(self.confidence, window)
        known = sure != self.no_confidence
        return np.stack([pixels, area, sum_by(labels, np.where(known, sure, 0), n), sum_by(labels, known, n)], axis=1)


def _opened(path: str | Path) -> Any:
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        raise Mistake(f"{path} cannot be opened as a raster: {error}") from error


def _read(path: str, window: Window) -> Classes:
    with _opened(path) as source:
        try:
            return source.read(1, window=rasterio.windows.Window(window.col, window.row, window.width, window.height))
        except RasterioIOError as error:
            raise Mistake(f"{path} cannot be read at {window}: {error}; make or download the file again") from error


class Surrounded(NamedTuple):
    """What a tile has to know to trace its regions."""

    window: Window
    frame: Frame
    seams: Seams


class RegionTable(NamedTuple):
    """What is known of regions, or of their pieces in one tile: parallel arrays."""

    ids: Ids
    class_id: npt.NDArray[np.int32]
    sums: npt.NDArray[np.int64]
    """`(n, 4)`: pixels, area units, sum of confidence, pixels with confidence."""

    def where(self, chosen: npt.NDArray[Any] | slice) -> RegionTable:
        """Those chosen by a mask or a slice."""
        return RegionTable(self.ids[chosen], self.class_id[chosen], self.sums[chosen])


class Vertices(NamedTuple):
    """Vertices of region outlines, in any order: parallel arrays."""

    region: npt.NDArray[np.integer]
    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    turn: npt.NDArray[np.uint8]
    """The arm by which the ring comes in, and 4 × the arm by which it leaves: see `find_vertices`."""

    def where(self, chosen: npt.NDArray[Any] | slice) -> Vertices:
        """Those chosen by a mask, by index or by a slice."""
        return Vertices(self.region[chosen], self.row[chosen], self.col[chosen], self.turn[chosen])


class Crossing(NamedTuple):
    """What one tile knows of regions that cross its seams; `vertices.region` holds ids."""

    pieces: RegionTable
    vertices: Vertices


def find_border(source: ClassRaster, window: Window) -> Border:
    """First pass over a tile: what its neighbours have to know of it."""
    return source.regions(window).border


def trace(source: ClassRaster, tile: Surrounded) -> tuple[pa.RecordBatch, Crossing]:
    """Second pass over a tile: the polygons of regions that lie within it, and what it knows of the others."""
    window, frame, seams = tile
    found = source.regions(window)
    ids = seams.unite(found.ids)
    known = _distinct(np.concatenate([ids, *frame]))

    rank = partial(_rank, known)
    around = np.empty((window.height + 2, window.width + 2), np.int32)
    around[1:-1, 1:-1] = rank(ids)[found.labels]
    around[0], around[-1], around[1:-1, 0], around[1:-1, -1] = (rank(side) for side in frame)
    vertices = find_vertices(around, window)

    here, crosses = ids != OUTSIDE, seams.cross(ids)
    within = np.zeros(known.size, bool)
    within[rank(ids[here & ~crosses])] = True
    facts = RegionTable(ids, found.class_id.astype(np.int32), source.sums(found.labels, ids.size, window))
    done, rest = facts.where(here & ~crosses), facts.where(crosses)
    polygons = _wkb(vertices.where(within[vertices.region]), source.areas.geobox.affine)

    # Every lattice point belongs to the tile of the pixel to its lower right, or to the last tile before the edge.
    height, width = source.areas.geobox.shape
    ours = (vertices.row < window.row_stop) | (window.row_stop == height)
    ours &= (vertices.col < window.col_stop) | (window.col_stop == width)
    travelling = vertices.where(ours & seams.cross(known)[vertices.region])
    return _batch(done, polygons, source.areas.unit), Crossing(
        rest, travelling._replace(region=known[travelling.region])
    )


def _distinct(ids: Ids) -> Ids:
    """The ids that are there, ascending; sorting beats the hash table of `np.unique` tenfold on ids nearly in order."""
    ids = np.sort(ids[ids != OUTSIDE], kind="stable")
    return ids[np.append(True, ids[1:] != ids[:-1])] if ids.size else ids


def _rank(known: Ids, ids: Ids) -> Labels:
    return np.where(ids == OUTSIDE, OUTSIDE, np.searchsorted(known, ids)).astype(np.int32)


def _join(tiles: list[Crossing], source: ClassRaster) -> Iterator[pa.RecordBatch]:
    """Last pass: the regions that cross seams, from what all tiles know of them."""
    if not any(tile.pieces.ids.size for tile in tiles):
        return
    pieces = RegionTable(*map(np.concatenate, zip(*(tile.pieces for tile in tiles), strict=True)))
    vertices = Vertices(*map(np.concatenate, zip(*(tile.vertices for tile in tiles), strict=True)))
    order = np.argsort(pieces.ids, kind="stable")
    ids, first = np.unique(pieces.ids[order], return_index=True)
    regions = RegionTable(ids, pieces.class_id[order][first], np.add.reduceat(pieces.sums[order], first, axis=0))

    rank = np.searchsorted(ids, vertices.region).astype(np.int32)
    vertices = vertices._replace(region=rank).where(np.argsort(rank, kind="stable"))
    stops = np.cumsum(np.bincount(rank))
    start = 0
    while start < ids.size:
        begin = stops[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(stops, begin + BATCH_VERTICES, side="right")))
        some = vertices.where(slice(begin, stops[stop - 1]))
        polygons = _wkb(some, source.areas.geobox.affine)
        yield _batch(regions.where(slice(start, stop)), polygons, source.areas.unit)
        start = stop


def _batch(regions: RegionTable, polygons: pa.Array, unit: float) -> pa.RecordBatch:
    pixels, area, sure, known = regions.sums.T
    confidence = pa.array(sure / np.maximum(known, 1), mask=known == 0)
    columns = [regions.ids, regions.class_id, pixels, area * unit, confidence, polygons]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)


# --- the geometry ----------------------------------------------------------------------------------------------------

NORTH, EAST, SOUTH, WEST = range(4)
CHANGED = "corners of a region do not pair up: did the raster change while it was read?"


def find_vertices(around: Labels, window: Window) -> Vertices:
    """Vertices at the lattice points of a window, from the regions `(y + 2, x + 2)` of its pixels and those around it.

    Four arms leave a lattice point, numbered clockwise from north; an arm is present where the pixels on its two sides
    differ. Quadrant k is the pixel between arms k and k + 1. A region that fills one, two or three quadrants clockwise
    from k has an outline which comes in by arm k and leaves by arm k + 1, k + 2 or k + 3: a convex corner, a straight
    line, a concave corner. Its interior lies on the left, so exteriors run counter-clockwise where north is up.
    """
    across, down = around[:, 1:] != around[:, :-1], around[1:] != around[:-1]
    present = across[:-1], down[:, 1:], across[1:], down[:, :-1]
    north, east, south, west = present
    at = np.flatnonzero((north ^ south) | (east ^ west) | (north & east))  # all but blank points and straight lines
    row, col = np.divmod(at, window.width + 1)
    arm = [side[row, col] for side in present]
    quadrant = [around[row, col + 1], around[row + 1, col + 1], around[row + 1, col], around[row, col]]
    row, col = (row + window.row).astype(np.int32), (col + window.col).astype(np.int32)

    found: list[Vertices] = []

    def add(chosen: npt.NDArray[np.bool_], region: Labels, comes: int, leaves: int) -> None:
        index = np.flatnonzero(chosen & (region != OUTSIDE))
        turn = np.full(index.size, comes % 4 + 4 * (leaves % 4), np.uint8)
        found.append(Vertices(region[index], row[index], col[index], turn))

    for k in range(4):
        after, opposite, before = (k + 1) % 4, (k + 2) % 4, (k + 3) % 4
        corner = arm[k] & arm[after]
        add(corner & (quadrant[k] != quadrant[opposite]), quadrant[k], k, k + 1)
        add(corner & (quadrant[after] == quadrant[before]), quadrant[after], k + 1, k)
        # Two other regions meet on the far side of a straight line.
        add(arm[k] & ~arm[after] & arm[opposite] & arm[before], quadrant[k], k, k + 2)
    return Vertices(*map(np.concatenate, zip(*found, strict=True)))


class Rings(NamedTuple):
    """Closed rings of regions, in order of region; the first of a region is its exterior."""

    row: npt.NDArray[np.int32]
    col: npt.NDArray[np.int32]
    rings: npt.NDArray[np.int64]
    """Offsets of the rings in `row` and `col`."""
    regions: npt.NDArray[np.int64]
    """Offsets of the regions in `rings`."""


def connect(vertices: Vertices) -> Rings:
    """Rings through all vertices of some regions, numbered 0 … n - 1; each ring starts at its first vertex by row.

    The first vertex of a region lies on its exterior, since every hole has some of the region above it.
    """
    vertices = vertices.where(_sorted(vertices, EAST))
    by_column = _sorted(vertices, SOUTH)
    n = vertices.region.size
    successor, predecessor = np.full((2, n), -1, np.int32)
    _link(successor, np.arange(n), vertices, EAST)
    _link(successor, by_column, vertices, SOUTH)
    predecessor[successor] = np.arange(n, dtype=np.int32)
    if (predecessor < 0).any():
        raise RuntimeError(CHANGED)

    n_rings, ring = connected_components(_chain(successor), connection="strong")
    head = np.full(n_rings, n)
    np.minimum.at(head, ring, np.arange(n))
    size = np.bincount(ring)
    head_order = np.argsort(head)
    head, size = head[head_order], size[head_order]

    # Cut every ring before its head and tie its end to the next ring's head: one chain passes through all vertices.
    tail = predecessor[head]
    successor[tail] = np.append(head[1:], tail[-1])
    walk = breadth_first_order(_chain(successor), head[0], return_predecessors=False)

    closed = np.insert(walk, np.cumsum(size), head)
    _, first_ring = np.unique(vertices.region[head], return_index=True)
    return Rings(
        vertices.row[closed],
        vertices.col[closed],
        rings=np.append(0, np.cumsum(size + 1)),
        regions=np.append(first_ring, n_rings),
    )


def _sorted(vertices: Vertices, opening: int) -> npt.NDArray[np.intp]:
    """Order along the rows (EAST) or columns (SOUTH) of each region; an edge that ends comes before one that opens."""
    line, along = (vertices.row, vertices.col) if opening == EAST else (vertices.col, vertices.row)
    key = vertices.region.astype(np.int64)
    for part, bits in ((line, int(line.max()).bit_length()), (along, int(along.max()).bit_length())):
        key = key << bits | part
    comes, leaves = vertices.turn & 3, vertices.turn >> 2
    return np.argsort(key << 1 | (comes == opening) | (leaves == opening))


def _link(successor: npt.NDArray[np.int32], order: npt.NDArray[np.intp], vertices: Vertices, opening: int) -> None:
    """Note each vertex's next one along the edges that open towards `opening`: consecutive pairs in `order`."""
    comes, leaves = vertices.turn & 3, vertices.turn >> 2
    n_edges = 2 - ((comes ^ opening) & 1) - ((leaves ^ opening) & 1)  # how many of a vertex's arms lie in this line
    ends = np.repeat(order, n_edges[order])
    first, second = ends[0::2], ends[1::2]
    line = vertices.row if opening == EAST else vertices.col
    if not all(np.array_equal(column[first], column[second]) for column in (vertices.region, line)):
        raise RuntimeError(CHANGED)
    onwards = leaves[first] == opening
    successor[np.where(onwards, first, second)] = np.where(onwards, second, first)


def _chain(successor: npt.NDArray[np.int32]) -> csr_array:
    """The graph with one edge from each vertex to the next."""
    n = successor.size
    return csr_array((np.ones(n), successor, np.arange(n + 1, dtype=np.int32)), shape=(n, n))


def _wkb(vertices: Vertices, affine: Affine) -> pa.Array:
    """Well-known binary of the regions that have vertices, in order of region, in map coordinates.

    OGC 06-103r4, 8.2: a polygon is its byte order, its type and the number of its rings; a ring is the number of its
    points and the points. Written straight into one buffer: as many geometry objects would take half of the time.
    """
    if not vertices.region.size:
        return pa.array([], pa.large_binary())
    row, col, rings, regions = connect(vertices)
    a, b, c, d, e, f = affine[:6]
    points = np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)
    if affine.determinant > 0:  # rows run north: turn the rings back to counter-clockwise
        points = points[np.repeat(rings[:-1] + rings[1:] - 1, np.diff(rings)) - np.arange(len(points))]

    n_points, n_rings = np.diff(rings), np.diff(regions)
    headers = np.zeros(n_rings.size, [("order", "u1"), ("type", "<u4"), ("rings", "<u4")])
    headers["order"], headers["type"], headers["rings"] = 1, 3, n_rings
    header_size, point_size = headers.itemsize, points[0].nbytes
    polygon = np.repeat(np.arange(n_rings.size), n_rings)
    ring_at = header_size * (polygon + 1) + 4 * np.arange(n_points.size) + point_size * rings[:-1]
    point_at = np.repeat(ring_at + 4 - point_size * rings[:-1], n_points) + point_size * np.arange(len(points))
    header_at = ring_at[regions[:-1]] - header_size
    wkb = np.empty(point_at[-1] + point_size, np.uint8)

    def put(at: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        # Element i of this view is the value that would begin at byte i: records of any size at any place.
        np.ndarray(wkb.size - values.itemsize + 1, values.dtype, wkb.data, strides=(1,))[at] = values

    put(header_at, headers)
    put(ring_at, n_points.astype("<u4"))
    put(point_at, points.astype("<f8").view("V16")[:, 0])
    offsets = np.append(header_at, wkb.size)
    return pa.Array.from_buffers(pa.large_binary(), n_rings.size, [None, pa.py_buffer(offsets), pa.py_buffer(wkb)])
