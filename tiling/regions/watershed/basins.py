"""Catchment basins of a relief by steepest descent, the same however the raster is cut.

Pixels are in strict order: height, then row, then column. Each points at the lowest of itself and
its four neighbours, so what a tile sees of this is what the whole raster shows. Pointers make a
forest (the watershed by topographic distance of Meyer 1994,
https://doi.org/10.1016/0165-1684(94)90060-4, in the drop-of-water form of Cousty et al. 2009,
https://doi.org/10.1109/TPAMI.2008.173); a root is a minimum, and a basin is called by the index
`row * width + col` of its own. Basins are 4-connected on purpose: each becomes one polygon.

A tile follows its pointers until they end or leave it. Where its outermost pixels lead is all that
it tells: whatever leaves a tile passes one of them. The calling process follows these from tile to
tile. Level ground drains to its upper left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.io.spill import Map, load_arrays, read_together, save_arrays, write_together
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.passes import Flags, Passes, Place, Read, Values
from tiling.regions.region_values import RegionValues
from tiling.regions.zones import Link, Zones, find_zones

HEIGHT_BITS = 28
"""Heights are whole numbers from 0 to 2²⁸ - 1: a height and a place have to fit into 64 bits."""
_DIRECTION_BITS = 3


@dataclass(frozen=True)
class Relief:
    """What is flooded, equal for every tile."""

    read: Read
    """Its first band gives heights, from 0 to 2²⁸ - 1."""
    shape: tuple[int, int]
    folder: Path
    """For what waits, and for labels."""
    marks: Read | None = None
    """Where a pixel is valid in it, that is a marker: it has a basin of its own."""
    link: Link | None = None
    """Marked neighbours that it links, also at corners, are one marker and have one basin, as the
    pixels of a line or an area that a person drew; without it each pixel is a marker."""

    def file(self, window: Window, suffix: str) -> Path:
        """The file in which something of a tile waits, by its suffix."""
        return self.folder / f"{window.row}-{window.col}{suffix}"

    @property
    def patches(self) -> Zones | None:
        """Of marked pixels those that are one marker; `None` where each is one."""
        if self.marks is None or self.link is None:
            return None
        marked = MarkedPixels(self.read, self.marks)
        return Zones(marked, self.shape, self.folder / "marks", self.link, connectivity=8)

    def look(self, window: Window) -> tuple[npt.NDArray[np.uint32], Flags, Flags]:
        """`(y, x)` heights of a window, which may reach past the raster, whether they are valid,
        and whether they are marked."""
        values, valid = self.read(window)
        marked = np.zeros(valid.shape, bool) if self.marks is None else self.marks(window)[1]
        return np.where(valid, values[0], 0).astype(np.uint32), valid, marked & valid


@dataclass(frozen=True)
class MarkedPixels:
    """Reads marks, where the relief is valid."""

    read: Read
    marks: Read

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        values, marked = self.marks(window)
        return values, marked & self.read(window)[1]


def find_basins(relief: Relief, *, tile: int = 1024, map: Map = map) -> LabelFiles:
    """Leave the basin of every pixel in `relief.folder`; the same ids for every `tile`.

    `map` may work elsewhere, as long as results come in order and the folder is there too.
    """
    passes = Passes.over(relief.shape, tile, map)
    ends = follow_exits(relief, passes, label_marks(relief, tile, map))
    labels = LabelFiles(relief.folder, relief.shape, tile)

    def context(place: Place) -> tuple[Window, RegionValues]:
        window = passes.windows[place]
        return window, ends.restrict_to(pixels_around(window, relief.shape))

    for _ in passes.tell(partial(leave_basins, relief, labels), context):
        pass
    return labels


def label_marks(relief: Relief, tile: int, map: Map) -> LabelFiles | None:
    """Which marked pixels are one marker, called by its first pixel; `None` where each is one."""
    if (patches := relief.patches) is None:
        return None
    patches.folder.mkdir(exist_ok=True)
    return find_zones(patches, tile=tile, map=map)


def follow_exits(relief: Relief, passes: Passes, marks: LabelFiles | None) -> RegionValues:
    """The basin of each pixel at the edge of a tile; what else a tile knows of its basins waits in
    its file then. `marks` are those of `label_marks`."""
    passes.survey(partial(survey_basins, relief, marks))
    told = [read_together(relief.file(w, ".exits.npy")) for w in passes.windows.values()]
    pixel, end = map(np.concatenate, zip(*told, strict=True))
    order = np.argsort(pixel)
    pixel, end = pixel[order], end[order]
    onward = np.minimum(np.searchsorted(pixel, end), max(0, pixel.size - 1))
    to = np.where(pixel[onward] == end, onward, np.arange(pixel.size)) if pixel.size else onward
    return RegionValues(pixel, end[jump(to)])


# --- the passes -----------------------------------------------------------------------------------


def survey_basins(relief: Relief, marks: LabelFiles | None, window: Window) -> None:
    """First pass over a tile: leaves where its pixels lead, and tells where the outermost do."""
    height, valid, marked = relief.look(window.pad(1))
    end = jump(_point_downhill(height, valid, marked).ravel()).reshape(valid.shape)[1:-1, 1:-1]
    inside = valid[1:-1, 1:-1]
    is_end = np.zeros(valid.size, bool)
    is_end[end[inside]] = True
    row, col = np.divmod(np.flatnonzero(is_end), valid.shape[1])
    ids = (window.row - 1 + row) * relief.shape[1] + window.col - 1 + col
    if marks is not None:
        # What ends at a pixel of a marker belongs to its first one, wherever that lies.
        core = (row > 0) & (row <= window.height) & (col > 0) & (col <= window.width)
        marker = marks.read(window).pixels[row[core] - 1, col[core] - 1]
        ids[core] = np.where(marker == OUTSIDE, ids[core], marker)
    rank = np.where(inside, (np.cumsum(is_end) - 1)[end], OUTSIDE).astype(np.int32)
    save_arrays(relief.file(window, ".basins.npy"), ids, rank)

    rows, cols = np.ogrid[window.row : window.row_stop, window.col : window.col_stop]
    pixel, outer = edge_of(rows * relief.shape[1] + cols), edge_of(rank)
    told = outer != OUTSIDE
    write_together(relief.file(window, ".exits.npy"), [pixel[told], ids[outer[told]]])


def leave_basins(relief: Relief, labels: LabelFiles, tile: tuple[Window, RegionValues]) -> None:
    """Last pass over a tile: leaves the basin of each pixel."""
    window, ends = tile
    ids, rank = load_arrays(relief.file(window, ".basins.npy"), 2)
    labels.write(window, TileLabels.of(np.append(ends.over(ids, ids), OUTSIDE), rank))


# --- in a tile ------------------------------------------------------------------------------------


def _point_downhill(
    height: npt.NDArray[np.uint32], valid: Flags, marked: Flags
) -> npt.NDArray[np.int64]:
    """`(y, x)` flat index of the pixel that each one points at; the outermost, what is not valid
    and what is marked point at themselves.

    Of neighbours that are equal the first in raster order is the lowest, so directions are counted
    in this order and one minimum decides.
    """
    rows, cols = height.shape
    key = np.where(valid, height << _DIRECTION_BITS, np.uint32(0xFFFFFFF8))
    best = key[:-2, 1:-1].copy()
    neighbours = (key[1:-1, :-2], key[1:-1, 1:-1], key[1:-1, 2:], key[2:, 1:-1])
    for direction, neighbour in enumerate(neighbours, 1):
        np.minimum(best, neighbour | np.uint32(direction), out=best)
    step = np.array([-cols, -1, 0, 1, cols])[best & np.uint32(7)]
    target = np.arange(rows * cols).reshape(rows, cols)
    target[1:-1, 1:-1] += np.where((valid & ~marked)[1:-1, 1:-1], step, 0)
    return target


def jump(to: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each pointer `(n,)` leads in the end: every round doubles the steps."""
    while not np.array_equal(onward := to[to], to):
        to = onward
    return to


def edge_of(pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """The outermost pixels of `(y, x)`, each once."""
    if min(pixels.shape) == 1:
        return pixels.ravel()
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def pixels_around(window: Window, shape: tuple[int, int]) -> Ids:
    """Indices of the pixels of a raster one step outside a tile, without corners."""
    height, width = shape
    rows = np.arange(window.row, window.row_stop)
    cols = np.arange(window.col, window.col_stop)
    around = [
        (window.row - 1) * width + cols if window.row else cols[:0],
        window.row_stop * width + cols if window.row_stop < height else cols[:0],
        rows * width + window.col - 1 if window.col else rows[:0],
        rows * width + window.col_stop if window.col_stop < width else rows[:0],
    ]
    return np.concatenate(around)
