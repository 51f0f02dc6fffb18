"""What a worker does with one tile, or with one bucket of lines, on the way from regions to
polygons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.grid.pixel_area import sum_by
from tiling.grid.window import Window
from tiling.io.spill import (
    Slice,
    Spilled,
    bucket_of,
    fetch,
    load_arrays,
    read_together,
    save_arrays,
    spill,
    write_batch,
    write_together,
)
from tiling.polygons.attributes import Features, Pieces, batch_of, outline
from tiling.polygons.measures import ClassRaster
from tiling.polygons.outlines import Lines, find_lines, find_vertices
from tiling.polygons.simplify_rounds import Redraw
from tiling.regions.components import OUTSIDE, Border, Ids, Labels, Outlines, TileRegions, distinct
from tiling.regions.seams import Frame, Seams


class Edge(NamedTuple):
    """The border of a tile with its features and outlines, left by the first pass."""

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
        """An edge from a file that `write` made."""
        *borders, ids, sides, bends = read_together(path)
        return cls(
            Border.from_arrays(borders[:12]),
            Border.from_arrays(borders[-12:]),
            ids,
            Outlines(sides, bends),
        )


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
        """These unions, but of the regions made of `polygons` only as far as `cells` has them."""
        return United(
            self.polygons.except_for(polygons, cells.polygons),
            self.features.except_for(regions, cells.features),
            self.regions,
        )

    def restrict_to(self, polygons: Sequence[Ids], features: Sequence[Ids]) -> United:
        """The unions that concern these polygons and features, and no others."""
        return United(
            self.polygons.restrict_to(*polygons),
            self.features.restrict_to(*features),
            self.regions.restrict_to(*features),
        )


class EdgeContext(NamedTuple):
    """A tile, the pixels around it and the unions across its seams: enough to trace its regions."""

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


@dataclass(frozen=True)
class Job:
    """The raster, the settings and the folder that all passes over tiles share."""

    source: ClassRaster
    redraw: Redraw | None
    """None where lines follow the pixels."""
    folder: str = ""
    """For temporary files."""
    cuts: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Features at which buckets begin: see `tiling.io.spill`."""

    def file(self, name: Window | str, suffix: str) -> Path:
        """Where something of a tile, or a bucket, waits."""
        return Path(
            self.folder,
            f"{name.row}-{name.col}{suffix}" if isinstance(name, Window) else f"{name}{suffix}",
        )

    def edge(self, window: Window) -> Edge:
        """The edge of a tile, as the first pass left it."""
        return Edge.read(self.file(window, ".edge.npy"))

    def regions(self, window: Window) -> TileRegions:
        """The regions of a tile that the first pass has labelled."""
        return TileRegions.from_arrays(
            window.shape, load_arrays(self.file(window, ".regions.npy"), 7)
        )


def find_edge(job: Job, window: Window) -> None:
    """First pass over a tile: leaves its regions and its `Edge`, what others have to know of it."""
    source = job.source
    found = source.regions(window)
    save_arrays(job.file(window, ".regions.npy"), *found.arrays)
    groups, border = source.groups(found), found.border
    shared = border if source.connectivity == 4 else replace(found, ids=groups).border

    ids = distinct(np.concatenate([side.ids for side in shared]))
    touches = np.isin(groups, ids)
    place = np.searchsorted(ids, groups[touches])
    edge = Edge(
        border,
        shared,
        ids,
        Outlines(*(sum_by(place, n[touches], ids.size) for n in found.outlines)),
    )
    edge.write(job.file(window, ".edge.npy"))


class View(NamedTuple):
    """The polygons in a tile and one pixel around it."""

    polygons: Ids
    """Ascending."""
    features: Ids
    """The feature of each."""
    crosses: npt.NDArray[np.bool_]
    """Whether that crosses the tile's seams."""
    around: Labels
    """`(y + 2, x + 2)` the pixels of the tile and those one step outside, as indices into
    `polygons`."""
    last: tuple[bool, bool]
    """Whether the tile is the last down or across. Every lattice point belongs to the tile of the
    pixel to its lower right, or to the last tile before the edge."""


