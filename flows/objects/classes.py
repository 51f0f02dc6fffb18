"""The class of every pixel of a panoptic map: that of its object, or the likeliest of those that
are not counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from flows.compute.pool import Pool
from flows.objects.about import about_objects
from flows.partitions.partition import Judged
from flows.products.class_areas import ClassArea, write_areas
from flows.regions.plan import ObjectsPlan
from flows.storage.run_folder import RunFolder
from segmentation.legend import LandClass, Legend
from tiling.cog.write import write_cog
from tiling.formats.geotiff import write_masked
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch, write_text
from tiling.io.profiles import plain_profile
from tiling.scene.scene import Scene

BLOCK = 1024


@dataclass(frozen=True)
class Stuff:
    """What says which class a pixel has; it travels."""

    numbers: Path
    """Numbers of objects on the scene's grid."""
    values: npt.NDArray[np.uint8]
    """The class of object 1, 2, 3 …, after a 0."""
    scene: Scene
    bands: tuple[str, ...]
    """How likely the classes are that are not counted, in percent."""
    classes: npt.NDArray[np.uint8]
    """Their values, in the order of the bands."""


def classify(stuff: Stuff, window: Window) -> npt.NDArray[np.uint8]:
    """`(y, x)` the classes of a window, 0 = no data."""
    chip = stuff.scene.read(window, stuff.bands)
    likeliest = stuff.classes[chip["pixels"].values.argmax(axis=0)]
    with open_dataset(str(stuff.numbers)) as source:
        numbers = source.read(1, window=window.ranges)
    here = np.where(chip["valid"].values, likeliest, 0)
    return np.where(numbers > 0, stuff.values[numbers], here).astype(np.uint8)


def write_classes(
    plan: ObjectsPlan, numbers: Path, judged: Judged, folder: RunFolder, pool: Pool
) -> tuple[ClassArea, ...]:
    """Write `classes.tif` and `areas.csv` of a panoptic map, and say what they hold.

    `numbers` are those of the objects that are shown, `judged` says what they are. A pixel of one
    that is left out has the likeliest class that is not counted, one of a filled hole that of its
    object.
    """
    rows, bands = plan.partition.classes, plan.partition.class_bands
    values = np.append(0, judged.values).astype(np.uint8)
    kept = np.array(list(bands), np.uint8)
    stuff = Stuff(numbers, values, plan.scene, tuple(bands.values()), kept)
    windows = list(Window.of_shape(*plan.scene.geobox.shape).blocks(BLOCK))
    target = folder.product("classes.tif")
    with scratch(folder.path) as work:
        plain = work / "classes-plain.tif"
        with rasterio.open(plain, "w", **plain_profile(plan.scene.geobox, "uint8", 0)) as out:
            done: Iterator[npt.NDArray[np.uint8]] = pool.map(partial(classify, stuff), windows)
            for window, pixels in zip(windows, done, strict=True):
                out.write(pixels, 1, window=window.ranges)
        if plan.outline is not None:
            plain = write_masked(plain, work / "classes.tif", plan.outline, plan.window)
        about, whole = about_objects(plan), Part(plain, Window.of_shape(*plan.window.shape))
        described = write_mosaic(
            work / "classes.vrt", [whole], plan.geobox, 1, nodata=0, legend=rows, tags=about.tags
        )
        write_cog(described, target, overviews="mode", map=pool.map)
        write_text(target.with_suffix(".qmd"), about.qmd)
    legend = Legend(classes=tuple(LandClass(value=v, name=n, colour=c) for v, n, c in rows))
    return write_areas(target, legend, folder, pool)
