"""Gradients of several bands in whole numbers: what a watershed floods and what edges follow.

Whole numbers make a gradient the same in any tile, on any processor, in any order of summation. A
neighbour that is not valid or lies beyond the raster contributes nothing, so nothing is known
beyond the pixels themselves.
"""

from __future__ import annotations

from typing import NamedTuple

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
    tensor = structure_tensor(smooth(values, valid, rounds), valid)
    magnitude = np.sqrt((tensor.xx + tensor.yy).astype(np.float64)) / SOBEL
    return np.where(valid, np.minimum(magnitude, HIGHEST), 0).astype(np.uint32)


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


def structure_tensor(values: Values, valid: Flags) -> Tensor:
    """The tensor of `(band, y, x)` values; a pair of pixels of which one is not valid contributes
    nothing."""
    xx = np.zeros(valid.shape, np.int64)
    xy, yy = xx.copy(), xx.copy()
    for band in values:
        across = _blur(_difference(band, valid), 0).astype(np.int64)
        down = _blur(_difference(band.T, valid.T).T, 1).astype(np.int64)
        xx += across * across
        xy += across * down
        yy += down * down
    return Tensor(xx, xy, yy)


def _difference(values: Values, valid: Flags) -> Values:
    """`(y, x)` right neighbour less left one, 0 where one of them is not valid."""
    difference = np.zeros_like(values)
    np.subtract(values[:, 2:], values[:, :-2], out=difference[:, 1:-1])
    difference[:, 1:-1] *= valid[:, 2:] & valid[:, :-2]
    return difference


def _blur(values: Values, axis: int) -> Values:
    """Each of the `(y, x)` values twice, with its neighbours along an axis; zeros lie beyond."""
    blurred = 2 * values
    out, source = np.moveaxis(blurred, axis, 0), np.moveaxis(values, axis, 0)
    out[1:] += source[:-1]
    out[:-1] += source[1:]
    return blurred
