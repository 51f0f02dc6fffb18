"""Regions across the seams of tiles: which ids mean one region, and what a tile knows of its
neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.regions.components import OUTSIDE, Border, Ids, Row, Side, components


class Frame(NamedTuple):
    """Final ids of the pixels one step outside a tile; `top` and `bottom` include the corners."""

    top: Ids
    bottom: Ids
    left: Ids
    right: Ids


@dataclass(frozen=True)
class Seams:
    """Which ids mean one region: pieces that meet across tile seams, and the id they share.

    Ids that are not listed lie within one tile and stay as they are.
    """

    pieces: Ids
    """Ascending; contains every id of `regions`."""
    regions: Ids
    """The smallest id among the pieces of the same region."""

    @classmethod
    def between(
        cls,
        borders: Mapping[tuple[int, int], Border],
        *,
        connectivity: int = 4,
        cells: Mapping[tuple[int, int], object] | None = None,
    ) -> Seams:
        """Unite the pieces that touch across the seams of tiles, keyed by (row, col) in the grid of
        tiles.

        With `cells`, which says where each tile lies, only across seams between tiles of one cell.
        """
        contacts = [np.empty((2, 0), np.int64)]
        for tile, border in borders.items():
            for neighbour, one, other in _meetings(tile, border, borders, connectivity):
                if cells is None or cells[tile] == cells[neighbour]:
                    contacts.append(_contacts(one, other))
        return cls.of_pairs(np.concatenate(contacts, axis=1))

    @classmethod
    def of_pairs(cls, pairs: npt.NDArray[np.int64]) -> Seams:
        """Unite the `(2, n)` ids that are paired."""
        pieces, contact = np.unique(pairs, return_inverse=True)
        one_end, other_end = contact.reshape(2, -1)
        # Components are numbered by their smallest node and pieces ascend: the first of a component
        # is its region's id.
        order = np.argsort(one_end, kind="stable")
        _, component = components(one_end[order], other_end[order], pieces.size)
        _, first = np.unique(component, return_index=True)
        return cls(pieces, pieces[first][component])

    def crosses(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """True for each id whose region crosses a seam."""
        return self._find(ids)[1]

    def final_ids(self, ids: Ids) -> Ids:
        """The final id of each."""
        place, found = self._find(ids)
        final = ids.copy()
        final[found] = self.regions[place[found]]
        return final

    def restrict_to(self, *ids: Ids) -> Seams:
        """Only what concerns these ids: what a tile has to be told."""
        known = np.unique(np.concatenate(ids))
        place, found = self._find(known)
        pieces = np.union1d(known[found], self.regions[place[found]])
        return Seams(pieces, self.final_ids(pieces))

    def except_for(self, regions: Ids, others: Seams) -> Seams:
        """These seams, but of the pieces of `regions` only as far as `others` has them."""
        return Seams(
            self.pieces,
            np.where(np.isin(self.regions, regions), others.final_ids(self.pieces), self.regions),
        )

    def _find(self, ids: Ids) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        place = np.searchsorted(self.pieces, ids)
        found = place < self.pieces.size
        found[found] = self.pieces[place[found]] == ids[found]
        return place, found


def _meetings(
    tile: tuple[int, int],
    border: Border,
    borders: Mapping[tuple[int, int], Border],
    connectivity: int,
) -> Iterator[tuple[tuple[int, int], Row, Row]]:
    """Each neighbour below or beside a tile, and two rows of pixels, one of either, that touch one
    to one."""
    row, col = tile
    for down, across, side, opposite in ((1, 0, "bottom", "top"), (0, 1, "right", "left")):
        neighbour = row + down, col + across
        if neighbour in borders:
            one, other = getattr(border, side).pixels, getattr(borders[neighbour], opposite).pixels
            yield neighbour, one, other
            if connectivity == 8:
                yield neighbour, one.part(np.s_[:-1]), other.part(np.s_[1:])
                yield neighbour, one.part(np.s_[1:]), other.part(np.s_[:-1])
    if connectivity == 8:
        for across, last, first in ((1, np.s_[-1:], np.s_[:1]), (-1, np.s_[:1], np.s_[-1:])):
            neighbour = row + 1, col + across
            if neighbour in borders:
                yield (
                    neighbour,
                    border.bottom.pixels.part(last),
                    borders[neighbour].top.pixels.part(first),
                )


def _contacts(one: Row, other: Row) -> npt.NDArray[np.int64]:
    """`(2, n)` pairs of ids that touch across a seam and have one class, repetitions in a row left
    out."""
    touching = (one.class_id == other.class_id) & (one.ids != OUTSIDE)
    pairs = np.stack([one.ids[touching], other.ids[touching]])
    new = np.ones(pairs.shape[1], bool)
    new[1:] = (pairs[:, 1:] != pairs[:, :-1]).any(0)
    return pairs[:, new]


def frame_of(
    tile: tuple[int, int], borders: Mapping[tuple[int, int], Border], seams: Seams
) -> Frame:
    """The pixels around a tile, from what its eight neighbours left behind; `OUTSIDE` beyond the
    raster."""
    row, col = tile
    inner = borders[tile]
    height, width = int(inner.left.length.sum()), int(inner.top.length.sum())

    def beyond(down: int, across: int, side: str, length: int) -> Ids:
        neighbour = borders.get((row + down, col + across))
        if neighbour is None:
            return np.full(length, OUTSIDE)
        found: Side = getattr(neighbour, side)
        return np.repeat(seams.final_ids(found.ids), found.length)

    def with_corners(down: int, side: str) -> Ids:
        before, after = beyond(down, -1, side, 1), beyond(down, 1, side, 1)
        return np.concatenate([before[-1:], beyond(down, 0, side, width), after[:1]])

    return Frame(
        top=with_corners(-1, "bottom"),
        bottom=with_corners(1, "top"),
        left=beyond(0, -1, "right", height),
        right=beyond(0, 1, "left", height),
    )
