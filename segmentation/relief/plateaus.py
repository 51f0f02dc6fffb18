"""Level ground that falls: without it a plateau drains to its upper left, by the order of pixels
alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segmentation.relief.gradient import HIGHEST, Flags, Heights


def fineness(most: int) -> int:
    """How many times finer the units become in `make_fall`."""
    return most + 2


def make_fall(heights: Heights, valid: Flags, most: int) -> Heights:
    """`(y, x) uint32` heights of which what is level falls towards its lower rim, as far as that is
    no more than `most` pixels away along the plateau.

    Units become `fineness(most)` times finer, and what is too high for that is cut off. A pixel
    depends on those at most `most` away. What is not reached stays level, as a pit of less than one
    old unit: minima, and the middle of wide plateaus.
    """
    units = fineness(most)
    lowest = np.minimum(heights, HIGHEST // units)
    away = np.zeros(heights.shape, np.uint32)  # 0: not reached
    around = _sides(np.where(valid, lowest, np.uint32(HIGHEST)), HIGHEST)
    away[valid & np.logical_or.reduce([other < lowest for other in around])] = 1
    level = [other == lowest for other in around]
    for step in range(2, most + 1):
        last = _sides(away == step - 1, False)
        near = np.logical_or.reduce([one & other for one, other in zip(level, last, strict=True)])
        away[valid & (away == 0) & near] = step
    return lowest * np.uint32(units) + away


def _sides(pixels: npt.NDArray[np.generic], beyond: int) -> tuple[npt.NDArray[np.generic], ...]:
    """For each of the `(y, x)` pixels those above, below, left and right of it."""
    padded = np.pad(pixels, 1, constant_values=beyond)
    return padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
