"""Spectral indices as measures of polygons: whole numbers for each pixel, so that no cut shows in
their means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from flows.plan.fit import calibrate
from segmentation.spectral import indices
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.scene import Scene

TEN_THOUSANDTHS = 10_000.0
"""In which an index becomes a whole number."""


@dataclass(frozen=True)
class IndexMeasure:
    """An index of a scene in ten thousandths, read on a grid whose first pixel is at (`row`, `col`)
    of the scene."""

    scene: Scene
    index: str
    bands: tuple[str, ...]
    row: int = 0
    col: int = 0

    missing: ClassVar[int] = np.iinfo(np.int32).min
    scale: ClassVar[float] = TEN_THOUSANDTHS

    def __call__(self, window: Window) -> npt.NDArray[np.int32]:
        """`(y, x) int32`: index × 10 000, rounded; `missing` where a pixel is invalid or the index
        beyond ± 200 000."""
        chip = self.scene.read(window.shift(self.row, self.col), self.bands)
        return in_ten_thousandths(self.index, chip)


def in_ten_thousandths(index: str, chip: xr.Dataset) -> npt.NDArray[np.int32]:
    """`(y, x) int32`: an index of a chip × 10 000, rounded; `IndexMeasure.missing` where a pixel is
    invalid or the index beyond ± 200 000."""
    values = np.rint(indices.compute(index, chip) * np.float64(TEN_THOUSANDTHS))
    limit = np.iinfo(np.int32).max
    with np.errstate(invalid="ignore"):
        there = np.abs(values) <= limit
    return np.where(there, values, IndexMeasure.missing).astype(np.int32)


def index_columns(names: Sequence[str]) -> tuple[str, ...]:
    """What the measure of each index is called: its name in lower case. `InputError` where two
    would be the same."""
    columns = tuple(dict.fromkeys(indices.find(name).name for name in names))
    for name in columns:
        # BAI burns, BaI is bare soil
        if sum(name.lower() == other.lower() for other in columns) > 1:
            raise InputError(
                f"{name} differs from another index in capitals only, and a column's name has "
                "none; take one"
            )
    return tuple(name.lower() for name in columns)


def index_measures(scene: Scene, names: Sequence[str], window: Window) -> dict[str, IndexMeasure]:
    """A measure for each index on the grid of a window of the scene; `InputError` where the bands
    do not suffice."""
    measures = {}
    chosen = dict.fromkeys(indices.find(name).name for name in names)
    for column, index in zip(index_columns(names), chosen, strict=True):
        bands = indices.index_bands(index, scene.band_names)
        measures[column] = IndexMeasure(
            calibrate(scene, bands), index, bands, window.row, window.col
        )
    return measures
