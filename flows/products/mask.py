"""`mask.tif`: what a model says of the pixels that a run leaves out, and what is near them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from flows.plan.mask import BESIDE
from flows.plan.plan import MaskPlan
from flows.products.about import origin_of
from flows.products.rasters import write_parts
from flows.requests.source import MODEL
from flows.storage.run_folder import RunFolder
from tiling.cog.write import write_cog
from tiling.formats.about import About
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.profiles import profile_like

MASK = "mask.tif"
_BLOCK = 2048


def keep_mask(plan: MaskPlan, parts: Sequence[Part], folder: RunFolder) -> None:
    """Write what the parts say into the plan's slot, with a class for the pixels around."""
    slot = plan.slot(folder)
    with scratch(folder.path) as work:
        pixels = work / "pixels.tif"
        write_grown(write_parts(plan.plan, parts, "classes", work), pixels, plan)
        if slot.remote is not None:
            slot.remote.upload(pixels)
        pixels.replace(slot.path)


def write_grown(classes: Path, target: Path, plan: MaskPlan) -> None:
    """Copy a class raster; pixels of other classes within `plan.grow` of what is left out take a
    class of their own.

    It is read in blocks with so many pixels around them, so none depends on where blocks end.
    """
    with open_dataset(str(classes)) as raster:
        whole = Window.of_shape(*raster.shape)
        with rasterio.open(target, "w", **profile_like(raster, whole)) as out:
            for block in whole.blocks(_BLOCK):
                around = block.pad(plan.grow) & whole
                values = raster.read(1, window=around.ranges)
                if plan.grow:
                    values[grown(values, plan.values, plan.grow)] = plan.legend.value_of(BESIDE)
                out.write(values[block.within(around)], 1, window=block.ranges)


def grown(
    classes: npt.NDArray[np.uint8], values: Sequence[int], distance: int
) -> npt.NDArray[np.bool_]:
    """Where a pixel of `classes (y, x)`, 0 = no data, has another class than `values`, and one of
    them lies within `distance` pixels, centre to centre."""
    from scipy.ndimage import distance_transform_edt

    hidden = np.isin(classes, values)
    if not hidden.any():
        return hidden
    near: npt.NDArray[np.bool_] = distance_transform_edt(~hidden) <= distance
    return near & ~hidden & (classes > 0)


def publish_mask(plan: MaskPlan, folder: RunFolder) -> None:
    """Write `mask.tif`, cloud-optimised, with its legend."""
    slot = plan.slot(folder)
    if not slot.path.exists():
        slot.fetch()
    grid = plan.plan.scene.geobox
    about = About(
        title=f"What is left out of {plan.plan.scene.name}",
        abstract=plan.words,
        days=sorted({str(one.date) for one in plan.plan.scene.acquisitions if one.date}),
        history=origin_of(plan.plan),
        licence=plan.plan.request.licence,
    )
    with scratch(folder.path) as work:
        described = write_mosaic(
            work / "mask.vrt",
            [Part(slot.path, Window.of_shape(grid.height, grid.width))],
            grid,
            1,
            nodata=0,
            legend=plan.legend.rows,
            tags=about.tags,
        )
        write_cog(described, folder.product(MASK), overviews="mode")


def drop_mask(folder: RunFolder) -> None:
    """Remove the mask of an earlier run of the folder; a file of a person's stays."""
    asked: Any = folder.read_record()
    for name in ("request", "source", "mask"):
        asked = asked.get(name) if isinstance(asked, dict) else None
    if isinstance(asked, str) and asked.startswith(MODEL):
        for name in (MASK, f"{MASK}.aux.xml"):
            folder.product(name).unlink(missing_ok=True)
