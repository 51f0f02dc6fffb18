"""Hysteresis and the magic wand: zones are kept where they hold a mark, the same however the
raster is cut.

Canny's hysteresis (1986, https://doi.org/10.1109/TPAMI.1986.4767851) keeps a component of weak
edges where one of its pixels is strong. The magic wand keeps the component that holds a seed, among
the pixels that are like it. Neither has bounds: a mark decides about pixels any number of tiles
away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.profiles import plain_profile
from tiling.io.spill import Map, load_arrays, read_together, save_arrays, write_together
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.passes import Flags, Passes, Place, Read, Values
from tiling.regions.seams import Seams
from tiling.regions.zones import Connectivity, Survey, Zones, paint, unite_zones


def apply_hysteresis(
    read: Read,
    grid: GeoBox,
    target: Path,
    *,
    low: float,
    high: float,
    folder: Path,
    connectivity: Connectivity = 8,
    tile: int = 1024,
    map: Map = map,
) -> Path:
    """Write, as uint8, 1 where the first band is above `low` and connected through such pixels with
    one above `high`; 0 elsewhere. The same for every `tile`.

    `map` may work elsewhere, as long as results come in order and `folder`, for what waits, is
    there too.
    """
    shape = grid.height, grid.width
    weak = Zones(Above(read, low), shape, folder, connectivity=connectivity)
    return keep_marked(weak, Above(read, high), grid, target, tile=tile, map=map)


def grow_from_seed(
    read: Read,
    grid: GeoBox,
    target: Path,
    *,
    seed: tuple[int, int],
    tolerance: int,
    folder: Path,
    connectivity: Connectivity = 4,
    tile: int = 1024,
    map: Map = map,
) -> Path:
    """Write, as uint8, 1 where a pixel is connected with the seed (row, column) through pixels that
    differ from it by no more than `tolerance` in every band; 0 elsewhere. The same for every
    `tile`.

    `map` and `folder` are as in `apply_hysteresis`. Raises `InputError` for a seed without data.
    """
    values, valid = read(Window(*seed, 1, 1))
    if not valid.all():
        raise InputError(
            f"the seed at row {seed[0]}, column {seed[1]} has no data; take a pixel that has"
        )
    like = Alike(read, tuple(values[:, 0, 0].tolist()), tolerance)
    zones = Zones(like, (grid.height, grid.width), folder, connectivity=connectivity)
    return keep_marked(zones, At(seed), grid, target, tile=tile, map=map)


def keep_marked(
    zones: Zones, marks: Read, grid: GeoBox, target: Path, *, tile: int = 1024, map: Map = map
) -> Path:
    """Write, as uint8, 1 for the pixels of zones of which one pixel is a mark, that is valid in
    `marks`; 0 elsewhere."""
    passes = Passes.over(zones.shape, tile, map)
    context = _unite_marked(zones, marks, passes)
    profile = plain_profile(grid, "uint8")
    passes.write_as(partial(paint_marked, zones), context, profile, target)
    return target


def find_marked(zones: Zones, marks: Read, *, tile: int = 1024, map: Map = map) -> LabelFiles:
    """Leave the zone of every pixel in `zones.folder`, where one of its pixels is a mark, that is
    valid in `marks`; other pixels have none. The same for every `tile`.

    `map` may work elsewhere, as long as results come in order and the folder is there too.
    """
    passes = Passes.over(zones.shape, tile, map)
    context = _unite_marked(zones, marks, passes)
    labels = LabelFiles(zones.folder, zones.shape, tile)
    for _ in passes.tell(partial(leave_marked, zones, labels), context):
        pass
    return labels


def _unite_marked(
    zones: Zones, marks: Read, passes: Passes
) -> Callable[[Place], tuple[Window, Seams, Ids]]:
    """What the last pass over a tile has to know: zones that seams cut, and which of them are
    marked; what a tile knows of itself waits in its files then."""
    seams, own = unite_zones(zones, passes)
    passes.survey(partial(survey_marks, zones, marks))
    told = [
        read_together(zones.file(window, ".marks.npy"))[0] for window in passes.windows.values()
    ]
    kept = np.unique(seams.final_ids(np.concatenate(told)))

    def context(place: Place) -> tuple[Window, Seams, Ids]:
        concerned = seams.restrict_to(own[place])
        return passes.windows[place], concerned, np.intersect1d(kept, concerned.regions)

    return context


# --- the passes -----------------------------------------------------------------------------------


def survey_marks(zones: Zones, marks: Read, window: Window) -> None:
    """Pass over a tile whose zones are known: leaves which of them hold a mark, and tells those
    that others may go on."""
    start, label, ids = load_arrays(zones.file(window, ".zones.npy"), 3)
    _, marked = marks(window)
    begun = np.searchsorted(start, np.flatnonzero(marked), side="right") - 1
    holds = np.zeros(ids.size, bool)
    holds[label[begun]] = True
    holds &= ids != OUTSIDE
    save_arrays(zones.file(window, ".holds.npy"), holds)
    crossing = np.intersect1d(ids[holds], Survey.read(zones.file(window, ".survey.npy")).ids)
    write_together(zones.file(window, ".marks.npy"), [crossing])


def paint_marked(zones: Zones, tile: tuple[Window, Seams, Ids]) -> npt.NDArray[np.uint8]:
    """Last pass over a tile: `(y, x)` 1 for the pixels of zones that hold a mark anywhere."""
    start, label, ids = _final_zones(zones, tile)
    return paint(tile[0], start, (ids != OUTSIDE)[label]).astype(np.uint8)


def leave_marked(zones: Zones, labels: LabelFiles, tile: tuple[Window, Seams, Ids]) -> None:
    """Last pass over a tile: leaves the final zone of each pixel, if that holds a mark anywhere."""
    start, label, ids = _final_zones(zones, tile)
    labels.write(tile[0], TileLabels.of(ids, paint(tile[0], start, label)))


def _final_zones(zones: Zones, tile: tuple[Window, Seams, Ids]) -> tuple[Ids, Ids, Ids]:
    """The runs of a tile by their first pixel, the zone 0 … n - 1 of each, and the `(n,)` final ids
    of zones, `OUTSIDE` for those without a mark."""
    window, seams, kept = tile
    start, label, ids = load_arrays(zones.file(window, ".zones.npy"), 3)
    (holds,) = load_arrays(zones.file(window, ".holds.npy"), 1)
    final = seams.final_ids(ids)
    return start, label, np.where(holds | np.isin(final, kept), final, OUTSIDE)


# --- what is marked -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Above:
    """Reads pixels of which those are valid whose first band is above a threshold."""

    read: Read
    threshold: float

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        values, valid = self.read(window)
        return values, valid & (values[0] > self.threshold)


@dataclass(frozen=True)
class Alike:
    """Reads pixels of which those are valid that differ from `values` by no more than `tolerance`
    in every band."""

    read: Read
    values: Sequence[int]
    tolerance: int

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        values, valid = self.read(window)
        wanted = np.array(self.values, np.int64)[:, None, None]
        distance = np.abs(np.subtract(values, wanted, dtype=np.int64))
        return values, valid & (distance <= self.tolerance).all(0)


@dataclass(frozen=True)
class At:
    """Marks one pixel of the raster."""

    pixel: tuple[int, int]

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        marked = np.zeros(window.shape, bool)
        place = Window(*self.pixel, 1, 1)
        if place in window:
            marked[place.within(window)] = True
        return np.zeros((0, *window.shape), np.uint8), marked
