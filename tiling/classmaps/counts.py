"""Pixels and areas per class of a class raster, exact in any order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset


@dataclass(frozen=True)
class Tally:
    """Counts of each value 0…255: pixels, and area in units of `unit` m²; tallies of one raster add
    up."""

    pixels: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    unit: float

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.pixels + other.pixels, self.units + other.units, self.unit)

    @property
    def square_metres(self) -> npt.NDArray[np.float64]:
        """Ellipsoidal area of each value."""
        return self.units * np.float64(self.unit)


@dataclass(frozen=True)
class TallyBlock:
    """One block of a uint8 class raster, to be counted by a worker."""

    raster: Path
    window: Window


def tally(block: TallyBlock) -> Tally:
    """Pixels and areas of each class in one block."""
    window = block.window
    with open_dataset(str(block.raster)) as source:
        values = source.read(1, window=window.ranges)
        geobox = geobox_of(source)
    areas = PixelAreas(geobox)
    pixels = np.bincount(values.ravel(), minlength=256).astype(np.int64)
    units = sum_by(values.ravel(), areas.read(window).ravel(), 256)
    return Tally(pixels, units, areas.unit)
