"""Exact polygons of a class raster of any size, worked tile by tile.

A tile that knows the final region ids of its own pixels and of those one step outside can name the vertices at its own
lattice points alone, and walk from one to the next; the outline of a region is the same whoever found its vertices
(`tiling.polygons.outlines`). No seam is dissolved, and three passes suffice:

1. every tile labels its pixels and leaves its border behind; the borders are united into final ids
   (`tiling.regions.components`);
2. every tile walks its outlines; regions within one tile become polygons there, lines of the others go to buckets on
   disk (`tiling.io.spill`);
3. bucket by bucket, the lines that travelled become polygons.

So memory holds a tile, a bucket and, in the calling process, the borders of all tiles. Three ids tell what a pixel is
part of: its *polygon*, 4-connected; its *feature*, one row of the result; its *region*, the id that row carries. They
are one and the same unless a feature gathers polygons that touch diagonally, or a region is too large for one feature.

Lines are simplified last (`tiling.polygons.simplify`), in rounds over all that is finished: each is a pure function of
its own vertices, so neighbours agree, and those that spoil a polygon, on whatever machine, go back towards the
original.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tiling.errors import Mistake
from tiling.grid.pixel_area import sum_by
from tiling.grid.window import Window
from tiling.io.spill import (
    Map,
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
from tiling.polygons.attributes import Features, Pieces, batch_of, outline
from tiling.polygons.measures import NO_MEASURES, ClassRaster, Measure
from tiling.polygons.outlines import Lines, find_lines, find_vertices
from tiling.polygons.simplify_rounds import Redraw, redrawn
from tiling.regions.components import (
    OUTSIDE,
    Border,
    Frame,
    Ids,
    Labels,
    Outlines,
    Seams,
    TileRegions,
    distinct,
    frame_of,
)

MAX_VERTICES = 1_000_000
"""A region with more is cut: 16 MB of well-known binary; a map that redraws it has to go through all of it."""

CUT = 2048
"""Side of the cells, in pixels from (0, 0), along which a region that is too large is cut."""

BUCKET_VERTICES = 250_000
"""How many vertices a bucket holds, about; they are worked on at once, some 250 B each."""


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
    redraw = None
    if simplify > 0 or smooth > 0:
        source = replace(source, nodata=None, dropped=source.nodata)
        redraw = Redraw(source, simplify, smooth)
    return _polygonise(Job(source, redraw), tile, max_vertices, scratch, map)


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

        for drawn in outlined() if job.redraw is None else redrawn(job.redraw, list(outlined()), Path(folder), map):
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
    redraw: Redraw | None
    """None where lines follow the pixels."""
    folder: str = ""
    """For temporary files."""
    cuts: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Features at which buckets begin: see `tiling.io.spill`."""

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

    ids = distinct(np.concatenate([side.ids for side in shared]))
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
            polygons.append(distinct(side.pixels.ids[inside]))
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
    known = distinct(polygons)
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


def _rank(known: Ids, ids: Ids) -> Labels:
    return np.where(ids == OUTSIDE, OUTSIDE, np.searchsorted(known, ids)).astype(np.int32)


def join(job: Job, bucket: Bucket) -> Path:
    """Last pass: where the features of a bucket are left, made from what all tiles know of them."""
    rows, lines, vertices = fetch(bucket.pieces), fetch(bucket.lines), fetch(bucket.vertices)
    polygon, feature, region, class_id = rows[:, :4].T
    pieces = Pieces(polygon, feature, region, class_id, rows[:, 4:])
    known = distinct(polygon)
    found = Lines(
        np.searchsorted(known, lines["polygon"]),
        lines["comes"],
        lines["leaves"],
        np.append(0, np.cumsum(lines["size"])),
        *(vertices[name] for name in ("row", "col", "node")),
    )
    return _finished(job, f"bucket-{bucket.number}", outline(pieces, known, found))


# --- features --------------------------------------------------------------------------------------------------------


def _finished(job: Job, name: Window | str, features: Features) -> Path:
    """A file with a batch, or with what is redrawn when all is finished."""
    if job.redraw is None:
        rings = features.rings
        return write_batch(job.file(name, ".arrow"), batch_of(job.source, features, rings.col, rings.row, rings.rings))
    path = job.file(name, ".features.npy")
    features.write(path)
    return path
