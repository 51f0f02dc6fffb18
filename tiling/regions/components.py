"""Connected regions of one tile, and what its neighbours have to know of them.

Labels are 4-connected; regions that touch diagonally can be gathered into 8-connected groups
afterwards.

A region's id is the index `row * width + col` of its first pixel in raster order. A tile knows the
first pixel of what it sees, the union of seams takes the smallest id of all the pieces: nobody
counts, and no cut shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from tiling.grid.window import Window

OUTSIDE = -1
"""In place of a region id: no data, or beyond the raster. Geometry needs no difference between the
two."""

Ids: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.int32]
Classes: TypeAlias = npt.NDArray[np.integer]
T = TypeVar("T", bound=np.generic)


def distinct(ids: Ids) -> Ids:
    """The ids that are there, ascending; sorting beats the hash table of `np.unique` tenfold on ids
    nearly in order."""
    ids = np.sort(ids[ids != OUTSIDE], kind="stable")
    return ids[np.append(True, ids[1:] != ids[:-1])] if ids.size else ids


class Runs(NamedTuple):
    """Stretches of one class along the rows of a tile, in raster order: parallel arrays."""

    start: npt.NDArray[np.int32]
    """Flat index of the first pixel."""
    length: npt.NDArray[np.int32]
    label: Labels
    """The region it is part of."""


class Outlines(NamedTuple):
    """Bounds of how many vertices the outlines of a tile's regions have: `(n,)` each."""

    sides: npt.NDArray[np.int64]
    """Their length in sides of pixels: no fewer than their vertices."""
    bends: npt.NDArray[np.int64]
    """Corners that are certainly theirs: no more than their vertices."""


