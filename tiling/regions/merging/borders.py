"""Common borders of regions: who touches whom, along how many sides of pixels, and in what order
equal ones are taken.

Each side between two pixels of different regions is counted by one tile, that of its upper or left
pixel. So what tiles count adds up, in any order.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.regions.components import Ids, Labels
from tiling.regions.labelling import find_sides
from tiling.regions.order import mark_first, order_keys

Numbers: TypeAlias = npt.NDArray[np.int64]

_LOT_BITS = 63


class Borders(NamedTuple):
    """Between regions `one < other` of a graph, at most one row for a pair, ordered by pair:
    parallel arrays."""

    one: Ids
    other: Ids
    lot: Numbers
    """Greatest lot of the sides where the two touch: no two borders of a raster have it in
    common."""
    length: Numbers
    """Sides of pixels."""
    contrast: Numbers
    """Sum of the contrast over these sides: of the regions, 0 as long as nobody has compared them,
    or of what pixels say on either side."""

    def where(self, chosen: npt.NDArray[np.generic]) -> Borders:
        """The borders that a mask or numbers pick."""
        return Borders(*(column[chosen] for column in self))

    def between(self, group: npt.NDArray[np.integer]) -> Borders:
        """The borders between groups, `group` giving that of each region: what two groups have in
        common adds up, and what lies inside one is gone."""
        one, other = group[self.one], group[self.other]
        apart = one != other
        lower, upper = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        lot, length, contrast = (column[apart] for column in self[2:])
        if not lower.size:
            return Borders(lower, upper, lot, length, contrast)
        order, pair = order_keys(lower * (int(upper.max()) + 1) + upper)
        first = np.flatnonzero(mark_first(pair))
        return Borders(
            lower[order[first]],
            upper[order[first]],
            np.maximum.reduceat(lot[order], first),
            np.add.reduceat(length[order], first),
            np.add.reduceat(contrast[order], first),
        )


def draw_lots(places: Numbers) -> Numbers:
    """A number for each place from 0 to 2⁶³ - 1, one to one and in no order.

    Equal costs are taken in the order of lots. In the order of places all of a calm sea would wait
    for its upper left corner, tile by tile. The mixing is that of splitmix64 (Steele, Lea & Flood
    2014, https://doi.org/10.1145/2660193.2660195), kept to 63 bits: each step can be undone.
    """
    mask = np.uint64((1 << _LOT_BITS) - 1)
    mixed = places.astype(np.uint64)
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        mixed = ((mixed ^ (mixed >> np.uint64(31))) * np.uint64(factor)) & mask
    return (mixed ^ (mixed >> np.uint64(31))).astype(np.int64)


def find_borders(
    rank: Labels, window: Window, width: int, n: int, contrast: Numbers | None = None
) -> Borders:
    """The borders that a tile counts of regions 0 … n - 1, from the number `(y + 1, x + 1)` of each
    pixel's, `OUTSIDE` where it has none, with one row below and one column beside the tile; `width`
    is the raster's. `contrast` `(band, y + 1, x + 1)` is of sides: with one band the sum of both
    pixels, with two those of right and of lower sides."""
    cols, number = rank.shape[1], rank.ravel()
    ends, places, found = [], [], []
    for down in (1, 0):
        at = find_sides(rank, down)
        beyond = at + (cols if down else 1)
        ends.append(np.stack([number[at], number[beyond]]).astype(np.int64))
        if contrast is None:
            found.append(0 * at)
        elif len(contrast) == 1:
            found.append(contrast[0].flat[at] + contrast[0].flat[beyond])
        else:
            found.append(contrast[down].flat[at])
        index = at + (at // cols) * (width - cols) + window.row * width + window.col
        places.append(2 * index + down)
    one, other = np.concatenate(ends, axis=1)
    sides = np.ones(one.size, np.int64)
    every = Borders(one, other, draw_lots(np.concatenate(places)), sides, np.concatenate(found))
    return every.between(np.arange(n))
