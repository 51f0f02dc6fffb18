"""What was measured of regions as a raster: each pixel has the figures of the region that it lies
in, for whoever looks at pixels, such as a forest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from flows.objects.measures import RowsOf, name_columns
from flows.regions.plan import ObjectsPlan
from segmentation.relief.quantum import Quantum
from tiling.cog.write import write_cog
from tiling.grid.window import Window
from tiling.io.profiles import plain_profile
from tiling.io.spill import Map
from tiling.regions.facts.region_facts import RegionFacts
from tiling.regions.passes import RasterPixels

MEASURES = ("mean", "std")
"""Of each band, one after the other."""


@dataclass(frozen=True)
class Painting:
    """Regions and the facts of them, equal for every tile."""

    numbers: Path
    facts: RegionFacts
    quanta: tuple[Quantum, ...]


def statistics_of(plan: ObjectsPlan, rasters: Sequence[Path]) -> list[Path]:
    """The files of statistics beside the rasters of levels; none where nobody asked for them, or
    where there are no regions to describe."""
    if not plan.request.statistics or plan.partition.gives == "edges":
        return []
    return [raster.with_name(f"{raster.stem}-statistics.tif") for raster in rasters]


def write_statistics(
    plan: ObjectsPlan,
    raster: Path,
    facts: RegionFacts,
    quanta: Sequence[Quantum],
    work: Path,
    map: Map,
) -> None:
    """Write mean and standard deviation of each band over the region of each pixel, in the units of
    the band: float32, NaN where there is no region. The same bytes for every tile."""
    painting = Painting(raster, facts, tuple(quanta))
    windows = list(Window.of_shape(*plan.geobox.shape).blocks(plan.request.tile))
    names = [f"{stem}_{measure}" for stem in name_columns(plan.bands) for measure in MEASURES]
    profile = plain_profile(plan.geobox, "float32", np.nan, count=len(names))
    (target,) = statistics_of(plan, [raster])
    plain = work / f"{target.stem}-plain.tif"
    with rasterio.open(plain, "w", **profile) as out:
        out.descriptions = tuple(names)
        for window, pixels in zip(windows, map(partial(paint, painting), windows), strict=True):
            out.write(pixels, window=window.ranges)
    write_cog(plain, target, overviews="average", map=map)


def paint(painting: Painting, window: Window) -> npt.NDArray[np.float32]:
    """`(band × measure, y, x)` the figures of the regions of a tile."""
    (numbers,), inside = RasterPixels(painting.numbers, 0)(window)
    here, place = np.unique(numbers[inside], return_inverse=True)
    painted = np.full((2 * len(painting.quanta), *window.shape), np.nan, np.float32)
    if here.size:
        rows = RowsOf(painting.facts).at(here)
        for band, (quantum, mean, std) in enumerate(
            zip(painting.quanta, rows.mean, rows.std, strict=True)
        ):
            painted[2 * band, inside] = quantum.restore(mean).astype(np.float32)[place]
            painted[2 * band + 1, inside] = (quantum.step * std).astype(np.float32)[place]
    return painted
