"""Passes over the tiles of a raster: what a tile cannot decide alone waits until all are known.

Every exact method on regions has the same course. A first pass looks at each tile by itself and
leaves what others have to know of it; the calling process unites what seams cut; further passes
tell each tile what concerns it, and the last writes its pixels. Tiles are worked on by a `map`,
here or elsewhere, and never hear of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio

from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.profiles import profile_like
from tiling.io.spill import Map
from tiling.regions.components import OUTSIDE, TileRegions

T = TypeVar("T")
Context = TypeVar("Context")

Place = tuple[int, int]
"""Row and column of a tile among tiles."""

Flags: TypeAlias = npt.NDArray[np.bool_]
Values: TypeAlias = npt.NDArray[np.integer]

Read: TypeAlias = Callable[[Window], tuple[Values, Flags]]
"""Gives the whole numbers `(band, y, x)` of a window and `(y, x)` whether each pixel is valid.

The window may reach past the raster; nothing is valid there. It has to pickle, and to give a pixel
the same numbers in every window.
"""


@dataclass(frozen=True)
class RasterPixels:
    """Reads bands of a file of whole numbers; a pixel is valid where no band holds no data."""

    raster: Path
    nodata: int | None = None
    bands: tuple[int, ...] = (1,)

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        with open_dataset(str(self.raster)) as source:
            inside = window & Window.of_shape(*source.shape)
            values = np.zeros((len(self.bands), *window.shape), source.dtypes[0])
            if inside:
                values[:, *inside.within(window)] = source.read(
                    list(self.bands), window=inside.ranges
                )
        valid = np.zeros(window.shape, bool)
        if inside:
            valid[inside.within(window)] = True
        return values, valid if self.nodata is None else valid & (values != self.nodata).all(0)


@dataclass(frozen=True)
class Passes:
    """The tiles of a raster and what works on them; results come in the order of the tiles."""

    windows: Mapping[Place, Window]
    map: Map

    @classmethod
    def over(cls, shape: Sequence[int], tile: int, map: Map) -> Passes:
        """Passes over squares of `tile` pixels, those at the lower and right edges smaller."""
        blocks = Window.of_shape(*shape).blocks(tile)
        return cls({(w.row // tile, w.col // tile): w for w in blocks}, map)

    def survey(self, task: Callable[[Window], T]) -> dict[Place, T]:
        """What the task finds in each tile by itself; all of it is in memory."""
        return dict(zip(self.windows, self.map(task, self.windows.values()), strict=True))

    def tell(
        self, task: Callable[[Context], T], context: Callable[[Place], Context]
    ) -> Iterator[T]:
        """What the task makes of each tile, given what concerns it."""
        yield from self.map(task, (context(place) for place in self.windows))

    def write(
        self,
        task: Callable[[Context], npt.NDArray[Any]],
        context: Callable[[Place], Context],
        like: Path,
        target: Path,
    ) -> None:
        """Write the pixels `(y, x)` that the task makes of each tile, as a plain tiled GeoTIFF of
        the grid, type and no data of the raster `like`."""
        with open_dataset(str(like)) as raster:
            profile = profile_like(raster, Window.of_shape(*raster.shape))
        self.write_as(task, context, profile, target)

    def write_as(
        self,
        task: Callable[[Context], npt.NDArray[Any]],
        context: Callable[[Place], Context],
        profile: Mapping[str, Any],
        target: Path,
    ) -> None:
        """Write the pixels `(y, x)` that the task makes of each tile as a raster of this
        profile."""
        with rasterio.open(target, "w", **profile) as out:
            for window, pixels in zip(self.windows.values(), self.tell(task, context), strict=True):
                out.write(pixels, 1, window=window.ranges)


def labels_at_edge(regions: TileRegions) -> npt.NDArray[np.intp]:
    """Labels of the regions that reach the edge of their tile, ascending."""
    labels = regions.labels
    outer = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    inside: npt.NDArray[np.intp] = outer[regions.ids[outer] != OUTSIDE]
    return inside
