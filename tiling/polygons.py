"""Exact polygons of a class raster of any size, worked tile by tile.

A tile that knows the final region ids of its own pixels and of those one step outside can name the vertices at its own
lattice points alone, and walk from one to the next; the outline of a region is the same whoever found its vertices
(`tiling.outlines`). No seam is dissolved, and three passes suffice:

1. every tile labels its pixels and leaves its border behind; the borders are united into final ids (`tiling.regions`);
2. every tile walks its outlines; regions within one tile become polygons there, lines of the others go to buckets on
   disk (`tiling.spill`);
3. bucket by bucket, the lines that travelled become polygons.

So memory holds a tile, a bucket and, in the calling process, the borders of all tiles. Three ids tell what a pixel is
part of: its *polygon*, 4-connected; its *feature*, one row of the result; its *region*, the id that row carries. They
are one and the same unless a feature gathers polygons that touch diagonally, or a region is too large for one feature.

Lines are simplified last (`tiling.simplify`), in rounds over all that is finished: each is a pure function of its own
vertices, so neighbours agree, and those that spoil a polygon, on whatever machine, go back towards the original.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count, pairwise, product
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from tiling.area import PixelAreas, sum_by
from tiling.classes import nodata_of, open_classes, open_raster, read_band
from tiling.errors import Mistake
from tiling.outlines import CHANGED, Lines, Rings, connect, find_lines, find_vertices, on_the_map, ragged, wkb
from tiling.regions import OUTSIDE, Border, Frame, Ids, Labels, Outlines, Seams, TileRegions, frame_of
from tiling.simplify import Keys, Mask, arcs_of, failing, simplified
from tiling.spill import (
    Slice,
    Spilled,
    bucket_of,
    by_bucket,
    divided,
    fetch,
    read_together,
    read_whole,
    spill,
    take_batch,
    write_batch,
    write_together,
    write_whole,
)
from tiling.window import Window

NO_CONFIDENCE = 255

SCHEMA = pa.schema(
    [
        pa.field("region_id", pa.int64(), nullable=False),
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("n_pixels", pa.int64(), nullable=False),
        pa.field("area_m2", pa.float64(), nullable=False),
        pa.field("perimeter_m", pa.float64(), nullable=False),
        pa.field("confidence", pa.float64()),
        pa.field("geometry", pa.large_binary(), nullable=False, metadata={"ARROW:extension:name": "ogc.wkb"}),
    ]
)
"""Columns of a batch, but for those of measures, which come before the geometry: one row for each region, its exterior
ring first, in the CRS of the raster. `perimeter_m` is the length of the outline as it is drawn."""

MAX_VERTICES = 1_000_000
"""A region with more is cut: 16 MB of well-known binary; a map that redraws it has to go through all of it."""

CUT = 2048
"""Side of the cells, in pixels from (0, 0), along which a region that is too large is cut."""

BUCKET_VERTICES = 250_000
"""How many vertices a bucket holds, about; they are worked on at once, some 250 B each."""

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class Measure(Protocol):
    """Something measured in every pixel, in whole numbers: sums are exact however they are cut."""

    @property
    def missing(self) -> int:
        """The value of pixels without one."""
        ...

    @property
    def scale(self) -> float:
        """What the whole numbers are divided by to give the measure."""
        ...

    def __call__(self, window: Window) -> npt.NDArray[np.integer]:
        """`(y, x)` values of the pixels of a window, of at most 32 bits; the same pixel has the same in any window."""
        ...


NO_MEASURES: Mapping[str, Measure] = MappingProxyType({})


def schema_of(measures: Iterable[str] = ()) -> pa.Schema:
    """`SCHEMA` with a column `{name}_mean` for each measure."""
    means = [pa.field(f"{name}_mean", pa.float64()) for name in measures]
    return pa.schema([*list(SCHEMA)[:-1], *means, SCHEMA.field("geometry")])


def polygonise(
    raster: str | Path,
    *,
    nodata: int | None = 0,
    confidence: str | Path | None = None,
    tile: int = 1024,
    map: Map = map,
    connectivity: int = 4,
    max_vertices: int | None = MAX_VERTICES,
    simplify: float = 0.0,
    smooth: int = 0,
    measures: Mapping[str, Measure] = NO_MEASURES,
    scratch: Path | None = None,
) -> Iterator[pa.RecordBatch]:
    """The regions of a class raster as polygons, in batches of `schema_of(measures)`; the same for every `tile` size.

    Pixels of the value `nodata` are left out; None means the value the file declares. `confidence` is a raster on the
    same grid, 0–100; its no data (255 if it declares none) does not enter the mean. `map` may work elsewhere, as long
    as results come in order and `scratch`, a folder for temporary files (else one of this machine), is there too.

    With `connectivity` 8 pixels that touch diagonally belong together, and regions are multipolygons. A region with
    more than `max_vertices` is cut along the grid of `CUT` pixels into features with one `region_id`; None cuts
    nothing. `simplify` is how far, in pixels, boundaries may move, and `smooth` how often their corners are cut; the
    result stays a coverage without gaps, and every column but the perimeter is that of the pixels.

    Raises `Mistake` for rasters that cannot be read or hold no classes.
    """
    if connectivity not in (4, 8):
        raise Mistake(f"{raster} cannot be polygonised with a connectivity of {connectivity}; take 4 or 8")
    source = ClassRaster.open(raster, nodata, confidence, measures, connectivity)
    if simplify > 0 or smooth > 0:
        source = replace(source, nodata=None, dropped=source.nodata)
    job = Job(source, simplify, smooth)
    return _polygonise(job, tile, max_vertices, scratch, map)


def _polygonise(
    job: Job, tile: int, max_vertices: int | None, scratch: Path | None, map: Map
) -> Iterator[pa.RecordBatch]:
    height, width = job.source.areas.geobox.shape
    windows = _windows(height, width, tile)
    with tempfile.TemporaryDirectory(prefix="polygons-", dir=scratch) as folder:
        job = replace(job, folder=folder)
        for _ in map(partial(find_edge, job), windows.values()):
            pass
        edges = {tile: job.edge(window) for tile, window in windows.items()}
        united = United.between(edges, job.source.connectivity)
        if max_vertices is not None:
            united = _cut(job, windows, edges, united, max_vertices, map)
        job = replace(job, cuts=_cuts(edges, united))
        crossing: list[Crossing] = []

        def outlined() -> Iterator[Path]:
            for within, rest in map(partial(trace, job), _surrounded(windows, edges, united)):
                if within is not None:
                    yield within
                if rest is not None:
                    crossing.append(rest)
            yield from map(partial(join, job), _buckets(crossing))

        for drawn in outlined() if job.exact else _drawn(job, list(outlined()), map):
            batch = take_batch(drawn)
            if batch.num_rows:
                yield batch


def _windows(height: int, width: int, tile: int) -> dict[tuple[int, int], Window]:
    """Tiles by their place, cut along the grid of the cells too: each lies in one."""
    rows, cols = (
        enumerate(pairwise(sorted({*range(0, length, tile), *range(0, length, CUT), length})))
        for length in (height, width)
    )
    return {
        (i, j): Window(row, col, row_stop - row, col_stop - col)
        for (i, (row, row_stop)), (j, (col, col_stop)) in product(rows, cols)
    }


# --- the passes over tiles -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confidence:
    """The raster of confidence, as a measure."""

    path: str
    missing: int
    scale: float = 1.0

    def __call__(self, window: Window) -> npt.NDArray[np.integer]:
        return read_band(self.path, window)


@dataclass(frozen=True)
class ClassRaster:
    """Where the classes come from; what travels to workers in place of pixels."""

    path: str
    nodata: int | None
    dropped: int | None
    """A class whose polygons are made, and left out in the end: where lines move, no data has to be checked as well."""
    areas: PixelAreas
    connectivity: int
    confidence: Confidence | None
    measures: Mapping[str, Measure]

    @classmethod
    def open(
        cls,
        raster: str | Path,
        nodata: int | None,
        confidence: str | Path | None,
        measures: Mapping[str, Measure],
        connectivity: int,
    ) -> ClassRaster:
        """Check at the door that the files hold what they should."""
        with open_classes(raster) as classes:
            if classes.crs is None:
                raise Mistake(f"{raster} has no CRS; assign one, for example with gdal_edit.py -a_srs EPSG:32633")
            areas = PixelAreas(GeoBox(classes.shape, classes.transform, classes.crs.to_wkt()))
            nodata = nodata_of(classes, nodata)
        source = cls(str(raster), nodata, None, areas, connectivity, None, dict(measures))
        if confidence is None:
            return source
        with open_raster(confidence) as sure:
            if (sure.height, sure.width, sure.dtypes[0]) != (classes.height, classes.width, "uint8"):
                raise Mistake(
                    f"{confidence} is {sure.dtypes[0]} of {sure.height} × {sure.width} px; the confidence of {raster} "
                    f"must be uint8, 0–100, of {classes.height} × {classes.width} px"
                )
            missing = NO_CONFIDENCE if sure.nodata is None else int(sure.nodata)
        return replace(source, confidence=Confidence(str(confidence), missing))

    def regions(self, window: Window) -> TileRegions:
        """The regions of one tile."""
        return TileRegions.of(read_band(self.path, window), window, self.areas.geobox.shape[1], self.nodata)

    def groups(self, found: TileRegions) -> Ids:
        """`(n,)` the feature that each region is in, as far as the tile alone can know."""
        return found.groups if self.connectivity == 8 else found.ids

    def sums(self, found: TileRegions, window: Window) -> npt.NDArray[np.int64]:
        """`(n, 2 + 2 m)`: pixels and area units of each region; of each measure its sum and the pixels that have it."""
        start, length, _ = found.runs
        columns = [found.sum_runs(length), found.sum_runs(self.areas.read_runs(window, start, length))]
        for measure in self.all_measures:
            values = measure(window)
            known = values != measure.missing
            columns += found.sum_pixels(np.where(known, values, 0)), found.sum_pixels(known)
        return np.stack(columns, axis=1)

    @property
    def all_measures(self) -> list[Measure]:
        """Confidence, if there is one, then the others."""
        return [*([self.confidence] if self.confidence else []), *self.measures.values()]


class Edge(NamedTuple):
    """What a tile leaves behind after the first pass."""

    border: Border
    groups: Border
    """The same pixels with the features that the tile sees."""
    ids: Ids
    """Features on the border."""
    outlines: Outlines
    """What is known of the outline of each."""

    def write(self, path: Path) -> None:
        """To a file, where it waits for those of the other tiles."""
        groups = () if self.groups is self.border else self.groups.arrays
        write_together(path, [*self.border.arrays, *groups, self.ids, *self.outlines])

    @classmethod
    def read(cls, path: Path) -> Edge:
        """What `write` wrote."""
        *borders, ids, sides, bends = read_together(path)
        return cls(Border.from_arrays(borders[:12]), Border.from_arrays(borders[-12:]), ids, Outlines(sides, bends))


@dataclass(frozen=True)
class United:
    """What the pieces seen by tiles are part of."""

    polygons: Seams
    features: Seams
    regions: Seams

    @classmethod
    def between(
        cls,
        edges: Mapping[tuple[int, int], Edge],
        connectivity: int,
        cells: Mapping[tuple[int, int], object] | None = None,
    ) -> United:
        """Unite across all seams, or those inside `cells`."""
        polygons = Seams.between({tile: edge.border for tile, edge in edges.items()}, cells=cells)
        if connectivity == 4:
            return cls(polygons, polygons, polygons)
        groups = {tile: edge.groups for tile, edge in edges.items()}
        features = Seams.between(groups, connectivity=8, cells=cells)
        return cls(polygons, features, features)

    def cutting(self, regions: Ids, polygons: Ids, cells: United) -> United:
        """The same, but these regions, made of these polygons, are united only as far as `cells` does."""
        return United(
            self.polygons.except_for(polygons, cells.polygons),
            self.features.except_for(regions, cells.features),
            self.regions,
        )

    def among(self, polygons: Sequence[Ids], features: Sequence[Ids]) -> United:
        """Only what concerns these."""
        return United(self.polygons.among(*polygons), self.features.among(*features), self.regions.among(*features))


class Surrounded(NamedTuple):
    """What a tile has to know to trace its regions."""

    window: Window
    polygons: Frame
    features: Frame
    united: United


class Pieces(NamedTuple):
    """What tiles know of polygons, each of what it sees: parallel arrays."""

    polygon: Ids
    feature: Ids
    region: Ids
    class_id: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    """`(n, 2 + 2 m)`: see `ClassRaster.sums`."""

    def where(self, chosen: npt.NDArray[Any]) -> Pieces:
        """Those chosen by a mask or by index."""
        return Pieces(
            self.polygon[chosen], self.feature[chosen], self.region[chosen], self.class_id[chosen], self.sums[chosen]
        )


class Crossing(NamedTuple):
    """Where a tile left what it knows of features that cross its seams."""

    pieces: Spilled
    lines: Spilled
    vertices: Spilled


class Bucket(NamedTuple):
    """Where all that is known of some features lies."""

    number: int
    pieces: list[Slice]
    lines: list[Slice]
    vertices: list[Slice]


def _cuts(edges: Mapping[tuple[int, int], Edge], united: United) -> Ids:
    """Where the features that may cross seams are cut into buckets."""
    ids = np.concatenate([united.features.unite(edge.ids) for edge in edges.values()])
    features, of = np.unique(ids, return_inverse=True)
    sides = np.concatenate([edge.outlines.sides for edge in edges.values()])
    return divided(features, sum_by(of, sides, features.size), BUCKET_VERTICES)


def _buckets(crossing: Sequence[Crossing]) -> Iterator[Bucket]:
    """Those that hold something."""
    pieces, lines, vertices = (by_bucket(tile[kind] for tile in crossing) for kind in range(3))
    for number in sorted(pieces):
        yield Bucket(number, pieces[number], lines[number], vertices[number])


@dataclass(frozen=True)
class Job:
    """What the later passes share."""

    source: ClassRaster
    tolerance: float
    smooth: int
    folder: str = ""
    """For temporary files."""
    cuts: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Features at which buckets begin: see `tiling.spill`."""

    @property
    def exact(self) -> bool:
        """Whether lines follow the pixels."""
        return self.tolerance <= 0 and self.smooth == 0

    def file(self, name: Window | str, suffix: str) -> Path:
        """Where something of a tile, or a bucket, waits."""
        return Path(self.folder, f"{name.row}-{name.col}{suffix}" if isinstance(name, Window) else f"{name}{suffix}")

    def edge(self, window: Window) -> Edge:
        """What the first pass over a tile left."""
        return Edge.read(self.file(window, ".edge.npy"))

    def regions(self, window: Window) -> TileRegions:
        """The regions of a tile that the first pass has labelled."""
        return TileRegions.from_arrays(window.shape, read_whole(self.file(window, ".regions.npy"), 7))


