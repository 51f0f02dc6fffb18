"""Watersheds: basins too small, too shallow or unmarked drown in the neighbour across their lowest
pass, the same however the raster is cut.

The pass between two basins is the lowest, over pairs of neighbouring pixels, of the higher pixel;
passes of one height follow each other by place. Definition: take the passes of the raster from the
lowest to the highest, and unite the two regions at each if at least one of them is small (Kruskal's
algorithm, cut where both are large). These are the cuts of hierarchical watersheds by extinction
values: Meyer 1996 (markers), Grimaud 1992 (dynamics, https://doi.org/10.1117/12.60650), Vachier &
Meyer 1995 (area, volume), Cousty & Najman 2011 (https://doi.org/10.1007/978-3-642-21569-8_24).

A criterion of what is small has to be monotone: what contains a region that is not small, seen from
a pass no lower, is not small. Then the order of work has no say. A region that is not small at its
lowest pass is settled for ever. A small one certainly goes over its lowest pass: at once if what
lies there is settled, or goes over the same pass; else it waits. Where whatever joins a small
region from above leaves it small (dynamics, markers: `confluent`), it goes at once in any case. So
a tile lets everything drown whose fate it knows, and tells only what waits, with the settled
regions that this touches; of the passes those of the minimum spanning forest, for no other has a
say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.spill import Map, load_arrays, read_together, save_arrays, write_together
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.passes import Flags, Passes, Place
from tiling.regions.region_values import RegionValues
from tiling.regions.watershed.basins import Relief, follow_exits, label_marks, pixels_around
from tiling.regions.watershed.criteria import Criterion, Facts, Places
from tiling.regions.watershed.drowning_graph import Graph, drown, find_spanning_forest
from tiling.regions.watershed.saddles import PLACE_BITS, Saddles, find_passes, number_basins

# --- the passes -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flood:
    """A relief and what drowns in it, equal for every tile."""

    relief: Relief
    criterion: Criterion
    marked_only: bool = False

    def names_of(self, regions: Facts) -> Ids:
        """What regions are called in the end; `OUTSIDE` where they are not wanted."""
        keep = regions.marked if self.marked_only else np.True_
        return np.where(keep, regions.first, OUTSIDE)


class Fates(NamedTuple):
    """What a tile tells of regions whose fate it does not know: parallel arrays."""

    ids: Ids
    """A basin at the border that the region holds, or the region's own id."""
    settled: Flags
    facts: Facts
    ends: Places
    """`(2, n)` places in `ids`."""
    saddle: Saddles

    def write(self, path: Path) -> None:
        """To a file, where it waits for those of the other tiles."""
        area, low, marked, first = self.facts
        columns = self.settled.astype(np.int64), area, low, marked.astype(np.int64), first
        write_together(path, [self.ids, *columns, *self.ends, self.saddle.view(np.int64)])

    @classmethod
    def read(cls, path: Path) -> Fates:
        """Fates from a file that `write` made."""
        ids, settled, area, low, marked, first, one, other, saddle = read_together(path)
        facts = Facts(area, low, marked.astype(bool), first)
        return cls(ids, settled.astype(bool), facts, np.stack([one, other]), saddle.view(np.uint64))


def flood_relief(
    relief: Relief,
    criterion: Criterion,
    *,
    marked_only: bool = False,
    tile: int = 1024,
    map: Map = map,
) -> LabelFiles:
    """Leave the region of every pixel in `relief.folder`, called by the smallest id of its basins;
    the same for every `tile`. With `marked_only` pixels of regions without a marker have none.

    `map` may work elsewhere, as long as results come in order and the folder is there too. Raises
    `InputError` for rasters of more than 1.7 · 10¹⁰ px.
    """
    height, width = relief.shape
    if 4 * height * width >= 1 << PLACE_BITS:
        raise InputError(f"{height} × {width} px are too many to flood at once; clip the raster")
    passes, flood = Passes.over(relief.shape, tile, map), Flood(relief, criterion, marked_only)
    ends = follow_exits(relief, passes, label_marks(relief, tile, map))

    def basins_around(place: Place) -> tuple[Window, RegionValues]:
        window = passes.windows[place]
        return window, ends.restrict_to(pixels_around(window, relief.shape))

    for _ in passes.tell(partial(survey_fates, flood), basins_around):
        pass
    fates = {
        place: Fates.read(relief.file(window, ".fates.npy"))
        for place, window in passes.windows.items()
    }
    regions = decide(flood, list(fates.values()))
    labels = LabelFiles(relief.folder, relief.shape, tile)

    def verdict(place: Place) -> tuple[Window, RegionValues]:
        return passes.windows[place], regions.restrict_to(fates[place].ids)

    for _ in passes.tell(partial(leave_regions, flood, labels), verdict):
        pass
    return labels