def find_runs(classes: Classes) -> tuple[Runs, npt.NDArray[np.int64], Outlines]:
    """The runs of pixels `(y, x)`, by 4-connected region 0 … n - 1, and of each region the flat
    index of its first pixel and what is known of its outline.

    Regions are numbered in raster order of their first pixels. Runs that touch in neighbouring rows
    are the edges of a graph, regions its connected components. Few pixels begin a run, so little is
    done for each pixel.
    """
    begins = np.ones(classes.shape, bool)
    np.not_equal(classes[:, 1:], classes[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins).astype(np.int32)
    n, stop = start.size, np.append(start[1:], np.int32(classes.size))
    length = stop - start
    run = np.repeat(np.arange(n, dtype=np.int32), length)
    # Where two runs lie one above the other, one of them starts at the first column they share: one
    # edge for each pair.
    meet = np.flatnonzero((classes[1:] == classes[:-1]) & (begins[1:] | begins[:-1]))
    above, below = run[meet], run[meet + classes.shape[1]]
    n_regions, region = components(above, below, n)
    first = np.empty(n_regions, np.int64)
    first[region[::-1]] = start[::-1]  # the last one written stays

    width = classes.shape[1]
    shared = np.minimum(stop[above], stop[below] - width) - meet
    sides = 2 * np.bincount(region, length + 1, n_regions) - 2 * np.bincount(
        region[above], shared, n_regions
    )
    # A side that does not go on upwards, between a run and the one before it, ends in a corner of
    # the region on either side of it that does not go on, and so does its other end somewhere.
    right = np.flatnonzero((start >= width) & (start % width > 0))
    begin, flat = start[right], classes.ravel()
    ends = ~begins.ravel()[begin - width]
    bends = np.zeros(n_regions, np.int64)
    for beside, pixel in ((right, begin), (right - 1, begin - 1)):
        bends += 2 * np.bincount(
            region[beside[ends | (flat[pixel - width] != flat[pixel])]], minlength=n_regions
        )
    return Runs(start, length, region), first, Outlines(sides.astype(np.int64), bends)


def components(
    one: npt.NDArray[np.integer], other: npt.NDArray[np.integer], n: int
) -> tuple[int, Labels]:
    """Connected components of the graph with nodes 0 … n - 1, numbered in the order of their
    smallest nodes.

    `one` ascends.
    """
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(np.bincount(one, minlength=n), out=offsets[1:])
    return connected_components(
        csr_array((np.ones(one.size), other, offsets), shape=(n, n)), directed=False
    )


@dataclass(frozen=True)
class TileRegions:
    """The regions of one tile, as far as the tile alone can know them."""

    shape: tuple[int, int]
    runs: Runs
    """All pixels, by region 0 … n - 1."""
    ids: Ids
    """`(n,)` id of each, ascending but for the `OUTSIDE` of no data."""
    class_id: Classes
    """`(n,)` class of each."""
    outlines: Outlines

    @classmethod
    def of(cls, classes: Classes, window: Window, width: int, nodata: int | None) -> TileRegions:
        """Label the pixels of `window` in a raster of `width` columns."""
        runs, first, outlines = find_runs(classes)
        class_id = classes.ravel()[first]
        rows, cols = np.divmod(first, window.width)
        ids = (window.row + rows) * width + window.col + cols
        if nodata is not None:
            ids[class_id == nodata] = OUTSIDE
        return cls(window.shape, runs, ids, class_id, outlines)

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All there is to know but the shape, for a file."""
        return *self.runs, self.ids, self.class_id, *self.outlines

    @classmethod
    def from_arrays(cls, shape: tuple[int, int], arrays: Sequence[npt.NDArray[Any]]) -> TileRegions:
        """The regions that had these `arrays`."""
        start, length, label, ids, class_id, *outlines = arrays
        return cls(shape, Runs(start, length, label), ids, class_id, Outlines(*outlines))

    @cached_property
    def labels(self) -> Labels:
        """`(y, x)` the region of each pixel."""
        return self.paint(np.arange(self.ids.size, dtype=np.int32))

    def paint(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """`(y, x)` pixels with the `(n,)` value of their region."""
        return np.repeat(values[self.runs.label], self.runs.length).reshape(self.shape)

    def sum_runs(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """`(n,)` the sum of one value for each run, exact while no sum reaches 2⁵³."""
        return np.bincount(self.runs.label, values, self.ids.size).astype(np.int64)

    def sum_pixels(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """`(n,)` the sum of one whole number for each pixel `(y, x)`, exact while no sum reaches
        2⁵³."""
        return self.sum_runs(np.add.reduceat(values.ravel(), self.runs.start, dtype=np.int64))

    @property
    def groups(self) -> Ids:
        """`(n,)` id of the 8-connected group that each region is in, as far as the tile alone can
        know."""
        classes = self.class_id[self.labels]
        pairs = []
        for one, other in ((np.s_[:-1, :-1], np.s_[1:, 1:]), (np.s_[:-1, 1:], np.s_[1:, :-1])):
            touching = (classes[one] == classes[other]) & (self.labels[one] != self.labels[other])
            pairs.append(np.stack([self.labels[one][touching], self.labels[other][touching]]))
        one_label, other_label = np.concatenate(pairs, axis=1)
        order = np.argsort(one_label, kind="stable")
        _, group = components(one_label[order], other_label[order], self.ids.size)
        _, first = np.unique(group, return_index=True)
        return self.ids[first][group]

    @property
    def border(self) -> Border:
        """The regions along the four sides of the tile, which its neighbours join with theirs."""
        (start, length, label), (height, width) = self.runs, self.shape
        first = np.searchsorted(start, width * np.arange(height + 1))  # runs end with their rows
        top, bottom = np.s_[: first[1]], np.s_[first[-2] :]
        return Border(
            self._side(label[top], length[top]),
            self._side(label[bottom], length[bottom]),
            self._side(label[first[:-1]], np.ones(height, np.int32)),
            self._side(label[first[1:] - 1], np.ones(height, np.int32)),
        )

    def _side(self, labels: Labels, lengths: npt.NDArray[np.int32]) -> Side:
        """Stretches of a region each, from some that may be shorter."""
        starts = np.append(0, 1 + np.flatnonzero(labels[1:] != labels[:-1]))
        label = labels[starts]
        return Side(
            self.ids[label], self.class_id[label], np.add.reduceat(lengths, starts, dtype=np.int32)
        )


class Side(NamedTuple):
    """One pixel row or column along the edge of a tile, by stretches: those of all tiles are in
    memory at once."""

    ids: Ids
    class_id: Classes
    length: npt.NDArray[np.integer]
    """Pixels in each stretch of one region."""

    @property
    def pixels(self) -> Row:
        """The side pixel by pixel instead of in runs."""
        return Row(np.repeat(self.ids, self.length), np.repeat(self.class_id, self.length))


class Row(NamedTuple):
    """Pixels in a row or column: parallel arrays."""

    ids: Ids
    class_id: Classes

    def part(self, chosen: slice) -> Row:
        """Some of these pixels."""
        return Row(self.ids[chosen], self.class_id[chosen])


class Border(NamedTuple):
    """The outermost pixels of a tile: what it leaves behind for its neighbours after the first
    pass."""

    top: Side
    bottom: Side
    left: Side
    right: Side

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """The arrays of the four sides, for a file; `from_arrays` reads them."""
        return tuple(array for side in self for array in side)

    @classmethod
    def from_arrays(cls, arrays: Sequence[npt.NDArray[Any]]) -> Border:
        """The border that had these `arrays`."""
        return cls(*(Side(*arrays[at : at + 3]) for at in range(0, 12, 3)))
