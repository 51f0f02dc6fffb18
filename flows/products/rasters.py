"""The rasters of a run, each written under a temporary name first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from flows.compute.progress import Progress, report_items, report_results, silent
from flows.plan.plan import Plan
from flows.products.about import about_raster
from flows.products.vectorise import SIEVE, tiles_of
from flows.requests.request import smallest
from flows.storage.run_folder import RunFolder
from segmentation.segmenter import Measure
from tiling.classmaps.raster import NO_CONFIDENCE
from tiling.formats.geotiff import write_cog, write_masked
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.files import scratch
from tiling.io.spill import Map
from tiling.regions.sieve import sieve

if TYPE_CHECKING:
    pass


PERCENTS = ("confidence", *get_args(Measure))
"""Rasters of 0–100, 255 where there is no data."""


@dataclass(frozen=True)
class Rasters:
    """The rasters of a run."""

    classes: Path
    confidence: Path | None
    measures: tuple[Path, ...] = ()
    """Percents in one band or several: probabilities, entropy, margin."""


def write_rasters(
    plan: Plan, parts: list[Part], folder: RunFolder, progress: Progress = silent, *, map: Map = map
) -> Rasters:
    """`classes.tif` with its colours and names, `confidence.tif` where the segmenter has one, and
    measures asked for.

    Regions below the smallest area asked for go to a neighbour; their pixels keep the confidence
    they had. `map` works on tiles, and keeps their order.
    """

    def whole(pixels: Path) -> Part:
        return Part(pixels, Window.of_shape(*plan.window.shape))

    wanted = [
        "classes",
        *(name for name in PERCENTS if name in plan.request.products and parts[0].bands_of(name)),
    ]
    with scratch(folder.path) as work:
        for name in report_items(wanted, "join", len(wanted), progress):
            bands, classes = parts[0].bands_of(name), name == "classes"
            legend, nodata = (plan.segmenter.legend.rows, 0) if classes else ((), NO_CONFIDENCE)
            what: dict[str, Any] = {
                "nodata": nodata,
                "legend": legend,
                "names": band_names(plan, name),
            }
            what["tags"] = about_raster(plan, name).tags
            mosaic = write_mosaic(work / f"{name}.vrt", parts, plan.scene.geobox, *bands, **what)
            if plan.outline is not None:
                masked = write_masked(
                    mosaic, work / f"{name}-masked.tif", plan.outline, plan.window
                )
                every = range(1, len(bands) + 1)
                mosaic = write_mosaic(
                    work / f"{name}-masked.vrt", [whole(masked)], plan.geobox, *every, **what
                )
            if classes and plan.request.min_area != 0:
                minimum, unit = smallest(plan.request.min_area)
                rule = plan.request.min_area_rule
                with report_results(map, "sieve", SIEVE * tiles_of(mosaic), progress) as counting:
                    large = sieve(
                        mosaic,
                        work / "classes-sieved.tif",
                        minimum=minimum,
                        unit=unit,
                        rule=rule,
                        map=counting,
                    )
                mosaic = write_mosaic(
                    work / "classes-sieved.vrt", [whole(large)], plan.geobox, 1, **what
                )
            write_cog(
                mosaic, folder.product(f"{name}.tif"), overviews="mode" if classes else "average"
            )
    paths = {name: folder.product(f"{name}.tif") for name in wanted}
    return Rasters(paths.pop("classes"), paths.pop("confidence", None), tuple(paths.values()))


def band_names(plan: Plan, product: str) -> tuple[str, ...]:
    """What the bands of a raster of percents are called; those of the classes have no name."""
    if product == "probabilities":
        return tuple(name for _, name, _ in plan.segmenter.legend.rows)
    return () if product == "classes" else (product,)