def find_edge(job: Job, window: Window) -> None:
    """First pass over a tile: leaves its regions and its `Edge`, what others have to know of it."""
    source = job.source
    found = source.regions(window)
    write_whole(job.file(window, ".regions.npy"), *found.arrays)
    groups, border = source.groups(found), found.border
    shared = border if source.connectivity == 4 else replace(found, ids=groups).border

    ids = _distinct(np.concatenate([side.ids for side in shared]))
    touches = np.isin(groups, ids)
    place = np.searchsorted(ids, groups[touches])
    edge = Edge(border, shared, ids, Outlines(*(sum_by(place, n[touches], ids.size) for n in found.outlines)))
    edge.write(job.file(window, ".edge.npy"))


def _surrounded(
    windows: Mapping[tuple[int, int], Window], edges: Mapping[tuple[int, int], Edge], united: United
) -> Iterator[Surrounded]:
    borders = {tile: edge.border for tile, edge in edges.items()}
    groups = {tile: edge.groups for tile, edge in edges.items()}
    for tile, window in windows.items():
        polygons, features = frame_of(tile, borders, united.polygons), frame_of(tile, groups, united.features)
        known = [
            [*frame, *(side.ids for side in border)]
            for frame, border in ((polygons, borders[tile]), (features, groups[tile]))
        ]
        yield Surrounded(window, polygons, features, united.among(*known))


