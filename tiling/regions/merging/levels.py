"""Nested levels of objects: regions merged while the contrast along their borders is low, the same
however the raster is cut.

Within a level contrasts stay as they are, which makes the order of work indifferent (see
`tiling.regions.merging.linkage`); from level to level they are taken anew, from the means of larger
regions. With limits that double from level to level this comes as close to the image as Ward's or
Baatz & Schäpe's criterion does, which change contrasts after every merge and are not exact in
tiles.

Pixels are looked at once: from then on a tile is a graph of the regions that it sees. One pass over
the tiles for each level merges what a tile knows and tells what it does not: regions at its edge or
that might merge with these, the borders between them, and how much of them lies in the tile. The
calling process adds this up, merges the rest, and leaves every tile the fates of its own. So what
it holds follows the perimeter of tiles, and one barrier makes a level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.spill import Map, read_together, write_together
from tiling.regions.components import OUTSIDE, Ids, Labels
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.merging.borders import Borders, Numbers, find_borders
from tiling.regions.merging.linkage import Merging, RegionGraph, find_undecided, merge_known
from tiling.regions.merging.sums import RegionSums, RegionTable
from tiling.regions.order import find_distinct
from tiling.regions.passes import Flags, Passes, Read


@dataclass(frozen=True)
class Image:
    """Regions and what they are compared by, equal for every tile and level."""

    base: LabelFiles
    values: Read
    weights: tuple[float, ...] | None
    """Of squared differences, one for each band: one over the variance. None: regions are compared
    by what bands hold along their borders."""
    folder: Path
    areas: PixelAreas | None

    def level(self, number: int) -> Path:
        """The folder of a level; 0 is the base."""
        return self.folder / f"level-{number}"

    def sides(self, window: Window) -> Numbers | None:
        """`(band, y + 1, x + 1)` what a tile's pixels, those below and those beside say of borders;
        None where the means of regions do."""
        if self.weights is not None:
            return None
        values, _ = self.values(window.pad(1))
        return values[:, 1:, 1:].astype(np.int64)

    def compare(self, sums: RegionSums, borders: Borders) -> Borders:
        """Borders with their contrast."""
        return borders if self.weights is None else sums.compare(borders, self.weights)

    @property
    def pixel(self) -> int:
        """Units of size that the raster's middle pixel has."""
        if self.areas is None:
            return 1
        height, width = self.base.shape
        return int(self.areas.read(Window(height // 2, width // 2, 1, 1))[0, 0])


@dataclass(frozen=True)
class MergedLabels(LabelFiles):
    """The regions of one level: those of the base by the ids of what they are part of. No pixels
    are left, they are painted where they are asked for."""

    base: LabelFiles

    def read(self, window: Window) -> TileLabels:
        labels = self.base.read(window)
        graph = TileGraph.read(self.file(window, ".graph.npy"))
        fates = Fates.read(self.file(window, ".fates.npy"))
        ids = np.append(fates.apply(graph.ids)[graph.part], OUTSIDE)
        return TileLabels.of(ids, labels.rank)


def merge_levels(
    base: LabelFiles,
    values: Read,
    weights: Sequence[float] | None,
    limits: Sequence[Merging],
    folder: Path,
    *,
    areas: PixelAreas | None = None,
    map: Map = map,
) -> Iterator[LabelFiles]:
    """The labels of each level, from fine to coarse: regions of `base` merged up to each of the
    limits, called by the smallest id of their parts; the same for every tile of `base`.

    `values` gives whole numbers below 2³¹ for the pixels of every region, one `weight` for each
    band. Without `weights` no level changes the contrast of a side: of one band it is the sum of
    both its pixels, of two what the first holds in the pixel left of it, or the second in the one
    above. Regions of the base hang together by sides or corners; they may have any
    ids. Sizes are in pixels; with `areas`, for grids in degrees, in pixels as large as the raster's
    middle one. `folder` is for what waits, the labels of each level in a folder of their own; they
    need those of the base. `map` may work elsewhere, as long as results come in order and the
    folders are there too.
    """
    image = Image(base, values, None if weights is None else tuple(weights), folder, areas)
    passes = Passes.over(base.shape, base.tile, map)
    _make_folder(image.level(0))
    passes.survey(partial(survey_base, image))
    leave_fates(image, 0, passes.windows.values(), None)
    for number, merging in enumerate(limits, 1):
        exact = merging.count_in(image.pixel)
        _make_folder(image.level(number))
        passes.survey(partial(merge_inside, image, number, exact))
        leave_fates(image, number, passes.windows.values(), exact)
        yield MergedLabels(image.level(number), base.shape, base.tile, base)


# --- what tiles leave -----------------------------------------------------------------------------


class TileGraph(NamedTuple):
    """The regions that a tile sees at one level, in it and just below and beside it."""

    ids: Ids
    """Ascending."""
    shared: Flags
    """Whether other tiles see a region, too: it reaches the edge of the tile, or lies beyond it."""
    sums: RegionSums
    """Of what lies in the tile."""
    borders: Borders
    """Between numbers of regions, as the tile counts them."""
    part: Ids
    """Number of the region that each region of the base is part of, in the order of their ids."""

    def write(self, path: Path) -> None:
        """To a file, where it waits for the next level."""
        shared = self.shared.astype(np.int64)
        bands = np.array([len(self.sums.total)])
        columns = *self.sums.columns, *self.borders, self.part, bands
        write_together(path, [self.ids, shared, *columns])

    @classmethod
    def read(cls, path: Path) -> TileGraph:
        """The graph from a file that `write` made."""
        ids, shared, *columns, part, bands = read_together(path)
        sums = RegionSums.of_columns(columns[:3], int(bands[0]))
        return cls(ids, shared.astype(bool), sums, Borders(*columns[3:]), part)

    def merge(self, names: Ids, borders: Borders | None = None) -> TileGraph:
        """The graph of regions that have one name; `names` are `(n,)`, `borders` those between
        them where somebody knows."""
        ids, group = np.unique(names, return_inverse=True)
        shared = np.zeros(ids.size, bool)
        shared[group[self.shared]] = True
        borders = self.borders.between(group) if borders is None else borders
        return TileGraph(ids, shared, self.sums.merge(group, ids.size), borders, group[self.part])


class Undecided(NamedTuple):
    """What a tile tells of a level: regions whose fate it does not know."""

    ids: Ids
    sums: RegionSums
    """Of what lies in the tile."""
    borders: Borders
    """Between numbers of these regions."""

    def write(self, path: Path) -> None:
        """To a file, where it waits for those of the other tiles."""
        bands = np.array([len(self.sums.total)])
        write_together(path, [self.ids, *self.sums.columns, *self.borders, bands])

    @classmethod
    def read(cls, path: Path) -> Undecided:
        """What `write` left in a file."""
        ids, *columns, bands = read_together(path)
        sums = RegionSums.of_columns(columns[:3], int(bands[0]))
        return cls(ids, sums, Borders(*columns[3:]))


class Fates(NamedTuple):
    """What became of the regions that a tile has told."""

    ids: Ids
    """Ascending."""
    region: Ids
    """Id of the region that each is part of now."""
    sums: RegionSums
    """Of all of that region, wherever it lies."""

    def write(self, path: Path) -> None:
        """To a file, where the tile finds them."""
        bands = np.array([len(self.sums.total)])
        write_together(path, [self.ids, self.region, *self.sums.columns, bands])

    @classmethod
    def read(cls, path: Path) -> Fates:
        """Fates from a file that `write` made."""
        ids, region, *columns, bands = read_together(path)
        return cls(ids, region, RegionSums.of_columns(columns, int(bands[0])))

    def apply(self, ids: Ids) -> Ids:
        """What each of some regions is part of; those that nobody told of stay."""
        at = np.searchsorted(self.ids, ids)
        at[at == self.ids.size] = 0
        if not self.ids.size:
            return ids
        return np.where(self.ids[at] == ids, self.region[at], ids)


# --- the passes -----------------------------------------------------------------------------------


def survey_base(image: Image, window: Window) -> None:
    """First pass over a tile, the only one that looks at pixels: leaves the graph of its regions,
    and tells how much of those at its edge lies in it."""
    own, ids, rank = read_with_next(image.base, window)
    values, valid = image.values(window)
    units = None if image.areas is None else image.areas.read(window)
    core = rank[:-1, :-1]
    sums = RegionSums.of_pixels(core, np.where(valid, values, 0), units, ids.size)
    shared = sums.pixels == 0
    height, width = image.base.shape
    sides = (
        (window.row > 0, core[0]),
        (window.col > 0, core[:, 0]),
        (window.row_stop < height, core[-1]),
        (window.col_stop < width, core[:, -1]),
    )
    for goes_on, side in sides:
        if goes_on:
            shared[side[side != OUTSIDE]] = True
    borders = find_borders(rank, window, width, ids.size, image.sides(window))
    graph = TileGraph(ids, shared, sums, borders, np.searchsorted(ids, own))
    _leave(image, 0, window, graph, np.flatnonzero(shared), borders.where(np.zeros(0, np.intp)))


def merge_inside(image: Image, number: int, merging: Merging, window: Window) -> None:
    """Pass of a level over a tile: merges the regions that it knows whole, and tells of those whose
    fate it does not know."""
    before = LabelFiles(image.level(number - 1), image.base.shape, image.base.tile)
    graph = TileGraph.read(before.file(window, ".graph.npy"))
    fates = Fates.read(before.file(window, ".fates.npy"))
    graph = graph.merge(fates.apply(graph.ids))

    shared = np.flatnonzero(graph.shared)
    region, first = np.unique(fates.region, return_index=True)
    elsewhere = fates.sums.where(first[np.searchsorted(region, graph.ids[shared])])
    sums = graph.sums.replace(shared, elsewhere)
    borders = image.compare(sums, graph.borders)
    group, merged = merge_known(RegionGraph(sums.size, ~graph.shared, borders), merging)

    undecided = find_undecided(merged, merging)
    smallest = np.full(merged.size.size, np.iinfo(np.int64).max)
    np.minimum.at(smallest, group, graph.ids)
    # Groups in the order of their smallest ids, which is that of their first regions.
    graph = graph.merge(smallest[group], merged.borders)
    _leave(image, number, window, graph, undecided, merged.borders)


def leave_fates(
    image: Image, number: int, windows: Iterable[Window], merging: Merging | None
) -> None:
    """Where all tiles are known, merge what they told, and leave each of them the fates of its own;
    without `merging` regions are only added up."""
    files = LabelFiles(image.level(number), image.base.shape, image.base.tile)
    tiles = [Undecided.read(files.file(window, ".told.npy")) for window in windows]
    table, region = settle(tiles, merging)
    for window, tile in zip(windows, tiles, strict=True):
        names = region[np.searchsorted(table.ids, tile.ids)]
        sums = table.sums.where(np.searchsorted(table.ids, names))
        Fates(tile.ids, names, sums).write(files.file(window, ".fates.npy"))


def settle(tiles: Sequence[Undecided], merging: Merging | None) -> tuple[RegionTable, Ids]:
    """The regions that tiles told of, each with the sums of all of the region that is called so,
    and the id of the region that each is part of."""
    ids, number = np.unique(np.concatenate([tile.ids for tile in tiles]), return_inverse=True)
    columns = zip(*(tile.sums for tile in tiles), strict=True)
    sums = RegionSums(*(np.concatenate(c, axis=-1) for c in columns)).merge(number, ids.size)
    if merging is None:
        return RegionTable(ids, sums), ids
    offsets = np.cumsum([0, *(tile.ids.size for tile in tiles)])
    rows = [
        tile.borders._replace(one=tile.borders.one + at, other=tile.borders.other + at)
        for tile, at in zip(tiles, offsets, strict=False)
    ]
    borders = Borders(*map(np.concatenate, zip(*rows, strict=True))).between(number)
    graph = RegionGraph(sums.size, np.ones(ids.size, bool), borders)
    group, merged = merge_known(graph, merging)
    # Groups are in the order of their first regions, and ids ascend: the first is the smallest.
    _, first = np.unique(group, return_index=True)
    whole = sums.merge(group, merged.size.size)
    return RegionTable(ids, sums.replace(first, whole)), ids[first][group]


# --- in a tile ------------------------------------------------------------------------------------


def read_with_next(labels: LabelFiles, window: Window) -> tuple[Ids, Ids, Labels]:
    """The regions in a tile, ascending; those in it, in the row below and in the column beside it,
    ascending; and the number `(y + 1, x + 1)` of each pixel's among the latter. The pixel that
    touches the tile's corner alone is none's."""
    (height, width), tile = labels.shape, labels.tile
    own = labels.read(window)
    sides: list[tuple[Any, Ids]] = []
    if window.row_stop < height:
        deep = min(tile, height - window.row_stop)
        below = labels.read(Window(window.row_stop, window.col, deep, window.width))
        sides.append((np.s_[-1, :-1], np.append(below.ids, OUTSIDE)[below.rank[0]]))
    if window.col_stop < width:
        across = min(tile, width - window.col_stop)
        beside = labels.read(Window(window.row, window.col_stop, window.height, across))
        sides.append((np.s_[:-1, -1], np.append(beside.ids, OUTSIDE)[beside.rank[:, 0]]))
    ids = find_distinct(np.concatenate([own.ids, *(pixels for _, pixels in sides)]))
    ids = ids[ids != OUTSIDE]
    rank = np.full((window.height + 1, window.width + 1), OUTSIDE, np.int32)
    number = np.append(np.searchsorted(ids, own.ids), OUTSIDE).astype(np.int32)
    rank[:-1, :-1] = number[own.rank]
    for side, pixels in sides:
        rank[side] = np.where(pixels == OUTSIDE, OUTSIDE, np.searchsorted(ids, pixels))
    return own.ids, ids, rank


def _leave(
    image: Image,
    number: int,
    window: Window,
    graph: TileGraph,
    undecided: npt.NDArray[np.intp],
    borders: Borders,
) -> None:
    """Leave the graph of a tile at a level, and what it tells: some of its regions and the borders
    between them."""
    files = LabelFiles(image.level(number), image.base.shape, image.base.tile)
    graph.write(files.file(window, ".graph.npy"))
    at = np.full(graph.ids.size, OUTSIDE)
    at[undecided] = np.arange(undecided.size)
    both = (at[borders.one] != OUTSIDE) & (at[borders.other] != OUTSIDE)
    rows = borders.where(both)
    told = Undecided(
        graph.ids[undecided],
        graph.sums.where(undecided),
        rows._replace(one=at[rows.one], other=at[rows.other]),
    )
    told.write(files.file(window, ".told.npy"))


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
