"""Masks of objects: pixels packed as bits, each mask in the smallest rectangle that holds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

from tiling.grid.window import Window
from tiling.io.spill import load_arrays, save_arrays
from tiling.regions.components import Ids
from tiling.regions.passes import Flags

Places = npt.NDArray[np.intp]


class Mask(NamedTuple):
    """One object: where its rectangle begins in the raster, its pixels in it, how sure it is, and
    what it is."""

    row: int
    col: int
    pixels: Flags
    """`(y, x)`"""
    score: int
    kind: int

    @property
    def window(self) -> Window:
        """The rectangle."""
        return Window(self.row, self.col, *self.pixels.shape)

    def first(self, width: int) -> int:
        """Index of its first pixel in a raster of that width, where its first row has one."""
        return self.row * width + self.col + int(self.pixels[0].argmax())

    def trim(self) -> Self | None:
        """Its largest 4-connected piece in the smallest rectangle, of equals the one that begins
        first; None where it has no pixel."""
        pieces, n = label(self.pixels)
        if not n:
            return None
        largest = 1 + int(np.bincount(pieces.ravel())[1:].argmax())
        chosen = pieces == largest
        rows, cols = (np.flatnonzero(chosen.any(axis)) for axis in (1, 0))
        row, col = int(rows[0]), int(cols[0])
        inside = chosen[row : rows[-1] + 1, col : cols[-1] + 1]
        return self._replace(row=self.row + row, col=self.col + col, pixels=inside)


@dataclass(frozen=True, eq=False)
class Masks:
    """Objects, each with its mask: parallel arrays."""

    bounds: npt.NDArray[np.int64]
    """`(n, 4)`: row, column, height and width of each rectangle in the raster."""
    score: Ids
    kind: Ids
    bits: npt.NDArray[np.uint8]
    """The pixels of one mask after another, eight in a byte."""

    @classmethod
    def of(cls, masks: Iterable[Mask]) -> Self:
        """Masks one by one, packed."""
        listed = list(masks)
        bounds = [(one.row, one.col, *one.pixels.shape) for one in listed]
        bits = [np.packbits(one.pixels) for one in listed]
        return cls(
            np.array(bounds, np.int64).reshape(-1, 4),
            np.array([one.score for one in listed], np.int64),
            np.array([one.kind for one in listed], np.int64),
            np.concatenate([np.zeros(0, np.uint8), *bits]),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """The masks of a file that `save` wrote."""
        bounds, score, kind, bits = load_arrays(path, 4)
        return cls(bounds, score, kind, bits)

    def save(self, path: Path) -> None:
        """Leave them in a file, which is there whole or not at all."""
        save_arrays(path, self.bounds, self.score, self.kind, self.bits)

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, place: int) -> Mask:
        row, col, height, width = (int(one) for one in self.bounds[place])
        packed = self.bits[self._starts[place] : self._starts[place + 1]]
        pixels = np.unpackbits(packed, count=height * width).reshape(height, width).view(bool)
        return Mask(row, col, pixels, int(self.score[place]), int(self.kind[place]))

    @cached_property
    def _starts(self) -> Places:
        """The byte at which each mask begins, and where the last one ends."""
        lengths = -(-(self.bounds[:, 2] * self.bounds[:, 3]) // 8)
        return np.append(0, np.cumsum(lengths))

    @property
    def areas(self) -> Ids:
        """`(n,)` pixels of each."""
        starts = self._starts
        ones = np.append(0, np.cumsum(np.bitwise_count(self.bits), dtype=np.int64))
        counted: Ids = ones[starts[1:]] - ones[starts[:-1]]
        return counted

    def firsts(self, width: int) -> Ids:
        """`(n,)` index of each one's first pixel in a raster of that width."""
        return np.array([self[place].first(width) for place in range(len(self))], np.int64)

    def meeting(self, window: Window) -> Places:
        """Which of their rectangles share pixels with a window."""
        row, col, height, width = self.bounds.T
        return np.flatnonzero(
            (row < window.row_stop)
            & (row + height > window.row)
            & (col < window.col_stop)
            & (col + width > window.col)
        )


def count_common(one: Mask, other: Mask) -> int:
    """How many pixels two masks share."""
    both = one.window & other.window
    if not both:
        return 0
    here, there = (mask.pixels[both.within(mask.window)] for mask in (one, other))
    return int((here & there).sum())


def take_away(one: Mask, other: Mask) -> Mask:
    """A mask without the pixels of another."""
    both = one.window & other.window
    if not both:
        return one
    left = one.pixels.copy()
    left[both.within(one.window)] &= ~other.pixels[both.within(other.window)]
    return one._replace(pixels=left)
