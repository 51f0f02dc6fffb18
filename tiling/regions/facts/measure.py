"""Facts of numbered regions of a raster of any size: each tile adds up what lies in it, and the
sums of all tiles meet in a file.

Every fact is a whole number that adds up, or an extreme: the same however the raster is cut. There
may be more regions than memory holds; they are numbered in raster order, so what is written at a
time lies close together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.spill import Map, load_arrays, save_arrays
from tiling.regions.facts.columns import LONGEST, Layout, TileFacts, add_up
from tiling.regions.facts.region_facts import RegionFacts
from tiling.regions.facts.sides import measure_sides
from tiling.regions.passes import Passes, RasterPixels, Read


@dataclass(frozen=True)
class Survey:
    """Numbered regions and what describes them, equal for every tile."""

    numbers: Path
    values: Read
    areas: PixelAreas
    scratch: Path

    def file(self, window: Window) -> Path:
        """The file in which the facts of a tile wait."""
        return self.scratch / f"{window.row}-{window.col}.facts.npy"


def measure_regions(
    numbers: Path,
    n: int,
    values: Read,
    areas: PixelAreas,
    bands: int,
    *,
    scratch: Path,
    tile: int = 1024,
    map: Map = map,
) -> RegionFacts:
    """The facts of the regions 1 … n of a raster, 0 being none, as `write_numbers` leaves it; the
    same for every `tile`.

    `values` gives so many `bands` of whole numbers below 2³⁰ for the pixels of every region. Facts
    stay in a file in `scratch`, 60 to 90 B for each region and 40 B more for each band. `map` may
    work elsewhere, as long as results come in order and the folder is there too. Raises
    `InputError` for rasters more than 2²⁴ pixels wide or high, and for larger values.
    """
    height, width = areas.geobox.shape
    if max(height, width) > LONGEST:
        raise InputError(f"{numbers} has {height} × {width} px; regions are measured up to 2²⁴")
    survey = Survey(numbers, values, areas, scratch)
    passes = Passes.over((height, width), tile, map)
    facts = RegionFacts.create(scratch / "facts.npy", n, Layout(bands), areas)
    sums, reach = facts.open("r+")
    for window, _ in zip(
        passes.windows.values(),
        map(partial(survey_facts, survey), passes.windows.values()),
        strict=True,
    ):
        file = survey.file(window)
        found = TileFacts(*load_arrays(file, 3))
        file.unlink()
        rows = found.numbers - 1
        sums[rows] += found.sums
        reach[rows] = np.maximum(reach[rows], found.reach)
    return facts


def survey_facts(survey: Survey, window: Window) -> None:
    """The pass over a tile: leaves the facts of what lies in it."""
    around = window.pad(1)
    (pixels,), numbered = RasterPixels(survey.numbers, 0)(around)
    values, valid = survey.values(around)
    facts = add_up(
        np.where(numbered, pixels, 0),
        np.where(valid, values, 0),
        survey.areas.read(window),
        measure_sides(survey.areas.geobox, window.row, window.row_stop),
        window,
    )
    save_arrays(survey.file(window), *facts)
