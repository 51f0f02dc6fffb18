"""A class raster cut along zones: every pixel belongs to the zone that holds its centre, so nothing
is split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio import features

from tiling.classmaps.raster import nodata_of, open_regions, read_band
from tiling.grid.window import Window
from tiling.io.profiles import profile_like

BLOCK = 1024
"""Side of the blocks that are worked on at a time."""


class Pairs(NamedTuple):
    """What the values 1, 2, … of a cut raster stand for: parallel arrays."""

    zone: npt.NDArray[np.int64]
    """Index of the zone."""
    class_id: npt.NDArray[np.int32]


def cut_by_zones(
    raster: str | Path, target: Path, zones: npt.NDArray[Any], *, nodata: int | None = None
) -> Pairs:
    """Write an int32 raster that has a value for each zone and class that meet, 0 for no data and
    outside all zones.

    `zones` are polygons in the CRS of the raster; where some overlap, the first of them has the
    pixel. Pixels of the value `nodata` have no class; None means the value the file declares.
    """
    with open_regions(raster) as source:
        whole, nodata = Window.of_shape(*source.shape), nodata_of(source, nodata)
        profile = profile_like(source, whole) | {"dtype": "int32", "nodata": 0}
    known: dict[int, int] = {}
    with rasterio.open(target, "w", **profile) as out:
        for window, zone in _rasterise_by_block(zones, whole, profile["transform"]):
            classes = read_band(raster, window).astype(np.int64)
            inside = zone >= 0
            if nodata is not None:
                inside &= classes != nodata
            keys, place = np.unique(
                zone[inside] << _CLASS_BITS | (classes[inside] - _LEAST), return_inverse=True
            )
            values = np.zeros(window.shape, np.int32)
            values[inside] = np.array(
                [known.setdefault(key, len(known) + 1) for key in keys.tolist()], np.int32
            )[place]
            out.write(values, 1, window=window.ranges)
    keys = np.fromiter(known, np.int64, len(known))
    return Pairs(keys >> _CLASS_BITS, ((keys & (1 << _CLASS_BITS) - 1) + _LEAST).astype(np.int32))


_CLASS_BITS = 32
_LEAST = int(np.iinfo(np.int32).min)


def _rasterise_by_block(
    zones: npt.NDArray[Any], whole: Window, transform: Affine
) -> Iterator[tuple[Window, npt.NDArray[np.int64]]]:
    """Each block that zones reach into or not, and `(y, x)` the zone of its pixels, -1 where there
    is none."""
    tree = shapely.STRtree(zones)
    for window in whole.blocks(BLOCK):
        here = transform @ Affine.translation(window.col, window.row)
        corners = [here @ corner for corner in ((0, 0), (window.width, window.height))]
        (west, east), (south, north) = (sorted(ends) for ends in zip(*corners, strict=True))
        # the last one burnt stays
        near = np.sort(tree.query(shapely.box(west, south, east, north)))[::-1]
        yield window, _rasterise(zip(zones[near], near.tolist(), strict=True), window, here)


def _rasterise(
    shapes: Iterable[tuple[Any, int]], window: Window, transform: Affine
) -> npt.NDArray[np.int64]:
    shapes = list(shapes)
    if not shapes:
        return np.full(window.shape, -1, np.int64)
    burnt = features.rasterize(shapes, window.shape, fill=-1, transform=transform, dtype="int32")
    return burnt.astype(np.int64)
