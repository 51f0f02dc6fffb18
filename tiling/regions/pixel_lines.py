"""Lines through pixels: chains of neighbours of a mask whose lines are one pixel wide.

Pixels are linked to their eight neighbours, diagonally only where no other pixel leads around the
corner. A line goes from an end or a fork to the next one; a ring begins at its first pixel. Whether
two pixels are linked follows from the pixels around them alone. Lines also end where a fixed
lattice of cells from (0, 0) cuts them: what is found in a cell is the same whatever else is looked
at, and no line has to wait for another cell.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window

CELL = 1024
"""Side of the cells of the lattice, in pixels."""

PADDING = 2
"""Pixels around a cell that decide about its lines."""

_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""From a pixel to those neighbours that come later in raster order."""

Places: TypeAlias = npt.NDArray[np.int64]


class PixelLines(NamedTuple):
    """Lines of a cell, in the order of their first pixels."""

    rows: Places
    """Of the pixels of all lines, in the raster."""
    cols: Places
    starts: Places
    """`(n + 1,)`: where each line begins, and where the last ends."""


def trace_lines(mask: npt.NDArray[np.bool_], cell: Window) -> PixelLines:
    """The lines of a cell of a raster, from `(y + 4, x + 4)` a mask with `PADDING` pixels around
    it."""
    links, degree = _link(mask)
    width = mask.shape[1]
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    inside = np.zeros(mask.shape, bool)
    inside[PADDING:-PADDING, PADDING:-PADDING] = True
    own = links[:, inside.ravel()[links[0]]]
    for one, other in own.T.tolist():
        neighbours[one].append(other)
        neighbours[other].append(one)
    ends = {pixel for pixel, near in neighbours.items() if degree[pixel] != 2 or len(near) != 2}
    chains = _walk(neighbours, ends)
    pixels = np.array([pixel for chain in chains for pixel in chain], np.int64)
    rows, cols = np.divmod(pixels, width)
    starts = np.cumsum([0, *map(len, chains)], dtype=np.int64)
    return PixelLines(rows + cell.row - PADDING, cols + cell.col - PADDING, starts)


def _link(mask: npt.NDArray[np.bool_]) -> tuple[Places, Places]:
    """`(2, n)` flat indices of linked pixels, the earlier first, and how many links each pixel
    has."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    pairs = []
    for down, right in _STEPS:
        rows = slice(1 + down, 1 + down + height)
        cols = slice(1 + right, 1 + right + width)
        both = mask & padded[rows, cols]
        if down and right:
            both &= ~(padded[1:-1, cols] | padded[rows, 1:-1])
        one = np.flatnonzero(both)
        pairs.append(np.stack([one, one + down * width + right]))
    links = np.concatenate(pairs, axis=1)
    degree = np.bincount(links.ravel(), minlength=mask.size)
    return links[:, np.lexsort((links[1], links[0]))], degree


def _walk(neighbours: defaultdict[int, list[int]], ends: set[int]) -> list[list[int]]:
    """Chains of pixels, each link once: from end to end, then what is left, which is rings."""
    walked: set[tuple[int, int]] = set()
    chains = []
    for start in (*sorted(ends), *sorted(neighbours)):
        for following in sorted(neighbours[start]):
            if (start, following) in walked:
                continue
            chain = [start]
            before, here = start, following
            while True:
                walked |= {(before, here), (here, before)}
                chain.append(here)
                if here in ends or here == start:
                    break
                one, other = neighbours[here]
                before, here = here, one if other == before else other
            chains.append(chain)
    return sorted(chains)
