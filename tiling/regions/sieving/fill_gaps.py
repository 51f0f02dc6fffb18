"""Gaps inside numbered regions are filled: what is no region and lies in one alone goes to it, the
same however the raster is cut.

A gap is what hangs together along sides, has data, and is part of no region. It belongs to a region
if it touches that and nothing else: no other region, no pixel without data, no edge of the raster.
So an island in a lake keeps the lake around it, and no region is lost. (Of a class map everything
is some class, and what lies in a hole is lost with it: `tiling.regions.sieving.fill_holes`.)

Three passes: gaps and the sides of tiles; what each gap touches; the new pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.spill import Map, load_arrays, read_together, save_arrays, write_together
from tiling.regions.components import OUTSIDE, Border, Ids, TileRegions
from tiling.regions.passes import Flags, Passes, Place, RasterPixels, Read
from tiling.regions.region_values import RegionValues
from tiling.regions.seams import Seams

Numbers = npt.NDArray[np.int64]

NOTHING, ANYTHING = np.iinfo(np.int64).max, 0
"""The smallest number that a gap touches while it touches none, and when it touches the outside."""


def fill_gaps(
    numbers: Path,
    valid: Read,
    target: Path,
    *,
    minimum: float,
    tile: int = 1024,
    map: Map = map,
) -> Path:
    """Write a raster of numbered regions, 0 = none, in which no gap inside one is smaller than
    `minimum`, in m², as a plain tiled GeoTIFF; the same for every `tile`.

    `valid` says of the pixels of a window whether they have data. Areas are ellipsoidal. `map` may
    work elsewhere, as long as results come in order and the folder of `target` is there too.
    """
    with open_dataset(str(numbers)) as source:
        areas = PixelAreas(geobox_of(source))
    with scratch(target.parent) as folder:
        job = Gaps(numbers, valid, areas, folder)
        passes = Passes.over(areas.geobox.shape, tile, map)
        passes.survey(partial(survey_gaps, job))
        borders = {
            place: Border.from_arrays(read_together(job.file(window, ".border.npy")))
            for place, window in passes.windows.items()
        }
        seams = Seams.between(borders)

        def context(place: Place) -> tuple[Window, Seams]:
            own = [side.ids for side in borders[place]]
            return passes.windows[place], seams.restrict_to(*own)

        found = dict(
            zip(passes.windows, passes.tell(partial(look_around, job), context), strict=True)
        )
        verdicts = decide(list(found.values()), math.ceil(minimum / areas.unit))

        def verdict(place: Place) -> tuple[Window, Seams, RegionValues]:
            return *context(place), verdicts.restrict_to(found[place].ids)

        written = folder / "filled.tif"
        passes.write(partial(fill, job), verdict, numbers, written)
        written.replace(target)
    return target


@dataclass(frozen=True)
class Gaps:
    """Numbered regions and what is none, equal for every tile."""

    numbers: Path
    valid: Read
    areas: PixelAreas
    folder: Path

    def file(self, window: Window, suffix: str) -> Path:
        """The file in which something of a tile waits, by its suffix."""
        return self.folder / f"{window.row}-{window.col}{suffix}"

    def look(self, window: Window) -> tuple[Numbers, Flags]:
        """`(y, x)` numbers, -1 where there is no data, and whether a pixel is part of a gap."""
        (pixels,), _ = RasterPixels(self.numbers)(window)
        known = self.valid(window)[1]
        found = np.where((pixels == 0) & ~known, -1, pixels.astype(np.int64))
        return found, found == 0

    def regions(self, window: Window) -> TileRegions:
        """The gaps of a tile that the first pass has labelled."""
        return TileRegions.from_arrays(window.shape, load_arrays(self.file(window, ".gaps.npy"), 7))


class Touched(NamedTuple):
    """What gaps are and touch: parallel arrays."""

    ids: Ids
    area: Numbers
    """In units of area."""
    least: Numbers
    """The smallest number of what a gap touches; `NOTHING` or `ANYTHING`."""
    most: Numbers
    """The greatest."""


def survey_gaps(job: Gaps, window: Window) -> None:
    """First pass over a tile: leaves its gaps, and those along its sides."""
    _, gap = job.look(window)
    found = TileRegions.of(gap.view(np.uint8), window, job.areas.geobox.shape[1], 0)
    save_arrays(job.file(window, ".gaps.npy"), *found.arrays)
    write_together(job.file(window, ".border.npy"), found.border.arrays)


def look_around(job: Gaps, tile: tuple[Window, Seams]) -> Touched:
    """Second pass over a tile: what lies in it of each gap, and what that touches."""
    window, seams = tile
    found = job.regions(window)
    number, gap = job.look(window.pad(1))
    inside = gap[1:-1, 1:-1]
    label = found.labels[inside]
    n = found.ids.size
    least, most = np.full(n, NOTHING), np.full(n, -1)
    for rows, cols in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beyond = number[rows : rows + window.height, cols : cols + window.width][inside]
        np.minimum.at(
            least, label, np.where(beyond < 0, ANYTHING, np.where(beyond, beyond, NOTHING))
        )
        np.maximum.at(most, label, beyond)
    area = found.sum_pixels(job.areas.read(window))
    chosen = found.ids != OUTSIDE
    ids = seams.final_ids(found.ids[chosen])
    return merge([Touched(ids, area[chosen], least[chosen], most[chosen])])


def merge(tiles: Sequence[Touched]) -> Touched:
    """Gaps whole, ascending by id."""
    ids, of = np.unique(np.concatenate([tile.ids for tile in tiles]), return_inverse=True)
    area, most = np.zeros(ids.size, np.int64), np.full(ids.size, -1)
    least = np.full(ids.size, NOTHING)
    np.add.at(area, of, np.concatenate([tile.area for tile in tiles]))
    np.minimum.at(least, of, np.concatenate([tile.least for tile in tiles]))
    np.maximum.at(most, of, np.concatenate([tile.most for tile in tiles]))
    return Touched(ids, area, least, most)


def decide(tiles: Sequence[Touched], minimum: int) -> RegionValues:
    """The region that each small gap inside one goes to."""
    gaps = merge(tiles)
    goes = (gaps.least == gaps.most) & (gaps.area < minimum)
    return RegionValues(gaps.ids[goes], gaps.most[goes])


def fill(job: Gaps, tile: tuple[Window, Seams, RegionValues]) -> npt.NDArray[np.generic]:
    """Last pass over a tile: `(y, x)` its numbers with gaps filled."""
    window, seams, verdicts = tile
    found = job.regions(window)
    (pixels,), _ = RasterPixels(job.numbers)(window)
    ids = np.where(found.ids == OUTSIDE, OUTSIDE, seams.final_ids(found.ids))
    into = verdicts.over(ids, np.zeros(ids.size, np.int64))
    filled: npt.NDArray[np.generic] = np.where(pixels > 0, pixels, found.paint(into)).astype(
        pixels.dtype
    )
    return filled
