"""Rings as well-known binary, many polygons at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from affine import Affine


def on_the_map(
    col: npt.NDArray[Any], row: npt.NDArray[Any], affine: Affine
) -> npt.NDArray[np.float64]:
    """`(n, 2)` lattice points, or points between, in map coordinates; the one arithmetic for all
    who need them."""
    a, b, c, d, e, f = affine[:6]
    return np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)


def wkb(
    points: npt.NDArray[np.float64],
    rings: npt.NDArray[np.int64],
    polygons: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
) -> pa.Array:
    """Well-known binary of polygons, or of the multipolygons that `groups` makes of them.

    `points (n, 2)` are cut into closed rings by the offsets `rings`, these into polygons by
    `polygons`, and these into multipolygons by `groups`. OGC 06-103r4, 8.2: a polygon is its byte
    order, its type and the number of its rings; a ring is the number of its points and the points;
    a multipolygon has the head of a polygon and whole polygons for rings. Written straight into one
    buffer: as many geometry objects would take half of the time.
    """
    n_points, n_rings = np.diff(rings), np.diff(polygons)
    polygon = np.repeat(np.arange(n_rings.size), n_rings)
    ring_at = _HEAD.itemsize * (polygon + 1) + 4 * np.arange(n_points.size) + 16 * rings[:-1]
    if groups is not None:
        group = np.repeat(np.arange(groups.size - 1), np.diff(groups))
        ring_at += _HEAD.itemsize * (group[polygon] + 1)
    point_at = np.repeat(ring_at + 4 - 16 * rings[:-1], n_points) + 16 * np.arange(len(points))
    begin = ring_at[polygons[:-1]] - _HEAD.itemsize
    out = np.empty(point_at[-1] + 16, np.uint8)

    def put(at: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        # Element i of this view is the value that would begin at byte i: records of any size at any
        # place.
        np.ndarray(out.size - values.itemsize + 1, values.dtype, out.data, strides=(1,))[at] = (
            values
        )

    put(begin, _heads(_POLYGON, n_rings))
    put(ring_at, n_points.astype("<u4"))
    put(point_at, points.astype("<f8").view("V16")[:, 0])
    if groups is not None:
        begin = begin[groups[:-1]] - _HEAD.itemsize
        put(begin, _heads(_MULTIPOLYGON, np.diff(groups)))
    offsets = np.append(begin, out.size)
    return pa.Array.from_buffers(
        pa.large_binary(), begin.size, [None, pa.py_buffer(offsets), pa.py_buffer(out)]
    )


_POLYGON, _MULTIPOLYGON = 3, 6
_HEAD = np.dtype([("order", "u1"), ("type", "<u4"), ("members", "<u4")])


def _heads(kind: int, members: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    heads = np.empty(members.size, _HEAD)
    heads["order"], heads["type"], heads["members"] = 1, kind, members
    return heads
