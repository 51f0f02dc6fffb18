"""Numbered regions of a raster chosen by their areas, the same however the raster is cut."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.spill import Map, map_array
from tiling.regions.passes import Passes, Place, RasterPixels

Numbers = npt.NDArray[np.int64]


def keep_sizes(
    numbers: Path,
    n: int,
    target: Path,
    *,
    least: float = 0.0,
    most: float = 0.0,
    tile: int = 1024,
    map: Map = map,
) -> None:
    """Write those of the regions 1 … n of a raster whose ellipsoidal area, in m², is no less than
    `least` and, unless that is 0, no more than `most`; what is left out is 0. The same for every
    `tile`.

    Beside `target` lies a file of 8 B for each region while that is made. `map` may work elsewhere,
    as long as results come in order and the folder of `target` is there too.
    """
    with open_dataset(str(numbers)) as source:
        areas = PixelAreas(geobox_of(source))
    passes = Passes.over(areas.geobox.shape, tile, map)
    waits = target.with_suffix(".areas.npy")
    total = map_array(waits, np.int64, (n + 1,))
    windows = passes.windows.values()
    for here, units in map(partial(_add_areas, numbers, areas), windows):
        total[here] += units
    kept = total >= least / areas.unit
    if most:
        kept &= total <= most / areas.unit
    kept[0] = False
    del total
    waits.unlink()

    def known(place: Place) -> tuple[Window, Path, Numbers]:
        window = passes.windows[place]
        (pixels,), _ = RasterPixels(numbers, 0)(window)
        here = np.unique(pixels).astype(np.int64)
        return window, numbers, here[~kept[here]]

    passes.write(_leave_out, known, numbers, target)


def _add_areas(numbers: Path, areas: PixelAreas, window: Window) -> tuple[Numbers, Numbers]:
    """The regions in a tile, and how much of each lies there, in units of area."""
    (pixels,), inside = RasterPixels(numbers, 0)(window)
    here, place = np.unique(pixels[inside], return_inverse=True)
    return here.astype(np.int64), sum_by(place, areas.read(window)[inside], here.size)


def _leave_out(known: tuple[Window, Path, Numbers]) -> npt.NDArray[np.uint32]:
    """The pixels of a tile without some of its regions."""
    window, numbers, gone = known
    (pixels,), _ = RasterPixels(numbers, 0)(window)
    return np.where(np.isin(pixels, gone), 0, pixels).astype(np.uint32)
