"""Labels: which region each pixel belongs to, left by tile, and numbered 1 … n in raster order.

The ids that methods give to regions are indices of pixels, so nobody has to count. For publication
regions are numbered in raster order of their first pixels. Each tile counts, row by row, the
regions that begin in it; a prefix sum over rows of pixels, and in each row over tiles, says how
many begin before. That is `height × tiles across` whole numbers, however many regions there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.profiles import plain_profile
from tiling.io.spill import Map, load_arrays, read_together, save_arrays, write_together
from tiling.regions.components import OUTSIDE, Ids, Labels
from tiling.regions.order import find_distinct
from tiling.regions.passes import Passes, Place
from tiling.regions.region_values import RegionValues


class TileLabels(NamedTuple):
    """Which region each pixel of a tile belongs to."""

    ids: Ids
    """`(n,)` ids of the regions that have pixels in the tile, ascending."""
    rank: Labels
    """`(y, x)` number of a pixel's region in `ids`; `OUTSIDE` where it has none."""

    @classmethod
    def of(cls, ids: Ids, label: npt.NDArray[np.integer]) -> TileLabels:
        """Labels of pixels `(y, x)` whose region is `ids[label]`, or none where that is
        `OUTSIDE`; the last of `ids` serves a label of -1."""
        here = np.zeros(ids.size, bool)
        here[label.ravel()] = True
        distinct = find_distinct(ids[here & (ids != OUTSIDE)])
        rank = np.searchsorted(distinct, ids).astype(np.int32)
        rank[ids == OUTSIDE] = OUTSIDE
        return cls(distinct, rank[label])

    @property
    def pixels(self) -> Ids:
        """`(y, x)` id of each pixel's region, or `OUTSIDE`."""
        return np.append(self.ids, OUTSIDE)[self.rank]

    @property
    def outer(self) -> Labels:
        """Ranks of the regions that reach the edge of the tile, ascending."""
        rank = self.rank
        outer = np.unique(np.concatenate([rank[0], rank[-1], rank[:, 0], rank[:, -1]]))
        return outer[outer != OUTSIDE]


@dataclass(frozen=True)
class LabelFiles:
    """Which region each pixel of a raster belongs to: a file for each of its tiles."""

    folder: Path
    shape: tuple[int, int]
    tile: int

    def file(self, window: Window, suffix: str) -> Path:
        """The file in which something of a tile waits, by its suffix."""
        return self.folder / f"{window.row}-{window.col}{suffix}"

    def write(self, window: Window, labels: TileLabels) -> None:
        """Leave the labels of a tile; a second time they replace the first."""
        save_arrays(self.file(window, ".labels.npy"), *labels)

    def read(self, window: Window) -> TileLabels:
        """The labels of a tile."""
        ids, rank = load_arrays(self.file(window, ".labels.npy"), 2)
        return TileLabels(ids, rank)


def find_sides(numbers: Labels, down: int) -> npt.NDArray[np.intp]:
    """Flat index in `(y + 1, x + 1)` of the pixels of a tile that another region lies below
    (`down` = 1) or to the right of (0); a pixel of `OUTSIDE` is nobody's neighbour."""
    here = numbers[:-1, :-1]
    beyond = numbers[1:, :-1] if down else numbers[:-1, 1:]
    apart = np.zeros(numbers.shape, bool)
    np.not_equal(here, beyond, out=apart[:-1, :-1])
    apart[:-1, :-1] &= (here != OUTSIDE) & (beyond != OUTSIDE)
    return np.flatnonzero(apart)


# --- numbers --------------------------------------------------------------------------------------


def write_numbers(labels: LabelFiles, grid: GeoBox, target: Path, *, map: Map = map) -> int:
    """Write the regions, numbered 1 … n in raster order of their first pixels, as a plain tiled
    GeoTIFF of uint32 on a grid, with 0 as no data; returns n.

    Regions hang together by sides or corners. The same for every tile. `map` may work elsewhere, as
    long as results come in order and the folder of the labels is there too. Raises `InputError`
    where 32 bits are too few.
    """
    passes = Passes.over(labels.shape, labels.tile, map)
    passes.survey(partial(survey_beginnings, labels))
    edges = {
        place: Beginnings.read(labels.file(window, ".edges.npy"))
        for place, window in passes.windows.items()
    }
    firsts = _merge_beginnings(list(edges.values()))

    def known(place: Place) -> tuple[Window, RegionValues]:
        return passes.windows[place], firsts.restrict_to(edges[place].ids)

    for _ in passes.tell(partial(count_beginnings, labels), known):
        pass
    before, numbers, n = _number_regions(labels, passes)
    if n > np.iinfo(np.uint32).max:
        raise InputError(f"{n} regions are more than {target} can number; merge or sieve them")

    def context(place: Place) -> tuple[Window, RegionValues, Ids, RegionValues]:
        window = passes.windows[place]
        rows = before[window.row : window.row_stop, place[1]]
        return *known(place), rows, numbers.restrict_to(edges[place].ids)

    profile = plain_profile(grid, "uint32", 0)
    passes.write_as(partial(number_pixels, labels), context, profile, target)
    return n


