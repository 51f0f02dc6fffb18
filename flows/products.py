"""The files a GIS user gets: two rasters, a vector layer and a project, each written under a temporary name first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from flows.measures import index_columns, index_measures
from flows.plan import Plan
from flows.pools import Pool
from flows.progress import Progress, counted, silent, watched
from flows.request import SMALLEST
from flows.run import RunFolder, versions, write_whole
from flows.vectorise import SIEVE, polygons, tiles_of
from segmentation.bundled import Bundled
from segmentation.segmenter import Measure, Segmenter
from tiling.mosaic import scratch, write_cog, write_masked, write_mosaic
from tiling.parts import NO_CONFIDENCE, Part
from tiling.sieve import sieved
from tiling.spill import Map
from tiling.window import Window

if TYPE_CHECKING:
    from tiling.layer import Layer
    from tiling.project import Beside

LAYER = "landcover"

NATURAL = (("red", "green", "blue"), ("nir", "red", "green"), ("swir16", "nir", "red"))
"""Bands shown as red, green and blue: as the eye sees them, or as maps of vegetation show them."""

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
    """`classes.tif` with its colours and names, `confidence.tif` where the segmenter has one, and measures asked for.

    Regions below the smallest area asked for go to a neighbour; their pixels keep the confidence they had. `map` works
    on tiles, and keeps their order.
    """

    def whole(pixels: Path) -> Part:
        return Part(pixels, Window.of_shape(*plan.window.shape))

    wanted = ["classes", *(name for name in PERCENTS if name in plan.request.products and parts[0].bands_of(name))]
    with scratch(folder.path) as work:
        for name in counted(wanted, "join", len(wanted), progress):
            bands, classes = parts[0].bands_of(name), name == "classes"
            legend, nodata = (plan.segmenter.legend.rows, 0) if classes else ((), NO_CONFIDENCE)
            what: dict[str, Any] = {"nodata": nodata, "legend": legend, "names": band_names(plan, name)}
            mosaic = write_mosaic(work / f"{name}.vrt", parts, plan.scene.geobox, *bands, **what)
            if plan.outline is not None:
                masked = write_masked(mosaic, work / f"{name}-masked.tif", plan.outline, plan.window)
                every = range(1, len(bands) + 1)
                mosaic = write_mosaic(work / f"{name}-masked.vrt", [whole(masked)], plan.geobox, *every, **what)
            if classes and plan.request.min_area != 0:
                minimum, unit = smallest(plan.request.min_area)
                rule = plan.request.min_area_rule
                with watched(map, "sieve", SIEVE * tiles_of(mosaic), progress) as counting:
                    large = sieved(
                        mosaic, work / "classes-sieved.tif", minimum=minimum, unit=unit, rule=rule, map=counting
                    )
                mosaic = write_mosaic(work / "classes-sieved.vrt", [whole(large)], plan.geobox, 1, **what)
            write_cog(mosaic, folder.product(f"{name}.tif"), overviews="mode" if classes else "average")
    paths = {name: folder.product(f"{name}.tif") for name in wanted}
    return Rasters(paths.pop("classes"), paths.pop("confidence", None), tuple(paths.values()))


def smallest(min_area: float | None) -> tuple[float, Literal["m2", "pixels"]]:
    """The smallest region of a map, and what that counts: square metres, or pixels where nobody asked for any."""
    return (SMALLEST, "pixels") if min_area is None else (min_area, "m2")


def band_names(plan: Plan, product: str) -> tuple[str, ...]:
    """What the bands of a raster of percents are called; those of the classes have no name."""
    if product == "probabilities":
        return tuple(name for _, name, _ in plan.segmenter.legend.rows)
    return () if product == "classes" else (product,)


def write_vectors(plan: Plan, rasters: Rasters, folder: RunFolder, pool: Pool, progress: Progress = silent) -> int:
    """`landcover.gpkg`, and how many polygons it holds."""
    from tiling.vectors import write_vectors as write

    with scratch(folder.path) as work:
        batches = polygons(
            rasters.classes,
            pool,
            progress,
            nodata=0,
            confidence=rasters.confidence,
            simplify=plan.request.simplify,
            smooth=plan.request.smooth,
            measures=index_measures(plan.scene, plan.request.indices, plan.window),
            scratch=work,
        )
        return write(folder.product(f"{LAYER}.gpkg"), batches, layer_of(plan))


def drop_stale(plan: Plan, rasters: Rasters, folder: RunFolder) -> None:
    """Remove what an earlier run with other wishes left: the products of a folder are those of one run."""
    for name in PERCENTS:
        path = folder.product(f"{name}.tif")
        if path not in (rasters.confidence, *rasters.measures):
            path.unlink(missing_ok=True)
            path.with_suffix(".qml").unlink(missing_ok=True)
    if "vectors" not in plan.request.products:
        folder.product(f"{LAYER}.gpkg").unlink(missing_ok=True)


def write_project(plan: Plan, rasters: Rasters, folder: RunFolder, classes: Collection[int]) -> None:
    """`landcover.qgs`: the map in QGIS, at one click; and `classes.qml`. Both list the classes that occur."""
    from tiling.project import Beside, project
    from tiling.style import SURE, ramp_qml, raster_qml

    vectors = folder.product(f"{LAYER}.gpkg")
    shown = (vectors, layer_of(plan)) if "vectors" in plan.request.products else None
    title = f"Land cover of {plan.scene.name}"
    legend = [row for row in plan.segmenter.legend.rows if row[0] in classes]
    write_whole(folder.product("classes.qml"), raster_qml(legend))
    percents = [Beside(path.stem.capitalize(), path) for path in (rasters.confidence, *rasters.measures) if path]
    for other in percents:
        write_whole(other.path.with_suffix(".qml"), ramp_qml(SURE, 0, 100))
    write_whole(
        folder.product(f"{LAYER}.qgs"),
        project(title, rasters.classes, legend, shown, beside=[*percents, *([] if folder.remote else image_of(plan))]),
    )


def image_of(plan: Plan) -> list[Beside]:
    """The image itself, where it is one file of this machine with bands that a person sees as colours."""
    from tiling.project import Beside
    from tiling.remote import is_local

    names = set(plan.scene.band_names)
    trio = next((trio for trio in NATURAL if set(trio) <= names), None)
    bands = [plan.scene.band(name) for name in trio or ()]
    if len({band.path for band in bands}) != 1 or not is_local(bands[0].path) or plan.scene.beneath:
        return []
    return [Beside("Image", Path(bands[0].path).resolve(), tuple(band.index for band in bands))]


def history_of(plan: Plan) -> tuple[str, ...]:
    """What a map was made of and with, a sentence each."""
    day = f" of {plan.scene.date}" if plan.scene.date else ""
    name, kind = model_name(plan.segmenter), plan.segmenter.kind
    minimum, unit = smallest(plan.request.min_area)
    small = f"Regions below {minimum:g} {'pixels' if unit == 'pixels' else 'm²'} went to a neighbour"
    return (
        f"Source: {plan.scene.title}{day}, bands {', '.join(plan.bands)}",
        f"Segmented by {name if name == kind else f'{name}, a {kind},'} with landweave {versions()['landweave']}",
        *([small] if minimum else []),
    )


def model_name(segmenter: Segmenter) -> str:
    """What a person calls a segmenter: the name on its bundle's card, else its kind."""
    return segmenter.opened.card.name if isinstance(segmenter, Bundled) else segmenter.kind


def layer_of(plan: Plan) -> Layer:
    """The polygons of a run, described."""
    from tiling.features import schema_of
    from tiling.layer import Layer

    return Layer(
        crs=plan.scene.crs.to_wkt(),
        schema=schema_of(index_columns(plan.request.indices)),
        legend=plan.segmenter.legend.rows,
        name=LAYER,
        title=f"Land cover of {plan.scene.name}",
        description=f"Segmented by {model_name(plan.segmenter)} with landweave",
        history=history_of(plan),
    )
