"""Gradients of several bands in whole numbers: what a watershed floods and what edges follow.

Whole numbers make a gradient the same in any tile, on any processor, in any order of summation. A
neighbour that is not valid or lies beyond the raster contributes nothing, so nothing is known
beyond the pixels themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.int32]
Heights = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

FRACTION = 16
"""Heights are in sixteenths of a unit of the bands: that keeps plateaus rare."""

HIGHEST = 2**28 - 1
"""What engines on regions take; a height and a place have to fit into 64 bits."""

SOBEL = 8
"""Sobel's derivative of a ramp that rises by one with each pixel."""

_STRIP = 64
"""Rows that are worked on at a time: what lies between them then stays in a processor's cache."""

_WHOLE = 16
"""Weight of a 3 × 3 binomial filter all of whose pixels are valid."""


class Tensor(NamedTuple):
    """Di Zenzo's structure tensor (1986, https://doi.org/10.1016/0734-189X(86)90223-9): products
    of Sobel derivatives, summed over bands; `(y, x) int64`."""

    xx: npt.NDArray[np.int64]
    xy: npt.NDArray[np.int64]
    yy: npt.NDArray[np.int64]


def gradient_heights(values: Values, valid: Flags, rounds: int = 1) -> Heights:
    """`(y, x) uint32` magnitude of the gradient of `(band, y, x)` values, in sixteenths of a unit
    per pixel; 0 where a pixel is not valid.

    It is the root of the tensor's trace, rounded down, after `rounds` of smoothing. A pixel depends
    on those at most `rounds + 1` away.
    """
    heights = np.empty(valid.shape, np.uint32)
    reach = rounds + 1
    for start in range(0, len(valid), _STRIP):
        stop, above = min(start + _STRIP, len(valid)), min(start, reach)
        strip = np.s_[start - above : stop + reach]
        squares = _squared_gradient(smooth(values[:, strip], valid[strip], rounds), valid[strip])
        magnitude = np.sqrt(squares[above : above + stop - start]) / SOBEL
        np.minimum(magnitude, HIGHEST, out=magnitude)
        magnitude *= valid[start:stop]
        heights[start:stop] = magnitude
    return heights


def smooth(values: Values, valid: Flags, rounds: int) -> Values:
    """`(band, y, x) int32` values in sixteenths, after `rounds` of the 3 × 3 binomial filter over
    valid pixels; 0 where a pixel is not valid."""
    smoothed = values * np.int32(FRACTION)
    smoothed *= valid
    weight = _blur(_blur(valid.astype(np.int32), 0), 1)
    # Beside what is not valid: a few, and division is slow.
    holes = np.nonzero((weight != _WHOLE) & valid)
    for _ in range(rounds):
        for band in smoothed:
            total = _blur(_blur(band, 0), 1)
            beside_holes = total[holes] // weight[holes]
            np.right_shift(total, 4, out=band)
            band[holes] = beside_holes
            band *= valid
    return smoothed


def _squared_gradient(values: Values, valid: Flags) -> npt.NDArray[np.float64]:
    """`(y, x)` trace of the tensor: sums of whole numbers, in float64 where that holds them."""
    largest = 2 * SOBEL * max(abs(int(values.max(initial=0))), abs(int(values.min(initial=0))))
    exact = 2 * len(values) * largest**2 < 1 << 53
    total: npt.NDArray[Any] = np.zeros(valid.shape, np.float64 if exact else np.int64)
    across, down = _both_valid(valid), _both_valid(valid.T)
    for band in values:
        for axis, line in ((0, _difference(band, across)), (1, _difference(band.T, down).T)):
            derivative = _blur(line, axis).astype(total.dtype)
            derivative *= derivative
            total += derivative
    return total.astype(np.float64, copy=False)


def structure_tensor(values: Values, valid: Flags) -> Tensor:
    """The tensor of `(band, y, x)` values; a pair of pixels of which one is not valid contributes
    nothing."""
    xx = np.zeros(valid.shape, np.int64)
    xy, yy = xx.copy(), xx.copy()
    pairs = _both_valid(valid), _both_valid(valid.T)
    for band in values:
        across = _blur(_difference(band, pairs[0]), 0).astype(np.int64)
        down = _blur(_difference(band.T, pairs[1]).T, 1).astype(np.int64)
        xx += across * across
        xy += across * down
        yy += down * down
    return Tensor(xx, xy, yy)


def _both_valid(valid: Flags) -> Flags | None:
    """`(y, x - 2)` whether both neighbours of a pixel in its row are valid; `None` where all
    are."""
    return None if valid.all() else valid[:, 2:] & valid[:, :-2]


def _difference(values: Values, both_valid: Flags | None) -> Values:
    """`(y, x)` right neighbour less left one, 0 where one of them is not valid."""
    difference = np.empty_like(values)
    difference[:, :1] = difference[:, -1:] = 0
    np.subtract(values[:, 2:], values[:, :-2], out=difference[:, 1:-1])
    if both_valid is not None:
        difference[:, 1:-1] *= both_valid
    return difference


def _blur(values: Values, axis: int) -> Values:
    """Each of the `(y, x)` values twice, with its neighbours along an axis; zeros lie beyond."""
    blurred = values + values
    out, source = (blurred.T, values.T) if axis else (blurred, values)
    out[1:] += source[:-1]
    out[:-1] += source[1:]
    return blurred
