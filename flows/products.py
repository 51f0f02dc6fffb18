"""The files a GIS user gets: two rasters and a vector layer, each written under a temporary name first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import rasterio

from flows.cluster import Pool
from flows.plan import Plan
from flows.progress import Progress, counted, silent
from flows.run import RunFolder, write_whole
from tiling.mosaic import scratch, write_cog, write_masked, write_mosaic
from tiling.parts import NO_CONFIDENCE, Part
from tiling.window import Window

T = TypeVar("T")
R = TypeVar("R")

POLYGON_TILE = 1024
LAYER = "landcover"


@dataclass(frozen=True)
class Rasters:
    """The rasters of a run."""

    classes: Path
    confidence: Path | None


def write_rasters(plan: Plan, parts: list[Part], folder: RunFolder, progress: Progress = silent) -> Rasters:
    """`classes.tif` with its colours and names, and `confidence.tif` where it is wanted and the segmenter has one."""
    from tiling.style import raster_qml

    wanted = [("classes", 1, 0, plan.segmenter.legend.rows, "mode")]
    if "confidence" in plan.request.products and all(part.bands > 1 for part in parts):
        wanted.append(("confidence", 2, NO_CONFIDENCE, (), "average"))
    with scratch(folder.path) as work:
        for name, band, nodata, legend, overviews in counted(wanted, "join", len(wanted), progress):
            mosaic = write_mosaic(work / f"{name}.vrt", parts, plan.scene.geobox, band, nodata=nodata, legend=legend)
            if plan.outline is not None:
                masked = write_masked(mosaic, work / f"{name}-masked.tif", plan.outline, plan.window)
                whole = Part(masked, Window.of_shape(*plan.window.shape), 1, {})
                mosaic = write_mosaic(
                    work / f"{name}-masked.vrt", [whole], plan.geobox, 1, nodata=nodata, legend=legend
                )
            write_cog(mosaic, folder.product(f"{name}.tif"), overviews=overviews)
    write_whole(folder.product("classes.qml"), raster_qml(plan.segmenter.legend.rows))
    return Rasters(folder.product("classes.tif"), folder.product("confidence.tif") if len(wanted) > 1 else None)


def write_vectors(plan: Plan, rasters: Rasters, folder: RunFolder, pool: Pool, progress: Progress = silent) -> int:
    """`landcover.gpkg`, and how many polygons it holds."""
    from tiling.geopackage import write_geopackage
    from tiling.polygons import polygonise

    with rasterio.open(rasters.classes) as raster:
        crs, tiles = raster.crs, -(-raster.height // POLYGON_TILE) * -(-raster.width // POLYGON_TILE)

    passes = 0

    def watched(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        nonlocal passes
        passes += 1
        return counted(pool.map(function, items), "vectorise", 2 * tiles, progress, start=(passes - 1) * tiles)

    batches = polygonise(rasters.classes, nodata=0, confidence=rasters.confidence, tile=POLYGON_TILE, map=watched)
    return write_geopackage(
        folder.product(f"{LAYER}.gpkg"),
        batches,
        crs=crs,
        legend=plan.segmenter.legend.rows,
        layer=LAYER,
        title=f"Land cover of {plan.scene.name}",
        description=f"Segmented by {plan.segmenter.kind} with landweave",
    )
