"""Exact polygons of a class raster of any size, worked tile by tile.

A tile that knows the final region ids of its own pixels and of those one step outside can name the
vertices at its own lattice points alone, and walk from one to the next; the outline of a region is
the same whoever found its vertices (`tiling.polygons.outlines`). No seam is dissolved, and three
passes suffice:

1. every tile labels its pixels and leaves its border behind; the borders are united into final ids
   (`tiling.regions.components`);
2. every tile walks its outlines; regions within one tile become polygons there, lines of the others
  go to buckets on
   disk (`tiling.io.spill`);
3. bucket by bucket, the lines that travelled become polygons.

So memory holds a tile, a bucket and, in the calling process, the borders of all tiles. Three ids
tell what a pixel is part of: its *polygon*, 4-connected; its *feature*, one row of the result; its
*region*, the id that row carries. They are one and the same unless a feature gathers polygons that
touch diagonally, or a region is too large for one feature.

Lines are simplified last (`tiling.polygons.simplify`), in rounds over all that is finished: each is
a pure function of its own vertices, so neighbours agree, and those that spoil a polygon, on
whatever machine, go back towards the original.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tiling.errors import InputError
from tiling.grid.pixel_area import sum_by
from tiling.grid.window import Window
from tiling.io.spill import (
    Map,
    bucket_starts,
    by_bucket,
    take_batch,
)
from tiling.polygons.measures import NO_MEASURES, ClassRaster, Measure
from tiling.polygons.simplify_rounds import Redraw, simplify_in_rounds
from tiling.polygons.tile_tasks import (
    Bucket,
    Crossing,
    Edge,
    EdgeContext,
    Job,
    United,
    count_vertices,
    find_edge,
    join,
    trace,
)
from tiling.regions.components import Ids, distinct
from tiling.regions.passes import Passes, Place
from tiling.regions.seams import frame_of

MAX_VERTICES = 1_000_000
"""A region with more is cut: 16 MB of well-known binary; a map that redraws it has to go through
all of it."""

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
    """The regions of a class raster as polygons, in batches of `schema_of(measures)`; the same for
    every `tile` size.

    Pixels of the value `nodata` are left out; None means the value the file declares. `confidence`
    is a raster on the same grid, 0–100; its no data (255 if it declares none) does not enter the
    mean. `map` may work elsewhere, as long as results come in order and `scratch`, a folder for
    temporary files (else one of this machine), is there too.

    With `connectivity` 8 pixels that touch diagonally belong together, and regions are
    multipolygons. A region with more than `max_vertices` is cut along the grid of `CUT` pixels into
    features with one `region_id`; None cuts nothing. `simplify` is how far, in pixels, boundaries
    may move, and `smooth` how often their corners are cut; the result stays a coverage without
    gaps, and every column but the perimeter is that of the pixels.

    Raises `InputError` for rasters that cannot be read or hold no classes.
    """
    if connectivity not in (4, 8):
        raise InputError(
            f"{raster} cannot be polygonised with a connectivity of {connectivity}; take 4 or 8"
        )
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
    passes = Passes(_windows(height, width, tile), map)
    with tempfile.TemporaryDirectory(prefix="polygons-", dir=scratch) as folder:
        job = replace(job, folder=folder)
        passes.survey(partial(find_edge, job))
        edges = {place: job.edge(window) for place, window in passes.windows.items()}
        united = United.between(edges, job.source.connectivity)
        if max_vertices is not None:
            united = _cut(job, passes, edges, united, max_vertices)
        job = replace(job, cuts=_cuts(edges, united))
        crossing: list[Crossing] = []

        def outlined() -> Iterator[Path]:
            context = _context_of(passes, edges, united)
            for within, rest in passes.tell(partial(trace, job), context):
                if within is not None:
                    yield within
                if rest is not None:
                    crossing.append(rest)
            yield from map(partial(join, job), _buckets(crossing))

        for drawn in (
            outlined()
            if job.redraw is None
            else simplify_in_rounds(job.redraw, list(outlined()), Path(folder), map)
        ):
            batch = take_batch(drawn)
            if batch.num_rows:
                yield batch


def _windows(height: int, width: int, tile: int) -> dict[Place, Window]:
    """Tiles by their place, cut along the grid of the cells too: each lies in one."""
    rows, cols = (
        enumerate(pairwise(sorted({*range(0, length, tile), *range(0, length, CUT), length})))
        for length in (height, width)
    )
    return {
        (i, j): Window(row, col, row_stop - row, col_stop - col)
        for (i, (row, row_stop)), (j, (col, col_stop)) in product(rows, cols)
    }


# --- the passes over tiles ------------------------------------------------------------------------


def _cuts(edges: Mapping[Place, Edge], united: United) -> Ids:
    """Where the features that may cross seams are cut into buckets."""
    ids = np.concatenate([united.features.final_ids(edge.ids) for edge in edges.values()])
    features, of = np.unique(ids, return_inverse=True)
    sides = np.concatenate([edge.outlines.sides for edge in edges.values()])
    return bucket_starts(features, sum_by(of, sides, features.size), BUCKET_VERTICES)


def _buckets(crossing: Sequence[Crossing]) -> Iterator[Bucket]:
    """The buckets that hold anything, in order of their numbers."""
    pieces, lines, vertices = (by_bucket(tile[kind] for tile in crossing) for kind in range(3))
    for number in sorted(pieces):
        yield Bucket(number, pieces[number], lines[number], vertices[number])


def _context_of(
    passes: Passes, edges: Mapping[Place, Edge], united: United
) -> Callable[[Place], EdgeContext]:
    """What tells each tile of the regions at its edge."""
    borders = {place: edge.border for place, edge in edges.items()}
    groups = {place: edge.groups for place, edge in edges.items()}

    def context(place: Place) -> EdgeContext:
        polygons = frame_of(place, borders, united.polygons)
        features = frame_of(place, groups, united.features)
        concerned = [
            [*frame, *(side.ids for side in border)]
            for frame, border in ((polygons, borders[place]), (features, groups[place]))
        ]
        return EdgeContext(
            passes.windows[place], polygons, features, united.restrict_to(*concerned)
        )

    return context


def _cut(
    job: Job, passes: Passes, edges: Mapping[Place, Edge], united: United, max_vertices: int
) -> United:
    """Pieces united to regions; within cells only, where an outline has more than `max_vertices`.

    What the first pass knows of outlines decides of most regions; of the others vertices are
    counted.
    """
    ids = [united.features.final_ids(edge.ids) for edge in edges.values()]
    most, least = (
        _above(
            max_vertices,
            [(own, edge.outlines[n]) for own, edge in zip(ids, edges.values(), strict=True)],
        )
        for n in range(2)
    )
    doubtful = np.setdiff1d(most, least)
    concerned = (
        tile
        for tile in map(_context_of(passes, edges, united), passes.windows)
        if np.isin(tile.united.regions.regions, doubtful).any()
    )
    counted = (
        _above(max_vertices, list(passes.map(partial(count_vertices, job), concerned)))
        if doubtful.size
        else doubtful
    )
    regions = np.union1d(least, counted)
    if not regions.size:
        return united
    cells = {
        tile: (window.row // CUT, window.col // CUT) for tile, window in passes.windows.items()
    }
    polygons = [np.empty(0, np.int64)]
    for edge in edges.values():
        for side, group in zip(edge.border, edge.groups, strict=True):
            inside = np.repeat(np.isin(united.features.final_ids(group.ids), regions), group.length)
            polygons.append(distinct(side.pixels.ids[inside]))
    whole = np.unique(united.polygons.final_ids(np.concatenate(polygons)))
    return united.cutting(regions, whole, United.between(edges, job.source.connectivity, cells))


def _above(limit: int, counts: Sequence[tuple[Ids, npt.NDArray[np.int64]]]) -> Ids:
    """The ids whose counts add up to more than `limit`."""
    if not counts:
        return np.empty(0, np.int64)
    ids, of = np.unique(np.concatenate([ids for ids, _ in counts]), return_inverse=True)
    return ids[sum_by(of, np.concatenate([n for _, n in counts]), ids.size) > limit]