def _cut(
    job: Job,
    windows: Mapping[tuple[int, int], Window],
    edges: Mapping[tuple[int, int], Edge],
    united: United,
    max_vertices: int,
    map: Map,
) -> United:
    """The same, but for regions whose outline has more vertices, which are united within cells only.

    What the first pass knows of outlines decides of most regions; of the others vertices are counted.
    """
    ids = [united.features.unite(edge.ids) for edge in edges.values()]
    most, least = (
        _above(max_vertices, [(own, edge.outlines[n]) for own, edge in zip(ids, edges.values(), strict=True)])
        for n in range(2)
    )
    doubtful = np.setdiff1d(most, least)
    concerned = (
        tile for tile in _surrounded(windows, edges, united) if np.isin(tile.united.regions.regions, doubtful).any()
    )
    counted = _above(max_vertices, list(map(partial(count_vertices, job), concerned))) if doubtful.size else doubtful
    regions = np.union1d(least, counted)
    if not regions.size:
        return united
    cells = {tile: (window.row // CUT, window.col // CUT) for tile, window in windows.items()}
    polygons = [np.empty(0, np.int64)]
    for edge in edges.values():
        for side, group in zip(edge.border, edge.groups, strict=True):
            inside = np.repeat(np.isin(united.features.unite(group.ids), regions), group.length)
            polygons.append(_distinct(side.pixels.ids[inside]))
    whole = np.unique(united.polygons.unite(np.concatenate(polygons)))
    return united.cutting(regions, whole, United.between(edges, job.source.connectivity, cells))


def _above(limit: int, counts: Sequence[tuple[Ids, npt.NDArray[np.int64]]]) -> Ids:
    """The ids whose counts add up to more than `limit`."""
    if not counts:
        return np.empty(0, np.int64)
    ids, of = np.unique(np.concatenate([ids for ids, _ in counts]), return_inverse=True)
    return ids[sum_by(of, np.concatenate([n for _, n in counts]), ids.size) > limit]


class View(NamedTuple):
    """What a tile sees: the polygons in it and around it."""

    polygons: Ids
    """Ascending."""
    features: Ids
    """The feature of each."""
    crosses: npt.NDArray[np.bool_]
    """Whether that crosses the tile's seams."""
    around: Labels
    """`(y + 2, x + 2)` the pixels of the tile and those one step outside, as indices into `polygons`."""
    last: tuple[bool, bool]
    """Whether the tile is the last down or across. Every lattice point belongs to the tile of the pixel to its lower
    right, or to the last tile before the edge."""


def _view(source: ClassRaster, tile: Surrounded, found: TileRegions, polygon: Ids, feature: Ids) -> View:
    window = tile.window
    polygons, features = (
        np.concatenate([ids, *frame]) for ids, frame in ((polygon, tile.polygons), (feature, tile.features))
    )
    known = _distinct(polygons)
    rank = partial(_rank, known)
    inside = polygons != OUTSIDE
    feature_of = np.empty_like(known)
    feature_of[rank(polygons[inside])] = features[inside]

    around = np.empty((window.height + 2, window.width + 2), np.int32)
    around[1:-1, 1:-1] = found.paint(rank(polygon))
    around[0], around[-1], around[1:-1, 0], around[1:-1, -1] = (rank(side) for side in tile.polygons)
    height, width = source.areas.geobox.shape
    last = window.row_stop == height, window.col_stop == width
    return View(known, feature_of, tile.united.features.cross(feature_of), around, last)


def count_vertices(job: Job, tile: Surrounded) -> tuple[Ids, npt.NDArray[np.int64]]:
    """The features of a tile that cross its seams, and how many of their vertices are the tile's."""
    source, found = job.source, job.regions(tile.window)
    polygon, feature = tile.united.polygons.unite(found.ids), tile.united.features.unite(source.groups(found))
    view = _view(source, tile, found, polygon, feature)
    vertices = find_vertices(view.around, tile.window, view.crosses, last=view.last)
    n = np.bincount(vertices.region, minlength=view.polygons.size)
    return view.features[view.crosses], n[view.crosses]


def trace(job: Job, tile: Surrounded) -> tuple[Path | None, Crossing | None]:
    """Second pass over a tile: where it left the features that lie within it, and what it knows of the others."""
    source, united = job.source, tile.united
    found = job.regions(tile.window)
    groups = source.groups(found)
    pieces = Pieces(
        united.polygons.unite(found.ids),
        united.features.unite(groups),
        united.regions.unite(groups),
        found.class_id.astype(np.int64),
        source.sums(found, tile.window),
    )
    view = _view(source, tile, found, pieces.polygon, pieces.feature)
    known, lines = view.polygons, find_lines(view.around, tile.window, view.crosses, last=view.last)

    here, crosses = pieces.polygon != OUTSIDE, united.features.cross(pieces.feature)
    done = pieces.where(here & ~crosses)
    within = np.zeros(known.size, bool)
    within[_rank(known, done.polygon)] = True
    finished, name = None, tile.window
    if done.polygon.size:
        finished = _finished(job, name, outline(done, known, lines.where(np.flatnonzero(within[lines.region]))))

    chosen = np.flatnonzero(view.crosses[lines.region])
    if not (crosses.any() or chosen.size):
        return finished, None
    rest, travelling = pieces.where(crosses), lines.where(chosen)
    size, bucket = np.diff(travelling.offsets), bucket_of(view.features[travelling.region], job.cuts)
    return finished, Crossing(
        spill(job.file(name, ".pieces.npy"), np.column_stack(rest), bucket_of(rest.feature, job.cuts)),
        spill(
            job.file(name, ".lines.npy"),
            _records(_LINE, known[travelling.region], travelling.comes, travelling.leaves, size),
            bucket,
        ),
        spill(
            job.file(name, ".vertices.npy"),
            _records(_VERTEX, travelling.row, travelling.col, travelling.node),
            np.repeat(bucket, size),
        ),
    )


_LINE = np.dtype([("polygon", "i8"), ("comes", "u1"), ("leaves", "u1"), ("size", "i8")])
_VERTEX = np.dtype([("row", "i4"), ("col", "i4"), ("node", "?")])


def _records(kind: np.dtype[Any], *columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    assert kind.names is not None
    records = np.empty(columns[0].size, kind)
    for name, column in zip(kind.names, columns, strict=True):
        records[name] = column
    return records


def _distinct(ids: Ids) -> Ids:
    """The ids that are there, ascending; sorting beats the hash table of `np.unique` tenfold on ids nearly in order."""
    ids = np.sort(ids[ids != OUTSIDE], kind="stable")
    return ids[np.append(True, ids[1:] != ids[:-1])] if ids.size else ids


def _rank(known: Ids, ids: Ids) -> Labels:
    return np.where(ids == OUTSIDE, OUTSIDE, np.searchsorted(known, ids)).astype(np.int32)


def join(job: Job, bucket: Bucket) -> Path:
    """Last pass: where the features of a bucket are left, made from what all tiles know of them."""
    rows, lines, vertices = fetch(bucket.pieces), fetch(bucket.lines), fetch(bucket.vertices)
    polygon, feature, region, class_id = rows[:, :4].T
    pieces = Pieces(polygon, feature, region, class_id, rows[:, 4:])
    known = _distinct(polygon)
    found = Lines(
        np.searchsorted(known, lines["polygon"]),
        lines["comes"],
        lines["leaves"],
        np.append(0, np.cumsum(lines["size"])),
        *(vertices[name] for name in ("row", "col", "node")),
    )
    return _finished(job, f"bucket-{bucket.number}", outline(pieces, known, found))


# --- features --------------------------------------------------------------------------------------------------------


class Features(NamedTuple):
    """Rows of the result, ascending by feature."""

    region: Ids
    class_id: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]
    """`(n, 2 + 2 m)`: see `ClassRaster.sums`."""
    polygons: npt.NDArray[np.int64]
    """Offsets of the features in the regions of `rings`."""
    rings: Rings


def outline(pieces: Pieces, known: Ids, lines: Lines) -> Features:
    """The features that some pieces, at least one, make up. `lines.region` is an index into `known` polygons."""
    pieces = pieces.where(np.lexsort((pieces.polygon, pieces.feature)))
    feature, polygon = (np.append(True, ids[1:] != ids[:-1]) for ids in (pieces.feature, pieces.polygon))
    place = np.empty(known.size, np.int32)
    place[np.searchsorted(known, pieces.polygon[polygon])] = np.arange(np.count_nonzero(polygon))
    rings = connect(lines._replace(region=place[lines.region]))
    if rings.regions.size - 1 != np.count_nonzero(polygon):
        raise RuntimeError(CHANGED)
    first = np.flatnonzero(feature)
    return Features(
        pieces.region[first],
        pieces.class_id[first],
        np.add.reduceat(pieces.sums, first, axis=0),
        np.append(np.flatnonzero(feature[polygon]), rings.regions.size - 1),
        rings,
    )


def _finished(job: Job, name: Window | str, features: Features) -> Path:
    """A file with a batch, or one to draw it from when all is finished."""
    if job.exact:
        rings = features.rings
        return write_batch(job.file(name, ".arrow"), _batch(job.source, features, rings.col, rings.row, rings.rings))
    path = job.file(name, ".features.npy")
    write_whole(path, *features[:-1], *features.rings)
    return path


def _batch(
    source: ClassRaster,
    features: Features,
    col: npt.NDArray[Any],
    row: npt.NDArray[Any],
    rings: npt.NDArray[np.int64],
) -> pa.RecordBatch:
    """The features, with their rings drawn through these points of the lattice or between."""
    geobox, polygons = source.areas.geobox, features.rings.regions
    assert geobox.crs is not None  # checked at the door
    points = _on_the_map(col, row, rings, geobox.affine)
    geometry = wkb(points, rings, polygons, features.polygons if source.connectivity == 8 else None)
    perimeter = np.add.reduceat(_lengths(points, rings, geobox.crs.proj), rings[polygons[features.polygons[:-1]]])

    pixels, area, *of_measures = features.sums.T
    means = [
        _column(total / np.maximum(n, 1) / measure.scale, n > 0)
        for measure, total, n in zip(source.all_measures, of_measures[::2], of_measures[1::2], strict=True)
    ]
    if source.confidence is None:
        means.insert(0, pa.nulls(pixels.size, pa.float64()))
    columns = [features.region, features.class_id.astype(np.int32), pixels, area * source.areas.unit, perimeter]
    arrays = [*map(_column, columns), *means, geometry]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema_of(source.measures))
    return batch if source.dropped is None else batch.take(_column(np.flatnonzero(features.class_id != source.dropped)))


def _column(values: npt.NDArray[Any], known: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """An Arrow column; `pa.array` would do, but asks pandas what it is given, and so loads it in every worker."""
    bits = None if known is None or known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, values.size, [bits, pa.py_buffer(np.ascontiguousarray(values))])


def _on_the_map(
    col: npt.NDArray[Any], row: npt.NDArray[Any], rings: npt.NDArray[np.int64], affine: Affine
) -> npt.NDArray[np.float64]:
    """`(n, 2)` vertices of rings in map coordinates, exteriors counter-clockwise."""
    points = on_the_map(col, row, affine)
    if affine.determinant > 0:  # rows run north: turn the rings back to counter-clockwise
        points = points[np.repeat(rings[:-1] + rings[1:] - 1, np.diff(rings)) - np.arange(len(points))]
    return points


def _lengths(points: npt.NDArray[np.float64], rings: npt.NDArray[np.int64], crs: CRS) -> npt.NDArray[np.float64]:
    """`(n,)` metres from each point to the next of its ring, 0 after the last: geodesics where units are angles."""
    factor = crs.axis_info[0].unit_conversion_factor
    ellipsoid = crs.get_geod() if crs.is_geographic else None
    lengths = np.zeros(len(points))
    if ellipsoid is None:
        east, north = np.diff(points, axis=0).T
        lengths[:-1] = factor * np.sqrt(east**2 + north**2)
    else:
        lon, lat = np.degrees(factor * points.T)
        lat = np.clip(lat, -90, 90)
        _, _, lengths[:-1] = ellipsoid.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    lengths[rings[1:] - 1] = 0
    return lengths


# --- lines -----------------------------------------------------------------------------------------------------------


def _drawn(job: Job, finished: Sequence[Path], map: Map) -> Iterable[Path]:
    """Files with the batches, after rounds until no line spoils a polygon; the last level of a line is its original.

    What travels from round to round are the lines that have to go back by a level, in a file: every task of a round
    looks for its own.
    """
    changed: Path | None = None
    for number in count():
        failed = chain.from_iterable(map(partial(check, job, changed), finished))
        keys = np.unique(np.fromiter(failed, np.uint64))
        if not keys.size:
            break
        changed = Path(job.folder, f"changed-{number}.npy")
        write_whole(changed, keys)
    return map(partial(draw, job), finished)


def check(job: Job, changed: Path | None, finished: Path) -> Keys:
    """Distinct keys of the lines that spoil polygons of a file; its lines and their levels are left beside it.

    In the first round all polygons are looked at, then those only whose lines changed in the round before.
    """
    rings = _features(finished).rings
    arcs = arcs_of(rings)
    if changed is None:
        levels = np.zeros(arcs.key.size, np.int8)
        outlines = simplified(arcs, job.tolerance, levels, smooth=job.smooth)
        write_whole(_lines(finished), outlines.xy, outlines.rings, levels)
        return failing(outlines, rings, arcs, levels, job.source.areas.geobox.affine)

    mine = _among(np.load(changed, mmap_mode="r"), arcs.key)
    if not mine.any():
        return np.empty(0, np.uint64)
    xy, offsets, levels = read_whole(_lines(finished), 3)
    levels[mine] += 1
    face = np.repeat(np.arange(rings.regions.size - 1), np.diff(arcs.rings[rings.regions]))
    faces = _distinct(face[mine])
    ring = ragged(rings.regions, faces)
    theirs, some = levels[ragged(arcs.rings, ring)], rings.where(faces)
    arcs = arcs_of(some)
    outlines = simplified(arcs, job.tolerance, theirs, smooth=job.smooth)
    write_whole(_lines(finished), *_replaced(xy, offsets, ring, outlines.xy, outlines.rings), levels)
    return failing(outlines, some, arcs, theirs, job.source.areas.geobox.affine)


def _among(known: Keys, keys: Keys) -> Mask:
    """Whether each key is among the known ones, which ascend; few of them are near, and only those are looked at."""
    near = known[np.searchsorted(known, keys.min()) : np.searchsorted(known, keys.max(), side="right")]
    place = np.searchsorted(near, keys)
    found = place < near.size
    found[found] = near[place[found]] == keys[found]
    return found


def draw(job: Job, finished: Path) -> Path:
    """A file with the batch of a file, with the lines that the last round left."""
    xy, rings, _ = read_whole(_lines(finished), 3)
    batch = _batch(job.source, _features(finished), xy[:, 0], xy[:, 1], rings)
    return write_batch(finished.with_suffix(".arrow"), batch)


def _lines(finished: Path) -> Path:
    return finished.with_suffix(".lines.npy")


def _replaced(
    xy: npt.NDArray[np.float64],
    rings: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    new_xy: npt.NDArray[np.float64],
    new_rings: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices and offsets of rings, the chosen ones replaced."""
    source = np.arange(rings.size - 1)
    source[chosen] = rings.size - 1 + np.arange(chosen.size)
    both = np.append(rings, new_rings[1:] + rings[-1])
    sizes = np.diff(both)[source]
    return np.concatenate([xy, new_xy])[ragged(both, source)], np.append(0, np.cumsum(sizes))


def _features(path: Path) -> Features:
    region, class_id, sums, polygons, *rings = read_whole(path, 4 + len(Rings._fields))
    return Features(region, class_id, sums, polygons, Rings(*rings))
