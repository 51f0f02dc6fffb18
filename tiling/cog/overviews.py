"""Overviews of a raster: each pixel speaks for 2 × 2 of the level below it.

Windows begin at even pixels of the level below and depend on nothing else, so a part of a raster
that begins at a multiple of them has the overviews of the whole. At an odd edge a window is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from operator import and_
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]

_STRIP = 128
"""Rows that are halved at once: what is needed meanwhile stays in the processor's cache."""


def halve(pixels: Pixels, how: str, nodata: float | None) -> Pixels:
    """`(band, y, x) -> (band, ⌈y / 2⌉, ⌈x / 2⌉)` of the same dtype, by `how`: "mode", the most
    frequent value, of several the one that is complete first in raster order; or "average", the
    mean, half rounded up where values are whole numbers.

    Pixels of no data have no voice; where no pixel has one, there is no data. The rules, and for
    even lengths the pixels, are those of GDAL's overviews.
    """
    bands, height, width = pixels.shape
    halved = np.empty((bands, -(-height // 2), -(-width // 2)), pixels.dtype)
    for row in range(0, height, _STRIP):
        strip = pixels[:, row : row + _STRIP]
        halved[:, row // 2 : (row + _STRIP) // 2] = _halve_strip(strip, how, nodata)
    return halved


def _halve_strip(pixels: Pixels, how: str, nodata: float | None) -> Pixels:
    odd = [(0, length % 2) for length in pixels.shape[1:]]
    if any(after for _, after in odd):
        # twice the same pixel is as good as once, by either rule
        pixels = np.pad(pixels, [(0, 0), *odd], mode="edge")
    quarters = [
        np.ascontiguousarray(pixels[:, row::2, col::2]) for row in range(2) for col in range(2)
    ]
    return _RULES[how](quarters, partial(_has_data, nodata))


def _has_data(nodata: float | None, pixels: Pixels) -> npt.NDArray[np.bool_]:
    if nodata is None:
        return np.ones(pixels.shape, np.bool_)
    return ~np.isnan(pixels) if np.isnan(nodata) else pixels != nodata


def _mode(quarters: list[Pixels], valid: Callable[[Pixels], Pixels]) -> Pixels:
    a, b, c, d = quarters
    # most of a map are four alike, and their overview is any of them
    mixed = np.flatnonzero((a != b) | (a != c) | (a != d))
    found = a.copy()
    found.ravel()[mixed] = _mode_of([quarter.ravel()[mixed] for quarter in quarters], valid)
    return found


def _mode_of(quarters: list[Pixels], valid: Callable[[Pixels], Pixels]) -> Pixels:
    """The most frequent of four. In raster order the first to be there twice wins, for three of a
    kind are a pair before; where all differ, the first that has data."""
    a, b, c, d = quarters
    found = d
    for one in (c, b, a):
        found = np.where(valid(one), one, found)
    # what a later line says goes before
    found = np.where(valid(d) & ((d == a) | (d == b) | (d == c)), d, found)
    found = np.where(valid(b) & (b == c), b, found)
    return np.where(valid(a) & ((a == b) | (a == c)), a, found)


def _average(quarters: list[Pixels], valid: Callable[[Pixels], Pixels]) -> Pixels:
    dtype = quarters[0].dtype
    whole = dtype.kind in "iu"
    total = quarters[0].astype(np.uint16 if dtype == np.uint8 else np.int64 if whole else float)
    for quarter in quarters[1:]:
        total += quarter
    found = ((total + 2) >> 2 if whole else total / 4).astype(dtype)
    fewer = np.flatnonzero(~reduce(and_, map(valid, quarters)))
    found.ravel()[fewer] = _average_of([quarter.ravel()[fewer] for quarter in quarters], valid)
    return found


def _average_of(quarters: list[Pixels], valid: Callable[[Pixels], Pixels]) -> Pixels:
    """The mean of those of four that have data."""
    values, there = np.array(quarters), np.array([valid(quarter) for quarter in quarters])
    whole = values.dtype.kind in "iu"
    total = np.where(there, values, 0).sum(0, np.int64 if whole else float)
    n = np.maximum(there.sum(0), 1)
    mean = (2 * total + n) // (2 * n) if whole else total / n
    # a pixel of no data holds what stands for it
    return np.where(there.any(0), mean.astype(values.dtype), values[0])


_RULES = {"mode": _mode, "average": _average}
