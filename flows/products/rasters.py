"""The files a GIS user gets: two rasters, a vector layer and a project, each written under a temporary name first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from flows.compute.pool import Pool
from flows.compute.progress import Progress, counted, silent, watched
from flows.plan.plan import Plan
from flows.products.index_measures import index_columns, index_measures
from flows.products.vectorise import SIEVE, polygons, tiles_of
from flows.requests.request import SMALLEST
from flows.storage.run_folder import RunFolder, versions
from segmentation.models.trained import Bundled
from segmentation.segmenter import Measure, Segmenter
from tiling.classmaps.raster import NO_CONFIDENCE
from tiling.formats.about import About
from tiling.formats.geotiff import write_cog, write_masked
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.files import scratch, write_text
from tiling.io.spill import Map
from tiling.regions.sieve import sieved

if TYPE_CHECKING:
    from tiling.formats.layer import Layer
    from tiling.formats.qgis_project import Beside

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
            what["tags"] = about_raster(plan, name).tags
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
    from tiling.formats.vector_writers import write_vectors as write

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
            for beside in (path.with_suffix(".qml"), path.with_suffix(".qmd"), Path(f"{path}.aux.xml")):
                beside.unlink(missing_ok=True)
    if "vectors" not in plan.request.products:
        folder.product(f"{LAYER}.gpkg").unlink(missing_ok=True)


def write_project(plan: Plan, rasters: Rasters, folder: RunFolder, pixels: Mapping[int, int]) -> None:
    """`landcover.qgs`: the map in QGIS, at one click; and beside each raster its style, attribute table and metadata.

    `pixels` counts those of each class that occurs; legends list no others.
    """
    from tiling.formats.pam import class_table, ramp_table
    from tiling.formats.qgis_project import Beside, project
    from tiling.formats.qml import SURE, ramp_qml, raster_qml

    vectors = folder.product(f"{LAYER}.gpkg")
    shown = (vectors, layer_of(plan)) if "vectors" in plan.request.products else None
    legend = [row for row in plan.segmenter.legend.rows if row[0] in pixels]
    write_text(folder.product("classes.qml"), raster_qml(legend))
    write_text(folder.product("classes.qmd"), about_raster(plan, "classes").qmd)
    write_text(folder.product("classes.tif.aux.xml"), class_table(plan.segmenter.legend.rows, pixels))
    percents = [Beside(path.stem.capitalize(), path) for path in (rasters.confidence, *rasters.measures) if path]
    for other in percents:
        write_text(other.path.with_suffix(".qml"), ramp_qml(SURE, 0, 100))
        write_text(other.path.with_suffix(".qmd"), about_raster(plan, other.path.stem).qmd)
        bands = len(band_names(plan, other.path.stem))
        write_text(Path(f"{other.path}.aux.xml"), ramp_table(SURE, 0, 100, bands=bands))
    write_text(
        folder.product(f"{LAYER}.qgs"),
        project(
            about_raster(plan, "classes"),
            rasters.classes,
            legend,
            shown,
            beside=[*percents, *([] if folder.remote else image_of(plan))],
        ),
    )


def about_raster(plan: Plan, product: str) -> About:
    """What a raster of a run says of itself."""
    about = about_map(plan)
    if product == "classes":
        return about
    title = {
        "confidence": f"How sure the land cover of {plan.scene.name} is, 0 to 100",
        "probabilities": f"Probability of every class on {plan.scene.name}, in percent",
        "entropy": f"Entropy of the classes on {plan.scene.name}, in percent of the most there can be",
        "margin": f"Margin between the two likeliest classes on {plan.scene.name}, in percent",
    }[product]
    return replace(about, title=title, history=origin_of(plan))


def about_map(plan: Plan) -> About:
    """What the products of a run say of themselves; nothing of the clock, for the same map has the same bytes."""
    return About(
        title=f"Land cover of {plan.scene.name}",
        abstract=f"Segmented by {model_name(plan.segmenter)} with landweave",
        days=sorted({str(layer.date) for layer in plan.scene.layers if layer.date}),
        history=history_of(plan),
        licence=plan.request.licence,
    )


def image_of(plan: Plan) -> list[Beside]:
    """The image itself, where it is one file of this machine with bands that a person sees as colours."""
    from tiling.formats.qgis_project import Beside
    from tiling.io.urls import is_local

    names = set(plan.scene.band_names)
    trio = next((trio for trio in NATURAL if set(trio) <= names), None)
    bands = [plan.scene.band(name) for name in trio or ()]
    if len({band.path for band in bands}) != 1 or not is_local(bands[0].path) or plan.scene.beneath:
        return []
    return [Beside("Image", Path(bands[0].path).resolve(), tuple(band.index for band in bands))]


def origin_of(plan: Plan) -> tuple[str, ...]:
    """What a product was made of and with, a sentence each."""
    day = f" of {plan.scene.date}" if plan.scene.date else ""
    name, kind = model_name(plan.segmenter), plan.segmenter.kind
    return (
        f"Source: {plan.scene.title}{day}, bands {', '.join(plan.bands)}",
        f"Segmented by {name if name == kind else f'{name}, a {kind},'} with landweave {versions()['landweave']}",
    )


def history_of(plan: Plan) -> tuple[str, ...]:
    """What a map was made of and with, and what became of its small regions; percents are not touched by that."""
    minimum, unit = smallest(plan.request.min_area)
    small = f"Regions below {minimum:g} {'pixels' if unit == 'pixels' else 'm²'} went to a neighbour"
    return (*origin_of(plan), *([small] if minimum else []))


def model_name(segmenter: Segmenter) -> str:
    """What a person calls a segmenter: the name on its bundle's card, else its kind."""
    return segmenter.opened.card.name if isinstance(segmenter, Bundled) else segmenter.kind


def layer_of(plan: Plan) -> Layer:
    """The polygons of a run, described."""
    from tiling.formats.layer import Layer
    from tiling.formats.schema import schema_of

    return Layer(
        crs=plan.scene.crs.to_wkt(),
        schema=schema_of(index_columns(plan.request.indices)),
        legend=plan.segmenter.legend.rows,
        name=LAYER,
        about=about_map(plan),
    )