def _view(
    source: ClassRaster, tile: EdgeContext, found: TileRegions, polygon: Ids, feature: Ids
) -> View:
    window = tile.window
    polygons, features = (
        np.concatenate([ids, *frame])
        for ids, frame in ((polygon, tile.polygons), (feature, tile.features))
    )
    known = distinct(polygons)
    rank = partial(_rank, known)
    inside = polygons != OUTSIDE
    feature_of = np.empty_like(known)
    feature_of[rank(polygons[inside])] = features[inside]

    around = np.empty((window.height + 2, window.width + 2), np.int32)
    around[1:-1, 1:-1] = found.paint(rank(polygon))
    around[0], around[-1], around[1:-1, 0], around[1:-1, -1] = (
        rank(side) for side in tile.polygons
    )
    height, width = source.areas.geobox.shape
    last = window.row_stop == height, window.col_stop == width
    return View(known, feature_of, tile.united.features.crosses(feature_of), around, last)


def count_vertices(job: Job, tile: EdgeContext) -> tuple[Ids, npt.NDArray[np.int64]]:
    """The features of a tile that cross its seams, and how many of their vertices are the
    tile's."""
    source, found = job.source, job.regions(tile.window)
    polygon, feature = (
        tile.united.polygons.final_ids(found.ids),
        tile.united.features.final_ids(source.groups(found)),
    )
    view = _view(source, tile, found, polygon, feature)
    vertices = find_vertices(view.around, tile.window, view.crosses, last=view.last)
    n = np.bincount(vertices.region, minlength=view.polygons.size)
    return view.features[view.crosses], n[view.crosses]


def trace(job: Job, tile: EdgeContext) -> tuple[Path | None, Crossing | None]:
    """Second pass over a tile: where it left the features that lie within it, and what it knows of
    the others."""
    source, united = job.source, tile.united
    found = job.regions(tile.window)
    groups = source.groups(found)
    pieces = Pieces(
        united.polygons.final_ids(found.ids),
        united.features.final_ids(groups),
        united.regions.final_ids(groups),
        found.class_id.astype(np.int64),
        source.sums(found, tile.window),
    )
    view = _view(source, tile, found, pieces.polygon, pieces.feature)
    known, lines = view.polygons, find_lines(view.around, tile.window, view.crosses, last=view.last)

    here, crosses = pieces.polygon != OUTSIDE, united.features.crosses(pieces.feature)
    done = pieces.where(here & ~crosses)
    within = np.zeros(known.size, bool)
    within[_rank(known, done.polygon)] = True
    finished, name = None, tile.window
    if done.polygon.size:
        finished = _write_features(
            job, name, outline(done, known, lines.where(np.flatnonzero(within[lines.region])))
        )

    chosen = np.flatnonzero(view.crosses[lines.region])
    if not (crosses.any() or chosen.size):
        return finished, None
    rest, travelling = pieces.where(crosses), lines.where(chosen)
    size, bucket = (
        np.diff(travelling.offsets),
        bucket_of(view.features[travelling.region], job.cuts),
    )
    return finished, Crossing(
        spill(
            job.file(name, ".pieces.npy"), np.column_stack(rest), bucket_of(rest.feature, job.cuts)
        ),
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
    return _write_features(job, f"bucket-{bucket.number}", outline(pieces, known, found))


def _write_features(job: Job, name: Window | str, features: Features) -> Path:
    """A file with a batch, or with what is redrawn when all is finished."""
    if job.redraw is None:
        rings = features.rings
        return write_batch(
            job.file(name, ".arrow"),
            batch_of(job.source, features, rings.col, rings.row, rings.rings),
        )
    path = job.file(name, ".features.npy")
    features.write(path)
    return path
