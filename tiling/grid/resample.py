"""Pixels of one grid at the places of another: each follows from its own place alone, whatever
window it is read in.

GDAL's warper is not asked: it judges the bands of a file together, and holds more memory than a
shard does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from tiling.grid.window import Window

Pixels = npt.NDArray[Any]
Valid = npt.NDArray[np.bool_]
Places = npt.NDArray[np.float64]

Read = Callable[[Window], tuple[Pixels, Valid]]
"""Stored pixels `(y, x)` of a window of the source, and which of them hold data."""

_CELL = 32
"""Pixels between two places that are transformed themselves, where the CRS is another."""

_ERROR = 0.01
"""Part of a source's pixel by which places between them may be off; else each place is transformed
itself."""

_AT_ONCE, _MOST_STORED = 2**18, 2**22
"""Pixels that are computed, and stored pixels that are read for them, at once: the memory this
takes."""


def resample(
    read: Read, source: GeoBox, grid: GeoBox, window: Window, dtype: npt.DTypeLike, *, smooth: bool
) -> tuple[Pixels, Valid]:
    """Pixels `(y, x)` of a window of `grid`, and which of them hold data: those whose nearest
    stored pixel does.

    `smooth` interpolates between the four nearest stored pixels that hold data; else the nearest is
    taken. A source whose pixels are smaller than the grid's is looked up at the places of the
    grid's, not averaged.
    """
    pixels, data = np.zeros(window.shape, dtype), np.zeros(window.shape, np.bool_)
    waiting = [window]
    while waiting:
        part = waiting.pop()
        if part.area > _AT_ONCE:
            waiting += _halves(part)
            continue
        rows, cols = places(grid, source, part)
        needed = _window_for(rows, cols, source)
        if needed is None:
            continue
        if needed.area > _MOST_STORED and part.area > 1:
            waiting += _halves(part)
            continue
        stored, valid = read(needed)
        here = part.within(window)
        pixels[here], data[here] = _sample(stored, valid, needed, source, rows, cols, smooth)
    return pixels, data


def places(grid: GeoBox, source: GeoBox, window: Window) -> tuple[Places, Places]:
    """Row and column in `source`, in pixels from its corner, of the centre of each pixel of a
    window of `grid`.

    Their shapes broadcast to `(y, x)`. Not finite where a pixel has no place in the source's CRS.
    """
    if grid.crs == source.crs:
        a, b = grid.affine, ~source.affine
        x = a.c + (np.arange(window.col, window.col_stop) + 0.5) * a.a
        y = a.f + (np.arange(window.row, window.row_stop) + 0.5) * a.e
        return (b.f + b.e * y)[:, None], (b.c + b.a * x)[None]
    return _places_by_cells(grid, source, window)


def _places_by_cells(grid: GeoBox, source: GeoBox, window: Window) -> tuple[Places, Places]:
    """Where pixels lie in a source of another CRS: exact at corners of cells, linear between them.

    The cells are those of the grid, so that windows that share a pixel share its place.
    """
    whole = window.on_grid(_CELL)
    tops, lefts = (
        np.arange(whole.row, whole.row_stop, _CELL),
        np.arange(whole.col, whole.col_stop, _CELL),
    )
    corners = _exact(
        grid, source, np.append(tops, whole.row_stop), np.append(lefts, whole.col_stop)
    )
    middles = _exact(grid, source, tops + _CELL / 2, lefts + _CELL / 2)
    with np.errstate(invalid="ignore"):
        apart = [
            np.abs((c[:-1, :-1] + c[1:, :-1] + c[:-1, 1:] + c[1:, 1:]) / 4 - m)
            for c, m in zip(corners, middles, strict=True)
        ]
        rows, cols = (_between(values) for values in corners)
    for row, col in np.argwhere(~((apart[0] < _ERROR) & (apart[1] < _ERROR))):
        at = slice(row * _CELL, (row + 1) * _CELL), slice(col * _CELL, (col + 1) * _CELL)
        each = np.arange(_CELL)
        rows[at], cols[at] = _exact(grid, source, tops[row] + each, lefts[col] + each)
    inside = window.within(whole)
    return rows[inside], cols[inside]


def _between(corners: Places) -> Places:
    """Values at the corners of cells, interpolated at each of their pixels."""
    part = np.arange(_CELL) / _CELL
    down, across = (
        np.repeat(np.arange(corners.shape[0] - 1), _CELL),
        np.repeat(np.arange(corners.shape[1] - 1), _CELL),
    )
    below, right = np.tile(part, corners.shape[0] - 1)[:, None], np.tile(part, corners.shape[1] - 1)
    rows = corners[down] * (1 - below) + corners[down + 1] * below
    between: Places = rows[:, across] * (1 - right) + rows[:, across + 1] * right
    return between


def _exact(
    grid: GeoBox, source: GeoBox, rows: npt.NDArray[Any], cols: npt.NDArray[Any]
) -> tuple[Places, Places]:
    a, b = grid.affine, ~source.affine
    x, y = np.meshgrid(a.c + (cols + 0.5) * a.a, a.f + (rows + 0.5) * a.e)
    x, y = _transformer(str(grid.crs), str(source.crs)).transform(x, y)
    return b.f + b.e * y, b.c + b.a * x


class _Transformers(threading.local):
    """A thread's own: pyproj's are not safe to share."""

    def __init__(self) -> None:
        self.between = lru_cache(maxsize=64)(
            lambda one, other: Transformer.from_crs(one, other, always_xy=True)
        )


_own = _Transformers()


def _transformer(one: str, other: str) -> Transformer:
    return _own.between(one, other)


def _window_for(rows: Places, cols: Places, source: GeoBox) -> Window | None:
    """The stored pixels that these places look at; None where there are none."""
    there = _inside(rows, cols, source)
    if not there.any():
        return None
    rows, cols = np.broadcast_to(rows, there.shape), np.broadcast_to(cols, there.shape)
    top, bottom = int(np.floor(rows[there].min() - 0.5)), int(np.floor(rows[there].max() - 0.5)) + 2
    left, right = int(np.floor(cols[there].min() - 0.5)), int(np.floor(cols[there].max() - 0.5)) + 2
    return Window(top, left, bottom - top, right - left) & Window.of_shape(*source.shape)


def _inside(rows: Places, cols: Places, source: GeoBox) -> Valid:
    # False where not finite
    return (rows >= 0) & (rows < source.height) & (cols >= 0) & (cols < source.width)


def _sample(
    stored: Pixels,
    valid: Valid,
    window: Window,
    source: GeoBox,
    rows: Places,
    cols: Places,
    smooth: bool,
) -> tuple[Pixels, Valid]:
    """What the stored pixels of a window say at these places."""
    there = _inside(rows, cols, source)
    rows, cols = (np.where(np.isfinite(at), at, 0) for at in (rows, cols))

    def index(at: Places, first: int, length: int) -> npt.NDArray[np.intp]:
        found: npt.NDArray[np.intp] = np.clip(np.floor(at).astype(np.intp) - first, 0, length - 1)
        return found

    row, col = index(rows, window.row, window.height), index(cols, window.col, window.width)
    data = there & valid[row, col]
    if not smooth:
        return np.where(there, stored[row, col], 0), data
    down, across = (rows - 0.5) % 1, (cols - 0.5) % 1
    total, weights = np.zeros(data.shape), np.zeros(data.shape)
    known = np.where(valid, stored, 0)  # NaN times nothing is not nothing
    for below in (0, 1):
        row = index(rows - 0.5 + below, window.row, window.height)
        for right in (0, 1):
            col = index(cols - 0.5 + right, window.col, window.width)
            weight = (
                (down if below else 1 - down) * (across if right else 1 - across) * valid[row, col]
            )
            total += weight * known[row, col]
            weights += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(data, total / weights, 0)
    return (mean if stored.dtype.kind == "f" else np.floor(mean + 0.5)).astype(stored.dtype), data


def _halves(window: Window) -> list[Window]:
    """A window cut in two along its longer side."""
    row, col, height, width = window.row, window.col, window.height, window.width
    if height >= width:
        half = height // 2
        return [Window(row, col, half, width), Window(row + half, col, height - half, width)]
    half = width // 2
    return [Window(row, col, height, half), Window(row, col + half, height, width - half)]