def survey_fates(flood: Flood, tile: tuple[Window, RegionValues]) -> None:
    """Pass over a tile whose basins are known: leaves what drowns inside it, and its `Fates`."""
    window, ends = tile
    relief = flood.relief
    basins, own, rank = number_basins(relief, window, ends)
    graph = _graph_inside(relief, window, basins, rank)
    waits = ~graph.known
    group, left = drown(graph, flood.criterion)
    ids = left.facts.first.copy()
    ids[group[waits]] = basins[waits]  # no group holds two that wait: all tiles call it the same

    touched = np.flatnonzero(~(left.settled[left.one] & left.settled[left.other]))
    forest = find_spanning_forest(left, touched)
    ends_of = np.stack([left.one[forest], left.other[forest]])
    told = np.union1d(np.flatnonzero(~left.settled), ends_of.ravel())
    names = flood.names_of(left.facts)
    names[told] = ids[told]  # to be replaced when all tiles are known
    save_arrays(relief.file(window, ".groups.npy"), names[group][own])
    Fates(
        ids[told],
        left.settled[told],
        left.facts.where(told),
        np.searchsorted(told, ends_of),
        left.saddle[forest],
    ).write(relief.file(window, ".fates.npy"))


def decide(flood: Flood, tiles: Sequence[Fates]) -> RegionValues:
    """The final region of each that waited, where all tiles are known."""
    ids, number = np.unique(np.concatenate([tile.ids for tile in tiles]), return_inverse=True)
    facts = Facts(*map(np.concatenate, zip(*(tile.facts for tile in tiles), strict=True)))
    settled = np.zeros(ids.size, bool)
    settled[number[np.concatenate([tile.settled for tile in tiles])]] = True
    offsets = np.cumsum([0, *(tile.ids.size for tile in tiles)])
    ends = [number[tile.ends + at] for tile, at in zip(tiles, offsets, strict=False)]
    saddle = np.concatenate([tile.saddle for tile in tiles])
    known = np.ones(ids.size, bool)
    one, other = np.concatenate(ends, axis=1)
    graph = Graph(facts.merge(number, ids.size), known, settled, one, other, saddle)
    group, left = drown(graph, flood.criterion)
    return RegionValues(ids, flood.names_of(left.facts)[group])


def leave_regions(flood: Flood, labels: LabelFiles, tile: tuple[Window, RegionValues]) -> None:
    """Last pass over a tile: leaves the region of each pixel."""
    window, regions = tile
    (ids,) = load_arrays(flood.relief.file(window, ".groups.npy"), 1)
    _, rank = load_arrays(flood.relief.file(window, ".basins.npy"), 2)
    labels.write(window, TileLabels.of(np.append(regions.over(ids, ids), OUTSIDE), rank))


# --- in a tile ------------------------------------------------------------------------------------


def _graph_inside(
    relief: Relief, window: Window, basins: Ids, numbers: npt.NDArray[np.int32]
) -> Graph:
    """Basins and passes as a tile sees them, each pair of neighbours in the tile of its upper or
    left pixel."""
    height, _, marked = relief.look(window.pad(1))
    rank, n = numbers[:-1, :-1], basins.size
    # One row more than there are basins: the last is that of pixels that have none.
    every = rank.ravel()
    low = np.full(n + 1, np.iinfo(np.int64).max)
    np.minimum.at(low, every, height[1:-1, 1:-1].ravel().astype(np.int64))
    holds = np.zeros(n + 1, bool)
    holds[rank[marked[1:-1, 1:-1]]] = True
    area = np.bincount(every + 1, minlength=n + 1)[1:]
    facts = Facts(area, low[:-1], holds[:-1], basins)
    known = facts.area > 0
    open_sides = (
        (window.row > 0, rank[0]),
        (window.col > 0, rank[:, 0]),
        (window.row_stop < relief.shape[0], rank[-1]),
        (window.col_stop < relief.shape[1], rank[:, -1]),
    )
    for goes_on, side in open_sides:
        if goes_on:
            known[side[side != OUTSIDE]] = False
    (one, other), saddle = find_passes(height[1:, 1:], numbers, window, relief.shape[1])
    return Graph(facts, known, np.zeros(n, bool), one, other, saddle)
