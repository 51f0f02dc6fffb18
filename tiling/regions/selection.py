"""Some of the regions of a raster, chosen by how large they are and what lies in them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.io.spill import Map
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.passes import Passes, Read


class Tally(NamedTuple):
    """What regions hold: parallel arrays."""

    ids: Ids
    """Ascending."""
    area: npt.NDArray[np.int64]
    """Pixels."""
    marked: npt.NDArray[np.int64]
    """Pixels that are marked."""


def tally_regions(labels: LabelFiles, marks: Read, map: Map) -> Tally:
    """How many pixels each region has, and how many of them are marked: those that are valid in
    `marks`. The same for every tile; the calling process holds three numbers for each region of
    each tile."""
    told = Passes.over(labels.shape, labels.tile, map).survey(partial(tally_tile, labels, marks))
    every = Tally(*(np.concatenate(column) for column in zip(*told.values(), strict=True)))
    ids, place = np.unique(every.ids, return_inverse=True)
    area, marked = np.zeros(ids.size, np.int64), np.zeros(ids.size, np.int64)
    np.add.at(area, place, every.area)
    np.add.at(marked, place, every.marked)
    return Tally(ids, area, marked)


def tally_tile(labels: LabelFiles, marks: Read, window: Window) -> Tally:
    """Pass over a tile: what its regions hold in it."""
    ids, rank = labels.read(window)
    inside = rank != OUTSIDE
    area = np.bincount(rank[inside], minlength=ids.size)
    marked = np.bincount(rank[inside & marks(window)[1]], minlength=ids.size)
    return Tally(ids, area, marked)


def keep_regions(labels: LabelFiles, ids: Ids, folder: Path, map: Map) -> LabelFiles:
    """The labels of the regions with these ids, in a folder of their own; other pixels have none.

    `map` may work elsewhere, as long as the folders are there too.
    """
    kept = LabelFiles(folder, labels.shape, labels.tile)
    passes = Passes.over(labels.shape, labels.tile, map)
    passes.survey(partial(leave_kept, labels, kept, np.unique(ids)))
    return kept


def leave_kept(labels: LabelFiles, kept: LabelFiles, ids: Ids, window: Window) -> None:
    """Pass over a tile: leaves those of its labels that are among some ids."""
    tile = labels.read(window)
    chosen = np.where(np.isin(tile.ids, ids), tile.ids, OUTSIDE)
    kept.write(window, TileLabels.of(np.append(chosen, OUTSIDE), tile.rank))
