"""Zones: what hangs together by links between neighbouring pixels, the same however the raster is
cut.

Whether two neighbours are linked follows from their values, or from what the first says of the
side between them. With every valid pair linked, zones are the connected components of a mask; with
values that differ by no more than a tolerance
they are quasi-flat zones (Meyer & Maragos 2000, https://doi.org/10.1006/jvci.1999.0447; Soille
2008, https://doi.org/10.1109/TPAMI.2007.70817), with a tolerance of 0 flat zones; with sides that
part no more than a tolerance they are what is left where all other sides are cut. Links are 4- or
8-connected.

A zone's id is the index `row * width + col` of its first pixel in raster order. A tile finds its
zones by itself and tells which of them go on below and beside it: not pixel by pixel, but once for
each stretch that is linked along both sides of the seam. So a calm raster tells a few rows for each
side of a tile, and the most that can be told is a few for each pixel of a seam. The calling process
unites them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.io.spill import (
    Map,
    load_arrays,
    read_together,
    save_arrays,
    write_together,
)
from tiling.regions.components import OUTSIDE, Ids, components
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.passes import Flags, Passes, Place, Read, Values
from tiling.regions.seams import Seams

Connectivity = Literal[4, 8]
Places: TypeAlias = npt.NDArray[np.intp]
Part: TypeAlias = tuple[slice, slice]


class Link(Protocol):
    """Says which pixels are linked to those at the same places of another array."""

    def __call__(self, one: Values, other: Values, down: bool, /) -> Flags | np.bool_:
        """Of two `(band, …)` arrays of one shape, the other of pixels below, with `down`, or beside
        the first on their right. A top-level function or a value, for it travels."""
        ...


def link_all(one: Values, other: Values, down: bool) -> np.bool_:
    """Any two valid neighbours are linked: zones are the components of a mask."""
    return np.True_


@dataclass(frozen=True)
class Within:
    """Neighbours are linked where no band differs by more than `tolerance`: quasi-flat zones."""

    tolerance: int = 0

    def __call__(self, one: Values, other: Values, down: bool) -> Flags:
        difference = np.subtract(one, other, dtype=np.int64)
        return np.all(np.abs(difference) <= self.tolerance, axis=0)


@dataclass(frozen=True)
class Parted:
    """Neighbours are linked where the side between them parts no more than `tolerance`: two bands
    say so of the right and of the lower side of each pixel."""

    tolerance: int = 0

    def __call__(self, one: Values, other: Values, down: bool) -> Flags:
        linked: Flags = one[int(down)] <= self.tolerance
        return linked


@dataclass(frozen=True)
class Zones:
    """The raster whose zones are asked for, and what links them; equal for every tile."""

    read: Read
    shape: tuple[int, int]
    folder: Path
    """For what waits, and for labels."""
    link: Link = link_all
    connectivity: Connectivity = 4

    def file(self, window: Window, suffix: str) -> Path:
        """The file in which something of a tile waits, by its suffix."""
        return self.folder / f"{window.row}-{window.col}{suffix}"


def find_zones(zones: Zones, *, tile: int = 1024, map: Map = map) -> LabelFiles:
    """Leave the zone of every pixel in `zones.folder`; the same ids for every `tile`.

    `map` may work elsewhere, as long as results come in order and the folder is there too.
    """
    passes = Passes.over(zones.shape, tile, map)
    seams, own = unite_zones(zones, passes)
    labels = LabelFiles(zones.folder, zones.shape, tile)

    def context(place: Place) -> tuple[Window, Seams]:
        return passes.windows[place], seams.restrict_to(own[place])

    for _ in passes.tell(partial(leave_labels, zones, labels), context):
        pass
    return labels


def unite_zones(zones: Zones, passes: Passes) -> tuple[Seams, dict[Place, Ids]]:
    """The zones that seams cut, and which zones of each tile may be among them; those of every tile
    wait in their files then."""
    passes.survey(partial(survey, zones))
    surveys = {
        place: Survey.read(zones.file(window, ".survey.npy"))
        for place, window in passes.windows.items()
    }
    own = {place: found.ids for place, found in surveys.items()}
    return unite(list(surveys.values())), own


# --- the passes -----------------------------------------------------------------------------------


class Survey(NamedTuple):
    """What a tile tells of its zones at seams: parallel arrays in pairs.

    A pixel is called by its index in raster order where the seam is a row, `col * height + row`
    where it is a column: so that a stretch along a seam is one of whole numbers.
    """

    top: Ids
    """First pixel of each stretch of one zone in the top row ..."""
    top_zone: Ids
    left: Ids
    """... and in the left column."""
    left_zone: Ids
    below_zone: Ids
    """Zone here, and a pixel in the row below the tile that is linked to it ..."""
    below: Ids
    beside_zone: Ids
    """... and in the column right of it."""
    beside: Ids

    @property
    def ids(self) -> Ids:
        """All zones of the tile that others may go on."""
        return np.concatenate([self.top_zone, self.left_zone, self.below_zone, self.beside_zone])

    @classmethod
    def read(cls, path: Path) -> Survey:
        """A survey from the file where it waits."""
        return cls(*read_together(path))


def survey(zones: Zones, window: Window) -> None:
    """First pass over a tile: leaves its zones, and its `Survey`."""
    values, valid = zones.read(window.pad(1))
    core = np.s_[1:-1, 1:-1]
    start, label, ids = _zones_inside(zones, values[:, *core], valid[core], window)
    save_arrays(zones.file(window, ".zones.npy"), start, label, ids)
    padded = np.full(valid.shape, OUTSIDE, np.int64)
    padded[core] = paint(window, start, ids[label])
    told = _tell_seams(zones, window, values, valid, padded)
    write_together(zones.file(window, ".survey.npy"), told)


def leave_labels(zones: Zones, labels: LabelFiles, tile: tuple[Window, Seams]) -> None:
    """Last pass over a tile: leaves the final zone of each pixel."""
    window, seams = tile
    start, label, ids = load_arrays(zones.file(window, ".zones.npy"), 3)
    labels.write(window, TileLabels.of(seams.final_ids(ids), paint(window, start, label)))


def unite(surveys: list[Survey]) -> Seams:
    """Which zones of tiles are one, where all tiles are known."""
    column = Survey(*map(np.concatenate, zip(*surveys, strict=True)))
    below = _zone_at(column.top, column.top_zone, column.below)
    beside = _zone_at(column.left, column.left_zone, column.beside)
    pairs = [
        np.append(column.below_zone, column.beside_zone),
        np.append(below, beside),
    ]
    return Seams.of_pairs(np.stack(pairs))


def _zone_at(first: Ids, zone: Ids, pixels: Ids) -> Ids:
    """The zones of pixels, each of which lies in one of the stretches that begin at `first`."""
    order = np.argsort(first)
    return zone[order][np.searchsorted(first[order], pixels, side="right") - 1]


# --- in a tile ------------------------------------------------------------------------------------


def paint(window: Window, start: Places, values: Ids) -> Ids:
    """`(y, x)` pixels of a tile with the value of the run that each is in."""
    return np.repeat(values, np.diff(start, append=window.area)).reshape(window.shape)


def _zones_inside(
    zones: Zones, values: Values, valid: Flags, window: Window
) -> tuple[Places, Ids, Ids]:
    """The runs of linked pixels in the rows of a tile by their first pixel, the zone 0 … n - 1 of
    each, and the `(n,)` ids of zones; stretches of no data are runs as well, and `OUTSIDE`."""
    cols = window.width
    joined = np.zeros(valid.shape, bool)
    joined[:, 1:] = _linked(zones.link, values, valid, np.s_[:, :-1], np.s_[:, 1:], down=False)
    joined[:, 1:] |= ~(valid[:, 1:] | valid[:, :-1])
    start = np.flatnonzero(~joined)
    run = np.repeat(np.arange(start.size), np.diff(start, append=window.area))
    pairs = [np.empty((2, 0), np.intp)]
    for shift in (0,) if zones.connectivity == 4 else (0, -1, 1):
        upper = np.s_[max(0, -shift) : cols - max(0, shift)]
        lower = np.s_[max(0, shift) : cols - max(0, -shift)]
        met = _linked(zones.link, values, valid, np.s_[:-1, upper], np.s_[1:, lower], down=True)
        # Where two runs lie one above the other, one link stands for all.
        met[:, 1:] &= ~(met[:, :-1] & joined[:-1, upper][:, 1:] & joined[1:, lower][:, 1:])
        row, col = np.nonzero(met)
        place = row * cols + col + max(0, -shift)
        pairs.append(np.stack([run[place], run[place + cols + shift]]))
    above, below = np.concatenate(pairs, axis=1)
    order = np.argsort(above, kind="stable")
    n, label = components(above[order], below[order], start.size)
    first = np.empty(n, np.int64)
    first[label[::-1]] = start[::-1]  # the last one written stays
    rows, columns = np.divmod(first, max(1, cols))
    ids = (window.row + rows) * zones.shape[1] + window.col + columns
    ids[~valid.ravel()[first]] = OUTSIDE
    return start, label.astype(np.int64), ids


def _linked(
    link: Link, values: Values, valid: Flags, one: Part, other: Part, *, down: bool
) -> Flags:
    """Where the pixels of one part of an array are linked to those of another part, which lie below
    or beside them."""
    both: Flags = valid[one] & valid[other]
    return both & link(values[:, *one], values[:, *other], down)


def _tell_seams(
    zones: Zones, window: Window, values: Values, valid: Flags, padded: Ids
) -> list[Ids]:
    """What the `Survey` of a tile holds, from arrays with one more pixel on each side."""
    height, width = zones.shape
    index = window.row * width + window.col + np.arange(window.width)
    transposed = window.col * height + window.row + np.arange(window.height)
    nothing = np.empty(0, np.int64)
    top = padded[1, 1:-1] if window.row else nothing
    left = padded[1:-1, 1] if window.col else nothing
    # Corners below belong to the row below: a diagonal link is told once.
    below_zone, below = _links_across(zones, values[:, -2:], valid[-2:], padded[-2], down=True)
    rows = np.s_[1:-1]
    beside_zone, beside = _links_across(
        zones,
        np.ascontiguousarray(values[:, rows, -2:].swapaxes(1, 2)),
        valid[rows, -2:].T,
        padded[rows, -2],
        down=False,
    )
    below += window.row_stop * width + window.col - 1
    beside += window.col_stop * height + window.row
    stretches = (*_stretches(index, top), *_stretches(transposed, left))
    return [*stretches, below_zone, below, beside_zone, beside]


def _stretches(pixels: Ids, zone: Ids) -> tuple[Ids, Ids]:
    """First pixel and zone of each stretch of one zone along a seam."""
    first = np.flatnonzero(zone != np.append(OUTSIDE, zone[:-1])[: zone.size])
    first = first[zone[first] != OUTSIDE]
    return pixels[first], zone[first]


def _links_across(
    zones: Zones, values: Values, valid: Flags, zone: Ids, *, down: bool
) -> tuple[Ids, Ids]:
    """Zones of a line of pixels and places in the line beyond the seam, below or beside it, that
    they are linked to.

    `values` `(band, 2, n)` and `valid` `(2, n)` hold both lines, `zone` `(n,)` the zones of the
    first; where that is `OUTSIDE` a pixel is none of this tile. Of the links along a stretch that
    is one zone here and linked pixel to pixel beyond, the first is told.
    """
    n = zone.size
    line = np.s_[1:, :-1], np.s_[1:, 1:]
    beyond = _linked(zones.link, values, valid, *line, down=not down)[0]
    told: list[tuple[Ids, Ids]] = []
    for shift in (0,) if zones.connectivity == 4 else (0, -1, 1):
        here = np.s_[max(0, -shift) : n - max(0, shift)]
        there = np.s_[max(0, shift) : n - max(0, -shift)]
        met = _linked(zones.link, values, valid, np.s_[:1, here], np.s_[1:, there], down=down)[0]
        met &= zone[here] != OUTSIDE
        again = met[:-1] & beyond[there.start : there.stop - 1]
        again &= zone[here][1:] == zone[here][:-1]
        met[1:] &= ~again
        place = np.flatnonzero(met)
        told.append((zone[here][place], place + there.start))
    zone_here, place_there = map(np.concatenate, zip(*told, strict=True))
    return zone_here, place_there.astype(np.int64)
