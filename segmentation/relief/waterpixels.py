"""Markers and surface of superpixels by watershed (waterpixels: Machairas et al. 2015,
https://doi.org/10.1109/TIP.2015.2451011), the same however a raster is cut.

The raster is laid out in square cells that begin at its first pixel. The marker of a cell is the
lowest pixel of its inner part; what is flooded is the gradient plus a slope away from the markers.
A marker follows from its cell, and the slope at a pixel from the cells around it.
"""

from __future__ import annotations

import numpy as np

from segmentation.relief.gradient import HIGHEST, Flags, Heights

_RIM = 6
"""A sixth of a cell on each side of it is outer part: markers of neighbours do not touch."""

_OUTER, _INVALID = 1 << 29, 1 << 30
"""Above all heights: an outer pixel counts only where no inner one is valid."""


def reach_of_cells(step: int) -> int:
    """How many pixels away heights may lie that decide about the surface at a valid pixel.

    Its own cell has a marker, so a farther cell has a say only as far as a pixel of it can be
    nearer than the farthest of the own cell.
    """
    reach = step - 1
    for offset in range(step):
        own = max(offset, step - 1 - offset) ** 2 + (step - 1) ** 2
        for cells in (1, 2):
            nearest = offset + (cells - 1) * step + 1
            if nearest**2 < own:
                reach = max(reach, offset + cells * step)
    return reach


def mark_cells(heights: Heights, valid: Flags, step: int, row: int, col: int) -> Flags:
    """`(y, x)` one marker in each cell of `step` pixels that has a valid pixel and lies wholly in
    an array whose first pixel is at `row, col` of the raster, which may be negative.

    It is the lowest pixel of the inner part, of equals the first in raster order; of the whole cell
    where nothing inside is valid.
    """
    top, left = -row % step, -col % step
    rows = max(0, (heights.shape[0] - top) // step)
    cols = max(0, (heights.shape[1] - left) // step)
    marked = np.zeros(heights.shape, bool)
    if not rows or not cols:
        return marked
    whole = np.s_[top : top + rows * step, left : left + cols * step]
    rim = step // _RIM
    rank = np.full((step, step), _OUTER, np.uint32)
    rank[rim : step - rim, rim : step - rim] = 0
    key = heights[whole] + np.tile(rank, (rows, cols))
    key[~valid[whole]] = _INVALID
    cells = key.reshape(rows, step, cols, step).swapaxes(1, 2).reshape(rows, cols, step * step)
    lowest = cells.argmin(-1)[..., None]
    markers = np.zeros(cells.shape, bool)
    np.put_along_axis(markers, lowest, np.take_along_axis(cells, lowest, -1) < _INVALID, -1)
    layout = markers.reshape(rows, cols, step, step).swapaxes(1, 2)
    marked[whole] = layout.reshape(rows * step, cols * step)
    return marked


def raise_between(
    heights: Heights, valid: Flags, markers: Flags, step: int, slope: float
) -> Heights:
    """`(y, x) uint32` heights that rise by `slope` for each half step away from the nearest marker,
    and are 0 on markers and where a pixel is not valid."""
    from scipy.ndimage import distance_transform_edt

    if not markers.any():
        return np.where(valid, np.minimum(heights, HIGHEST - 1) + 1, 0).astype(np.uint32)
    nearest = distance_transform_edt(~markers, return_distances=False, return_indices=True)
    rows, cols = np.ogrid[: markers.shape[0], : markers.shape[1]]
    down, across = nearest[0] - rows.astype(np.int32), nearest[1] - cols.astype(np.int32)
    down *= down
    across *= across
    down += across
    raised = np.sqrt(down, dtype=np.float64)
    raised *= 2 * slope / step
    np.floor(raised, out=raised)
    raised += 1
    raised += heights
    np.minimum(raised, HIGHEST, out=raised)
    raised *= valid & ~markers
    return raised.astype(np.uint32)
