"""A landscape that never was: Sentinel-2-like pixels with their true land cover, for demos,
training and tests.

Rivers, lakes, fields, woods, heath, quarries, towns and roads at 10 m, drawn from hashes of
absolute position. Every value is a function of (seed, row, column) alone: any cut of the plane
gives the same bytes, in the memory of what is read. Inside, the plane is drawn in fixed blocks, so
that the arithmetic behind a pixel is the same whoever asks; and only correctly rounded operations
decide a value (no FFT, no BLAS, no sine of an array), so that machines agree too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.synthetic.canvas import Canvas
from segmentation.synthetic.materials import BANDS, BLOCK, CROPS, PAD
from segmentation.synthetic.sensor import sense
from segmentation.synthetic.terrain import (
    Ground,
    farms,
    heath,
    lakes,
    pits,
    rivers,
    roads,
    towns,
    woods,
)


@dataclass(frozen=True)
class Landscape:
    """An endless landscape; with a size, it has the slanted edge of an orbit: about 5 % of the
    scene is no data."""

    seed: int = 0
    height: int | None = None
    width: int | None = None

    def read(
        self, row: int, col: int, height: int, width: int
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Pixels `(6, height, width) uint16`, reflectance × 10 000, and truth `(height, width)
        uint8`; 0 = no data.

        Truth has the values 1–6 of `segmentation.legend.LAND_COVER`. `row` and `col` may be
        negative.
        """
        pixels = np.empty((len(BANDS), height, width), np.uint16)
        truth = np.empty((height, width), np.uint8)
        for there, here, block in self._blocks(row, col, height, width):
            truth[there] = block.truth[here]
            pixels[:, *there] = block.pixels[:, *here]
        outside = self._outside(row, col, height, width)
        truth[outside] = 0
        pixels[:, outside] = 0
        return pixels, truth

    def parcels(self, row: int, col: int, height: int, width: int) -> npt.NDArray[np.uint32]:
        """`(height, width) uint32`: which parcel of cropland each pixel is of, by a number that is
        as good as its own; 0 = none.

        What has trees, a track or a roof on it is of none, so a parcel may lie in pieces.
        """
        parcels = np.empty((height, width), np.uint32)
        for there, here, block in self._blocks(row, col, height, width):
            parcels[there] = block.parcels[here]
        parcels[self._outside(row, col, height, width)] = 0
        return parcels

    def _blocks(
        self, row: int, col: int, height: int, width: int
    ) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], _Block]]:
        """Where in a window each block lies that it meets, where in the block that is, and the
        block."""
        for top in range(row - row % BLOCK, row + height, BLOCK):
            for left in range(col - col % BLOCK, col + width, BLOCK):
                r0, r1 = max(row, top), min(row + height, top + BLOCK)
                c0, c1 = max(col, left), min(col + width, left + BLOCK)
                there = slice(r0 - row, r1 - row), slice(c0 - col, c1 - col)
                here = slice(r0 - top, r1 - top), slice(c0 - left, c1 - left)
                yield there, here, _block(self.seed, top, left)

    def _outside(self, row: int, col: int, height: int, width: int) -> npt.NDArray[np.bool_]:
        """`(height, width)` whether a pixel lies beyond the swath, which ends on a slanted line
        that leaves 8 % of the first row and 2 % of the last without data."""
        if not (self.height and self.width):
            return np.zeros((height, width), bool)
        rows = np.clip(np.arange(row, row + height), 0, self.height)[:, None]
        beyond = (self.width - np.arange(col, col + width)) * 100 * self.height
        return beyond <= self.width * (8 * self.height - 6 * rows)


class _Block(NamedTuple):
    """What is drawn of a block."""

    pixels: npt.NDArray[np.uint16]
    truth: npt.NDArray[np.uint8]
    parcels: npt.NDArray[np.uint32]


@lru_cache(maxsize=32)
def _block(seed: int, row: int, col: int) -> _Block:
    """The block at `row`, `col`, multiples of the block's side: painted from the ground up, then
    sensed."""
    canvas = Canvas(seed, row, col)
    ground = Ground(canvas)
    parcel = farms(canvas, ground)
    woods(canvas, ground, parcel)
    heath(canvas, ground)
    pits(canvas, ground)
    rivers(canvas, ground)
    towns(canvas, ground)
    roads(canvas, ground)
    lakes(canvas, ground)  # after the roads: only rivers are bridged
    inner = slice(PAD, PAD + BLOCK)
    pixels, truth = sense(canvas, ground), np.ascontiguousarray(canvas.truth[inner, inner])
    parcels = (parcel[inner, inner].astype(np.uint64) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    parcels[parcels == 0] = 1
    parcels[truth != CROPS] = 0
    for drawn in (pixels, truth, parcels):
        drawn.flags.writeable = False  # shared by all who ask
    return _Block(pixels, truth, parcels)
