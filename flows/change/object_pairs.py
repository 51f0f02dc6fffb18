"""Which objects of two days lie on each other, and how much of the Earth they share: whole numbers,
counted block by block."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox

from flows.change.map_pair import MapBlock, Pair, lay, read
from segmentation.accuracy.instances import add_rows
from tiling.classmaps.raster import open_classes
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.profiles import plain_profile

Longs = npt.NDArray[np.int64]

SPARE = 2**20
"""Rows of blocks that wait before they are added up, beside as many as there are sums."""


@dataclass(frozen=True)
class ObjectPair:
    """Two rasters of numbers of objects, and where both can tell."""

    pair: Pair
    extent: Path
    """A raster without no data on the grid of the earlier one: where that lies."""

    @classmethod
    def of(cls, pair: Pair, work: Path) -> Self:
        """Both, with the extent of the earlier one in a file that takes no room."""
        with open_classes(pair.earlier.path) as before:
            profile = plain_profile(geobox_of(before), "uint8", None)
        with rasterio.open(work / "extent.tif", "w", **profile, sparse_ok=True):
            return cls(pair, work / "extent.tif")

    def read(self, window: Window) -> tuple[Longs, Longs]:
        """Numbers `(y, x)` of the objects before and now on the later one's grid; 0 where there is
        none, and where the earlier one does not lie."""
        seen: MapBlock = read(self.pair, window)
        with ExitStack() as stack:
            now = stack.enter_context(open_classes(self.pair.later.path))
            extent = stack.enter_context(open_classes(self.extent))
            laid = lay(extent, now, self.pair.alignment, stack)
            inside = laid.read_masks(1, window=window.ranges) > 0
        before, after = seen.before.astype(np.int64), seen.now.astype(np.int64)
        return (
            np.where(inside & seen.had & (before > 0), before, 0),
            np.where(inside & seen.has & (after > 0), after, 0),
        )

    @property
    def grid(self) -> GeoBox:
        """Whose pixels are compared."""
        with open_classes(self.pair.later.path) as now:
            return geobox_of(now)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Objects of two days and what any two share, in units of `PixelAreas`; those of blocks add
    up."""

    before: Longs
    """`(n, 2)`: number and area of each earlier object, by number."""
    after: Longs
    """`(m, 2)`: the same of each later one."""
    shared: Longs
    """`(p, 3)`: numbers of an earlier and a later object, and the area of both."""

    @classmethod
    def of(cls, blocks: Iterable[Overlaps]) -> Self:
        """What some blocks hold together; what waits is never more than twice the sum."""
        total, waits, held = cls._sum([]), list[Overlaps](), 0
        for one in blocks:
            waits.append(one)
            held += one._rows
            if held > total._rows + SPARE:
                total, waits, held = cls._sum([total, *waits]), [], 0
        return cls._sum([total, *waits])

    @property
    def _rows(self) -> int:
        return len(self.before) + len(self.after) + len(self.shared)

    @classmethod
    def _sum(cls, blocks: list[Overlaps]) -> Self:
        none = np.empty((0, 2), np.int64)
        before = [none, *(one.before for one in blocks)]
        after = [none, *(one.after for one in blocks)]
        shared = [np.empty((0, 3), np.int64), *(one.shared for one in blocks)]
        tables = ((before, 1), (after, 1), (shared, 2))
        return cls(*(add_rows(np.concatenate(rows), keys) for rows, keys in tables))


def count_overlaps(objects: ObjectPair, window: Window) -> Overlaps:
    """What a block of the later raster's grid holds."""
    before, after = (numbers.ravel() for numbers in objects.read(window))
    units = PixelAreas(objects.grid).read(window).ravel()
    tables = []
    for columns in ((before,), (after,), (before, after)):
        there = np.logical_and.reduce([column > 0 for column in columns])
        tables.append(_sums([column[there] for column in columns], units[there]))
    return Overlaps(*tables)


def _sums(columns: list[Longs], units: Longs) -> Longs:
    return add_rows(np.column_stack([*columns, units]), len(columns))
