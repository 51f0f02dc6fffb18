"""A landscape that never was: Sentinel-2-like pixels with their true land cover, for demos,
training and tests.

Rivers, lakes, fields, woods, heath, quarries, towns and roads at 10 m, drawn from hashes of
absolute position. Every value is a function of (seed, row, column) alone: any cut of the plane
gives the same bytes, in the memory of what is read. Inside, the plane is drawn in fixed blocks, so
that the arithmetic behind a pixel is the same whoever asks; and only correctly rounded operations
decide a value (no FFT, no BLAS, no sine of an array), so that machines agree too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from segmentation.synthetic.canvas import Canvas
from segmentation.synthetic.materials import BANDS, BLOCK, PAD
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
        for top in range(row - row % BLOCK, row + height, BLOCK):
            for left in range(col - col % BLOCK, col + width, BLOCK):
                block_pixels, block_truth = _block(self.seed, top, left)
                r0, r1 = max(row, top), min(row + height, top + BLOCK)
                c0, c1 = max(col, left), min(col + width, left + BLOCK)
                there = slice(r0 - row, r1 - row), slice(c0 - col, c1 - col)
                here = slice(r0 - top, r1 - top), slice(c0 - left, c1 - left)
                truth[there] = block_truth[here]
                pixels[:, *there] = block_pixels[:, *here]
        if self.height and self.width:
            # The swath ends on a slanted line that leaves 8 % of the first row and 2 % of the last
            # without data.
            rows = np.clip(np.arange(row, row + height), 0, self.height)[:, None]
            beyond = (self.width - np.arange(col, col + width)) * 100 * self.height
            outside = beyond <= self.width * (8 * self.height - 6 * rows)
            truth[outside] = 0
            pixels[:, outside] = 0
        return pixels, truth


@lru_cache(maxsize=32)
def _block(seed: int, row: int, col: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
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
    pixels.flags.writeable = truth.flags.writeable = False  # shared by all who ask
    return pixels, truth
