"""The area of each class of a map, as values and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from flows.compute.pool import Pool
from flows.reports.tables import write_table
from flows.storage.run_folder import RunFolder
from segmentation.legend import Legend
from tiling.classmaps.counts import TallyBlock, tally
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset

TALLY_BLOCK = 2048


@dataclass(frozen=True)
class ClassArea:
    """Pixels, area and share of the map that one class covers."""

    class_id: int
    class_name: str
    pixels: int
    area_m2: float
    share: float
    """Of the valid area, 0–1."""

    @property
    def hectares(self) -> float:
        return self.area_m2 / 10_000


def class_areas(raster: Path, legend: Legend, pool: Pool) -> tuple[ClassArea, ...]:
    """Pixels and ellipsoidal area of every class on the map, in the legend's order; absent classes
    are left out."""
    with open_dataset(str(raster)) as source:
        whole = Window.of_shape(source.height, source.width)
    total = reduce(
        add, pool.map(tally, (TallyBlock(raster, block) for block in whole.blocks(TALLY_BLOCK)))
    )
    valid = float(total.square_metres[1:].sum())
    return tuple(
        ClassArea(
            land.value,
            land.name,
            int(total.pixels[land.value]),
            float(total.square_metres[land.value]),
            float(total.square_metres[land.value]) / valid,
        )
        for land in legend.each()
        if total.pixels[land.value]
    )


def write_areas(
    raster: Path, legend: Legend, folder: RunFolder, pool: Pool
) -> tuple[ClassArea, ...]:
    """Write `areas.csv`."""
    areas = class_areas(raster, legend, pool)
    header = ["class_id", "class_name", "pixels", "area_m2", "area_ha", "share_percent"]
    rows = (
        [
            row.class_id,
            row.class_name,
            row.pixels,
            f"{row.area_m2:.2f}",
            f"{row.hectares:.4f}",
            f"{100 * row.share:.4f}",
        ]
        for row in areas
    )
    write_table(folder.product("areas.csv"), header, rows)
    return areas
