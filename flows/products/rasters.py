"""The rasters of a run, each written under a temporary name first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from odc.geo.geobox import GeoBox

from flows.compute.progress import Progress, report_items, report_results, silent
from flows.plan.plan import Plan, not_sure
from flows.products.about import about_raster, model_name
from flows.products.vectorise import SIEVE, tiles_of
from flows.requests.request import smallest
from flows.storage.run_folder import RunFolder
from segmentation.legend import UNKNOWN
from segmentation.segmenter import Measure
from tiling.classmaps.majority import Ballot, add_scores, write_majority
from tiling.classmaps.raster import NO_CONFIDENCE
from tiling.classmaps.unknown import write_unknown
from tiling.cog.write import write_cog
from tiling.formats.geotiff import write_masked
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.spill import Map
from tiling.regions.sieving.fill_holes import fill_holes
from tiling.regions.sieving.sieve import sieve

BESIDE = ("confidence", *get_args(Measure))
"""Rasters beside the classes, of 0–100 or, of layers, 0 and 1; 255 where there is no data."""


@dataclass(frozen=True)
class ObjectNumbers:
    """The objects that are to have one class each."""

    raster: Path
    """On the grid of the scene: objects 1 … n, 0 = none."""
    n: int


@dataclass(frozen=True)
class Rasters:
    """The rasters of a run."""

    classes: Path
    confidence: Path | None
    measures: tuple[Path, ...] = ()
    """Percents in one band or several (probabilities, entropy, margin), and layers."""


def write_rasters(
    plan: Plan,
    parts: list[Part],
    folder: RunFolder,
    progress: Progress = silent,
    *,
    objects: ObjectNumbers | None = None,
    map: Map = map,
) -> Rasters:
    """`classes.tif` with its colours and names, `confidence.tif` where the segmenter has one,
    measures asked for, and `layers.tif` where pixels may have several labels.

    Pixels of an object take the class that it is of, and the share of that as confidence. Pixels of
    less confidence than asked for become Unknown; then regions below the smallest area asked for go
    to a neighbour, and small holes to what is around them. All keep the confidence they had. `map`
    works on tiles, and keeps their order.
    """
    with scratch(folder.path) as work:
        mosaics = {
            name: write_parts(plan, parts, name, work)
            for name in ("classes", *BESIDE)
            if parts[0].bands_of(name)
        }
        if objects:
            mosaics |= _classify_objects(plan, mosaics, objects, work, map)
        wanted = [
            "classes",
            *(
                name
                for name in BESIDE
                if name in mosaics and name in (*plan.request.products, "layers")
            ),
        ]
        for name in report_items(wanted, "join", len(wanted), progress):
            classes = name == "classes"
            mosaic = cut_out(plan, mosaics[name], name, work)
            if classes and plan.request.unknown_below:
                mosaic = _leave_unsure_out(plan, mosaics.get("confidence"), mosaic, work)
            if classes and plan.request.min_area != 0:
                mosaic = _leave_small_out(plan, mosaic, work, progress, map)
            if classes and plan.request.fill_holes:
                mosaic = _fill_holes(plan, mosaic, work, progress, map)
            write_cog(
                mosaic,
                folder.product(f"{name}.tif"),
                overviews="mode" if name in ("classes", "layers") else "average",
                map=map,
            )
    paths = {name: folder.product(f"{name}.tif") for name in wanted}
    return Rasters(paths.pop("classes"), paths.pop("confidence", None), tuple(paths.values()))


def write_parts(plan: Plan, parts: Sequence[Part], name: str, work: Path) -> Path:
    """A VRT in `work` of what the parts say of a product, on the grid of the scene."""
    bands = parts[0].bands_of(name)
    mosaic = work / f"{name}.vrt"
    return write_mosaic(mosaic, parts, plan.scene.geobox, *bands, **_describe(plan, name))


def cut_out(plan: Plan, mosaic: Path, name: str, work: Path) -> Path:
    """A raster of a product on the grid of the scene, inside the area of interest."""
    if plan.outline is None:
        return mosaic
    masked = write_masked(mosaic, work / f"{name}-masked.tif", plan.outline, plan.window)
    with open_dataset(str(mosaic)) as raster:
        return _describe_file(plan, name, masked, plan.geobox, raster.count)


def _classify_objects(
    plan: Plan, mosaics: Mapping[str, Path], objects: ObjectNumbers, work: Path, map: Map
) -> dict[str, Path]:
    """Classes and confidence, pixels of an object with those of the whole object."""
    ballot = Ballot(
        objects.raster,
        mosaics["classes"],
        plan.segmenter.legend.values,
        mosaics.get("probabilities"),
        mosaics.get("confidence"),
    )
    classes, confidence = work / "classes-of-objects.tif", work / "confidence-of-objects.tif"
    sums = add_scores(ballot, objects.n, work / "scores.npy", map=map)
    write_majority(ballot, sums, classes, confidence, map=map)
    whole = plan.scene.geobox
    return {
        "classes": _describe_file(plan, "classes", classes, whole),
        "confidence": _describe_file(plan, "confidence", confidence, whole),
    }


def _leave_unsure_out(plan: Plan, confidence: Path | None, classes: Path, work: Path) -> Path:
    """The classes with Unknown where the confidence is less than asked for."""
    if confidence is None:
        raise not_sure(model_name(plan.segmenter))  # its class has not said so
    marked = write_unknown(
        classes,
        confidence,
        work / "classes-sure.tif",
        plan.window,
        below=plan.request.unknown_below,
        value=plan.legend.value_of(UNKNOWN),
    )
    return _describe_file(plan, "classes", marked, plan.geobox)


def _leave_small_out(plan: Plan, classes: Path, work: Path, progress: Progress, map: Map) -> Path:
    """The classes without regions below the smallest area."""
    minimum, unit = smallest(plan.request.min_area)
    with report_results(map, "sieve", SIEVE * tiles_of(classes), progress) as counting:
        large = sieve(
            classes,
            work / "classes-sieved.tif",
            minimum=minimum,
            unit=unit,
            rule=plan.request.min_area_rule,
            map=counting,
        )
    return _describe_file(plan, "classes", large, plan.geobox)


def _fill_holes(plan: Plan, classes: Path, work: Path, progress: Progress, map: Map) -> Path:
    """The classes without holes below the area asked for."""
    with report_results(map, "fill holes", SIEVE * tiles_of(classes), progress) as counting:
        filled = fill_holes(
            classes, work / "classes-filled.tif", minimum=plan.request.fill_holes, map=counting
        )
    return _describe_file(plan, "classes", filled, plan.geobox)


def _describe(plan: Plan, name: str) -> dict[str, Any]:
    """What a product says of itself, as `write_mosaic` takes it."""
    classes = name == "classes"
    return {
        "nodata": 0 if classes else NO_CONFIDENCE,
        "legend": plan.legend.rows if classes else (),
        "names": band_names(plan, name),
        "tags": about_raster(plan, name).tags,
    }


def _describe_file(plan: Plan, name: str, pixels: Path, grid: GeoBox, bands: int = 1) -> Path:
    """A VRT beside a file of the product's pixels on a grid that says what they are."""
    whole = Part(pixels, Window.of_shape(grid.height, grid.width))
    numbers = range(1, bands + 1)
    described = _describe(plan, name)
    return write_mosaic(pixels.with_suffix(".vrt"), [whole], grid, *numbers, **described)


def band_names(plan: Plan, product: str) -> tuple[str, ...]:
    """What the bands of a raster of percents or layers are called; that of the classes has no
    name."""
    if product in ("probabilities", "layers"):
        names = tuple(name for _, name, _ in plan.segmenter.legend.rows)
        return names[product == "layers" :]
    return () if product == "classes" else (product,)
