"""The rasters of a partition, cloud-optimised, inside the area of interest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items, silent
from flows.objects.about import about_objects
from flows.objects.classes import write_classes
from flows.objects.selection import choose_regions
from flows.partitions.partition import Judged
from flows.products.class_areas import ClassArea
from flows.regions.levels import Regions, name_levels
from flows.regions.plan import ObjectsPlan
from flows.storage.run_folder import RunFolder
from tiling.cog.write import write_cog
from tiling.formats.about import About
from tiling.formats.geotiff import write_masked
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch, write_text
from tiling.io.spill import Map


class LevelRaster(NamedTuple):
    """A partition as the products show it."""

    name: str
    """Of its raster and its layer."""
    scale: float | None
    raster: Path
    """Of uint32: a region has the same number for every area of interest; 0 = none."""
    n: int
    """How many regions the whole scene has."""
    judged: Judged | None = None
    """What the method says of each."""
    areas: tuple[ClassArea, ...] = ()
    """Of the classes of a panoptic map."""


def write_rasters(
    plan: ObjectsPlan,
    levels: Sequence[Regions],
    folder: RunFolder,
    pool: Pool,
    progress: Progress = silent,
) -> list[LevelRaster]:
    """`objects.tif`, or one raster for each of several levels; of a panoptic map the classes of all
    pixels as well, of the objects that are shown."""
    names = name_levels([level.scale for level in levels])
    written = []
    with scratch(folder.path) as work:
        for name, level in report_items(
            list(zip(names, levels, strict=True)), "join", len(levels), progress
        ):
            about = about_objects(plan, level.scale)
            target = folder.product(f"{name}.tif")
            chosen = choose_regions(plan, level, work, pool.map)
            write_raster(plan, chosen.numbers, about, target, work, map=pool.map)
            judged, areas = level.judged, tuple[ClassArea, ...]()
            if plan.partition.classes:
                assert judged is not None  # a panoptic map's objects have classes
                areas = write_classes(plan, chosen.numbers, judged, folder, pool)
            written.append(LevelRaster(name, level.scale, target, level.n, judged, areas))
    return written


def write_raster(
    plan: ObjectsPlan, pixels: Path, about: About, target: Path, work: Path, *, map: Map = map
) -> None:
    """Write what the products show of a raster on the scene's grid, 0 = no data, with what it says
    of itself."""
    with open_dataset(str(pixels)) as source:
        dtype = source.dtypes[0]
    if plan.outline is not None:
        pixels = write_masked(pixels, work / f"{target.stem}-masked.tif", plan.outline, plan.window)
    whole = Part(pixels, Window.of_shape(*plan.window.shape))
    described = work / f"{target.stem}.vrt"
    write_mosaic(described, [whole], plan.geobox, 1, nodata=0, tags=about.tags, dtype=dtype)
    write_cog(described, target, overviews="mode", map=map)
    write_text(target.with_suffix(".qmd"), about.qmd)