class Beginnings(NamedTuple):
    """Where regions at the edge of a tile begin in it: parallel arrays."""

    ids: Ids
    first: Ids
    """Index of the first pixel in raster order."""

    @classmethod
    def read(cls, path: Path) -> Beginnings:
        """Beginnings from the file where they wait."""
        return cls(*read_together(path))


def survey_beginnings(labels: LabelFiles, window: Window) -> None:
    """First pass over a tile: leaves where the regions at its edge begin in it."""
    tile = labels.read(window)
    outer = tile.outer
    first = _first_pixels(tile, window, labels.shape[1])[outer]
    write_together(labels.file(window, ".edges.npy"), [tile.ids[outer], first])


def count_beginnings(labels: LabelFiles, known: tuple[Window, RegionValues]) -> None:
    """Second pass over a tile: leaves how many regions begin in each row of it, and of those at
    its edge which begin in what row after how many others."""
    window, firsts = known
    tile = labels.read(window)
    begin, row = _regions_beginning(labels, tile, window, firsts)
    counts = np.bincount(row, minlength=window.height)
    after = np.arange(row.size) - (np.cumsum(counts) - counts)[row]
    told = np.isin(begin, tile.outer)
    write_together(
        labels.file(window, ".counts.npy"), [counts, tile.ids[begin[told]], row[told], after[told]]
    )


def number_pixels(
    labels: LabelFiles, known: tuple[Window, RegionValues, Ids, RegionValues]
) -> npt.NDArray[np.uint32]:
    """Last pass over a tile: `(y, x)` the number of each pixel's region, 0 where it has none."""
    window, firsts, before, elsewhere = known
    tile = labels.read(window)
    begin, row = _regions_beginning(labels, tile, window, firsts)
    counts = np.bincount(row, minlength=window.height)
    numbers = np.zeros(tile.ids.size, np.int64)
    numbers[begin] = 1 + np.arange(row.size) + (before - (np.cumsum(counts) - counts))[row]
    numbers = elsewhere.over(tile.ids, numbers)
    return np.append(numbers, 0).astype(np.uint32)[tile.rank]


def _first_pixels(tile: TileLabels, window: Window, width: int) -> Ids:
    """`(n,)` index in the raster of the first pixel that each region has in a tile."""
    first = np.zeros(tile.ids.size + 1, np.int64)  # the last one is that of OUTSIDE
    place = np.arange(window.area)[::-1]
    first[tile.rank.ravel()[place]] = place  # the last one written stays
    row, col = np.divmod(first[:-1], window.width)
    return (window.row + row) * width + window.col + col


def _regions_beginning(
    labels: LabelFiles, tile: TileLabels, window: Window, firsts: RegionValues
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Ranks of the regions whose first pixel lies in a tile, in raster order of it, and the row of
    the tile where it lies."""
    width = labels.shape[1]
    first = _first_pixels(tile, window, width)
    begin = np.flatnonzero(firsts.over(tile.ids, first) == first)
    begin = begin[np.argsort(first[begin])]
    return begin, first[begin] // width - window.row


def _merge_beginnings(tiles: Sequence[Beginnings]) -> RegionValues:
    """The first pixel in the raster of each region at the edge of a tile."""
    every = Beginnings(*map(np.concatenate, zip(*tiles, strict=True)))
    order = np.lexsort((every.first, every.ids))
    ids, at = np.unique(every.ids[order], return_index=True)
    return RegionValues(ids, every.first[order][at])


def _number_regions(labels: LabelFiles, passes: Passes) -> tuple[Ids, RegionValues, int]:
    """How many regions begin before each row of each tile `(row, tile across)`, the numbers of
    those at the edges of tiles, and how many there are at all."""
    height, across = labels.shape[0], -(-labels.shape[1] // labels.tile)
    counts = np.zeros((height, across), np.int64)
    found = []
    for (_, col), window in passes.windows.items():
        begun, ids, row, after = read_together(labels.file(window, ".counts.npy"))
        counts[window.row : window.row_stop, col] = begun
        found.append((ids, (window.row + row) * across + col, after))
    before = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    ids, place, after = map(np.concatenate, zip(*found, strict=True))
    order = np.argsort(ids)
    numbers = 1 + before.ravel()[place] + after
    return before, RegionValues(ids[order], numbers[order]), int(counts.sum())
