"""Passes between basins, as each tile finds them: the lowest ways from one basin to another."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.io.spill import load_arrays
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import find_sides
from tiling.regions.order import find_distinct
from tiling.regions.region_values import RegionValues
from tiling.regions.watershed.basins import HEIGHT_BITS, Relief

PLACE_BITS = 64 - HEIGHT_BITS

Saddles: TypeAlias = npt.NDArray[np.uint64]
"""Passes, as height << 36 | place: no two of a raster are equal, and the lower is the smaller."""


def number_basins(
    relief: Relief, window: Window, ends: RegionValues
) -> tuple[Ids, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The basins that a tile sees, ascending; the number among them of each that it has found
    itself; and `(y + 1, x + 1)` the number of each pixel's, one row below and one column beside the
    tile included."""
    own, rank = load_arrays(relief.file(window, ".basins.npy"), 2)
    own = np.append(ends.over(own, own), OUTSIDE)
    height, width = relief.shape
    seen = np.full((window.height + 1, window.width + 1), OUTSIDE, np.int64)
    seen[:-1, :-1] = own[rank]
    none = np.full(max(window.shape), OUTSIDE)
    if window.row_stop < height:
        below = window.row_stop * width + window.col + np.arange(window.width)
        seen[-1, :-1] = ends.over(below, none[: window.width])
    if window.col_stop < width:
        beside = (window.row + np.arange(window.height)) * width + window.col_stop
        seen[:-1, -1] = ends.over(beside, none[: window.height])
    basins = find_distinct(np.concatenate([own, seen[-1], seen[:, -1]]))
    basins = basins[basins != OUTSIDE]
    number = np.append(np.searchsorted(basins, own[:-1]), OUTSIDE).astype(np.int32)
    numbers = np.full(seen.shape, OUTSIDE, np.int32)
    numbers[:-1, :-1] = number[rank]
    for side in (np.s_[-1], np.s_[:, -1]):
        place = np.searchsorted(basins, seen[side])
        numbers[side] = np.where(seen[side] == OUTSIDE, OUTSIDE, place)
    return basins, number[:-1], numbers


def find_passes(
    height: npt.NDArray[np.uint32], numbers: npt.NDArray[np.int32], window: Window, width: int
) -> tuple[npt.NDArray[np.intp], Saddles]:
    """`(2, n)` numbers of the basins of neighbouring pixels, and the passes between them.

    A pass is as high as the higher pixel; of equals that of the later pixel in raster order is
    higher, and of one pixel those up, left, right and down of it in this order.
    """
    cols = numbers.shape[1]
    number, tall = numbers.ravel(), height.ravel()
    ends, saddles = [], []
    for down, far, back, ahead in ((1, width, 0, 3), (0, 1, 1, 2)):
        at = find_sides(numbers, down)
        beyond = at + (cols if down else 1)
        one, other = tall[at], tall[beyond]
        index = at + (at // cols) * (width - cols) + window.row * width + window.col
        place = np.where(other >= one, 4 * (index + far) + back, 4 * index + ahead)
        top = np.maximum(one, other).astype(np.uint64)
        saddles.append((top << np.uint64(PLACE_BITS)) | place.astype(np.uint64))
        ends.append(np.stack([number[at], number[beyond]]))
    return np.concatenate(ends, axis=1).astype(np.intp), np.concatenate(saddles)
