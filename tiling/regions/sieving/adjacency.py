"""The graph of regions: who touches whom, along how long a border, and who points at whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.grid.window import Window
from tiling.regions.components import OUTSIDE, Labels
from tiling.regions.sieving.rule import Rule

Flags = npt.NDArray[np.bool_]

SIDE = 256
"""A pixel's longer side, in units of border length: so coarse that neighbouring rows tie at almost
any latitude."""


class Contacts(NamedTuple):
    """Common borders of small regions with their neighbours, at most one row for each pair:
    parallel arrays."""

    small: npt.NDArray[np.int64]
    neighbour: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    """In units of a pixel's side: see `SIDE`."""
    first: npt.NDArray[np.int64]
    """Where the two meet first in raster order: 2 × the lower or right pixel's index, + 1 if they
    lie side by side."""

    def where(self, chosen: Flags) -> Contacts:
        """The contacts that a mask picks."""
        return Contacts(*(column[chosen] for column in self))


def find_contacts(numbers: Labels, small: Flags, window: Window, grid: GeoBox) -> Contacts:
    """Who touches whom, from the regions `(y + 1, x + 1)` of a tile and of the pixels above and
    left of it."""
    width, lengths = window.width, _side_lengths(grid, window)
    rows, left = np.ascontiguousarray(numbers[:, 1:]), numbers[1:, :-1]
    begins = np.ones(rows.shape, bool)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=begins[:, 1:])
    # Between two places where a run begins, in a row or in the one above, both rows show one region
    # each.
    stretch = np.flatnonzero(begins[1:] | begins[:-1])
    pixels = np.diff(stretch, append=window.area)
    side = np.flatnonzero(rows[1:] != left)
    found = []
    for at, one, other, direction, n in (
        (stretch, rows[1:].ravel()[stretch], rows.ravel()[stretch], 0, pixels),
        (side, rows[1:].ravel()[side], left[np.divmod(side, width)], 1, np.ones_like(side)),
    ):
        met = (one != other) & (one != OUTSIDE) & (other != OUTSIDE) & (small[one] | small[other])
        at, one, other = at[met], one[met], other[met]
        row, col = np.divmod(at, width)
        first = 2 * ((window.row + row) * grid.shape[1] + window.col + col) + direction
        found.append(
            Contacts(
                np.minimum(one, other),
                np.maximum(one, other),
                n[met] * lengths[direction, row],
                first,
            )
        )
    pairs = merge_contacts(Contacts(*map(np.append, *found)))
    both = Contacts(
        *map(np.append, pairs, pairs._replace(small=pairs.neighbour, neighbour=pairs.small))
    )
    return both.where(small[both.small])


def _side_lengths(grid: GeoBox, window: Window) -> npt.NDArray[np.int64]:
    """`(2, y)` lengths of the upper and of the left sides of the pixels of each row; the longer one
    on the map is
    `SIDE`.

    On a geographic grid a degree of longitude shrinks with the cosine of the latitude.
    """
    a, b, _, d, e, f = grid.affine[:6]
    across, down = math.hypot(a, d), math.hypot(b, e)
    shrink = [1.0] * window.height
    if grid.crs is not None and grid.crs.geographic and grid.axis_aligned:
        radians = grid.crs.proj.axis_info[0].unit_conversion_factor
        shrink = [math.cos(radians * (f + e * row)) for row in range(window.row, window.row_stop)]
    unit = max(across, down) / SIDE
    return np.array(
        [[round(across * s / unit) for s in shrink], [round(down / unit)] * window.height]
    )


def merge_contacts(contacts: Contacts) -> Contacts:
    """Contacts, one row for each pair of regions: lengths add up, the earliest meeting counts."""
    small, neighbour, length, first = contacts
    if not small.size:
        return contacts
    key = small.astype(np.int64) * (int(neighbour.max()) + 1) + neighbour
    order = np.argsort(key)
    key = key[order]
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    pair = order[starts]
    return Contacts(
        small[pair],
        neighbour[pair],
        np.add.reduceat(length[order], starts),
        np.minimum.reduceat(first[order], starts),
    )


def point_to_neighbours(
    to: npt.NDArray[np.intp], contacts: Contacts, size: npt.NDArray[np.int64], rule: Rule
) -> None:
    """Let every small region point at the neighbour that the rule names."""
    longest = [lambda rows: rows.length] if rule == "longest-border" else []
    criteria: list[Callable[[Contacts], npt.NDArray[np.int64]]]
    criteria = [*longest, lambda rows: size[rows.neighbour], lambda rows: -rows.first]
    for criterion in criteria:
        value, best = criterion(contacts), np.full(to.size, np.iinfo(np.int64).min)
        np.maximum.at(best, contacts.small, value)
        contacts = contacts.where(value == best[contacts.small])
    to[contacts.small] = contacts.neighbour


def roots_of(
    to: npt.NDArray[np.intp], size: npt.NDArray[np.int64], minimum: int
) -> tuple[npt.NDArray[np.intp], bool]:
    """The region at the end of each one's pointers, and whether two that point at each other are
    small together.

    Pointers can only run in a circle between two regions: round a longer circle borders and sizes
    cannot but stay equal, and each region would have met its next one before its last. The larger
    of two becomes the root of both.
    """
    region = np.arange(to.size)
    pair = (to[to] == region) & (to != region)
    wins = pair & ((size > size[to]) | ((size == size[to]) & (region < to)))
    again = bool((size[wins] + size[to[wins]] < minimum).any())
    root = np.where(wins, region, to)
    while not np.array_equal(root, onwards := root[root]):
        root = onwards
    return root, again
