"""Regions too small to be believed take another value, which a table names; the same ones however
the raster is cut.

Unlike the sieve of `tiling.regions.sieving.sieve` nothing is absorbed by a neighbour: what a small
region becomes follows from its own value alone. Two passes over tiles: sizes at the seams; the new
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.spill import Map
from tiling.regions.components import OUTSIDE, Border, Classes, Ids, TileRegions
from tiling.regions.passes import Passes, Place, labels_at_edge
from tiling.regions.seams import Seams


@dataclass(frozen=True)
class Patches:
    """Which regions of a raster are looked at, and below which area they change; what travels to
    workers."""

    raster: Path
    minimum: float
    """Regions of a smaller ellipsoidal area, in m², are small."""
    becomes: Mapping[int, int]
    """What the pixels of a small region of each value become; regions of other values stay, however
    small."""

    def find(self, window: Window) -> tuple[Classes, TileRegions, npt.NDArray[np.int64], int]:
        """Pixels of a tile, its regions, the area of each in units, and the units of the smallest
        that stays."""
        with open_dataset(str(self.raster)) as source:
            values = source.read(1, window=window.ranges)
            areas = PixelAreas(geobox_of(source))
            width = source.width
        values = values.astype(np.int32)
        other = np.iinfo(np.int32).min
        looked_at = np.where(np.isin(values, list(self.becomes)), values, other)
        found = TileRegions.of(looked_at, window, width, other)
        sizes = sum_by(found.labels, areas.read(window), found.ids.size)
        return values, found, sizes, math.ceil(self.minimum / areas.unit)


class Piece(NamedTuple):
    """Regions that reach the edge of a tile, and how large they are there: parallel arrays."""

    ids: Ids
    size: npt.NDArray[np.int64]


def relabel_small(patches: Patches, target: Path, *, tile: int = 1024, map: Map = map) -> Path:
    """Write the raster with its small regions replaced as a plain tiled GeoTIFF; the same for every
    `tile`.

    Regions are 4-connected. `map` may work elsewhere, as long as results come in order.
    """
    with open_dataset(str(patches.raster)) as source:
        passes = Passes.over(source.shape, tile, map)
    surveys = passes.survey(partial(survey, patches))
    seams = Seams.between({place: border for place, (border, _) in surveys.items()})
    sizes = _merge_pieces([piece for _, piece in surveys.values()], seams)

    def context(place: Place) -> tuple[Window, Seams, Piece]:
        ids = surveys[place][1].ids
        known = np.isin(sizes.ids, seams.final_ids(ids))
        concerned = Piece(sizes.ids[known], sizes.size[known])
        return passes.windows[place], seams.restrict_to(ids), concerned

    passes.write(partial(replace_small, patches), context, patches.raster, target)
    return target


def survey(patches: Patches, window: Window) -> tuple[Border, Piece]:
    """First pass over a tile: its border, and the sizes of the pieces of regions there."""
    _, found, sizes, _ = patches.find(window)
    outer = labels_at_edge(found)
    return found.border, Piece(found.ids[outer], sizes[outer])


def replace_small(patches: Patches, told: tuple[Window, Seams, Piece]) -> Classes:
    """Second pass over a tile: `(y, x)` its pixels, in the raster's type."""
    window, seams, whole = told
    values, found, sizes, minimum = patches.find(window)
    ids = seams.final_ids(found.ids)
    place = np.minimum(np.searchsorted(whole.ids, ids), max(0, whole.ids.size - 1))
    crosses = whole.ids[place] == ids if whole.ids.size else np.zeros(ids.size, bool)
    sizes[crosses] = whole.size[place[crosses]]
    small = np.flatnonzero((sizes < minimum) & (found.ids != OUTSIDE))
    outcome = found.class_id.astype(np.int64)
    outcome[small] = [patches.becomes[value] for value in outcome[small].tolist()]
    inside = found.ids[found.labels] != OUTSIDE
    with open_dataset(str(patches.raster)) as source:
        dtype = source.dtypes[0]
    return np.where(inside, outcome[found.labels], values).astype(dtype)


def _merge_pieces(pieces: list[Piece], seams: Seams) -> Piece:
    """The regions that lie at the border of tiles, whole, ascending by id."""
    ids = np.concatenate([piece.ids for piece in pieces])
    ids, region = np.unique(seams.final_ids(ids), return_inverse=True)
    return Piece(ids, sum_by(region, np.concatenate([piece.size for piece in pieces]), ids.size))
