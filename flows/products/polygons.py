"""The layer and the QGIS project of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.plan.plan import Plan
from flows.products.about import about_map, about_raster
from flows.products.index_measures import index_columns, index_measures
from flows.products.rasters import BESIDE, Rasters, band_names
from flows.products.vectorise import Regions, Rename, polygons
from flows.storage.run_folder import RunFolder
from tiling.io.files import scratch, write_text
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    from tiling.formats.layer import Layer
    from tiling.formats.qgis_project import Beside


LAYER = "landcover"

NATURAL = (("red", "green", "blue"), ("nir", "red", "green"), ("swir16", "nir", "red"))
"""Bands shown as red, green and blue: as the eye sees them, or as maps of vegetation show them."""


def write_vectors(
    plan: Plan, rasters: Rasters, folder: RunFolder, pool: Pool, progress: Progress = silent
) -> int:
    """`landcover.gpkg`, and how many polygons it holds."""
    from tiling.formats.vector_writers import write_vectors as write

    with scratch(folder.path) as work:
        classes = rasters.classes
        by_class: Rename = iter
        if plan.request.max_area:
            regions = Regions(pool, progress, work, nodata=0)
            classes, by_class = regions.cut_large(classes, plan.request.max_area)
        batches = polygons(
            classes,
            pool,
            progress,
            nodata=0,
            confidence=rasters.confidence,
            simplify=plan.request.simplify,
            smooth=plan.request.smooth,
            measures=index_measures(plan.scene, plan.request.indices, plan.window),
            scratch=work,
        )
        return write(folder.product(f"{LAYER}.gpkg"), by_class(batches), layer_of(plan))


def drop_stale(plan: Plan, rasters: Rasters, folder: RunFolder) -> None:
    """Remove what an earlier run with other wishes left: the products of a folder are those of one
    run."""
    for name in BESIDE:
        path = folder.product(f"{name}.tif")
        if path not in (rasters.confidence, *rasters.measures):
            path.unlink(missing_ok=True)
            for beside in (
                path.with_suffix(".qml"),
                path.with_suffix(".qmd"),
                Path(f"{path}.aux.xml"),
            ):
                beside.unlink(missing_ok=True)
    if "vectors" not in plan.request.products:
        folder.product(f"{LAYER}.gpkg").unlink(missing_ok=True)


def write_project(
    plan: Plan, rasters: Rasters, folder: RunFolder, pixels: Mapping[int, int]
) -> None:
    """`landcover.qgs`: the map in QGIS, at one click; and beside each raster its style, attribute
    table and metadata.

    `pixels` counts those of each class that occurs; legends list no others.
    """
    from tiling.formats.pam import class_table, ramp_table
    from tiling.formats.qgis_project import Beside, project
    from tiling.formats.qml import SURE, ramp_qml, raster_qml

    vectors = folder.product(f"{LAYER}.gpkg")
    shown = (vectors, layer_of(plan)) if "vectors" in plan.request.products else None
    legend = [row for row in plan.legend.rows if row[0] in pixels]
    write_text(folder.product("classes.qml"), raster_qml(legend))
    write_text(folder.product("classes.qmd"), about_raster(plan, "classes").qmd)
    write_text(folder.product("classes.tif.aux.xml"), class_table(plan.legend.rows, pixels))
    others = [
        Beside(path.stem.capitalize(), path)
        for path in (rasters.confidence, *rasters.measures)
        if path
    ]
    for other in others:
        most = 1 if other.path.stem == "layers" else 100
        write_text(other.path.with_suffix(".qml"), ramp_qml(SURE, 0, most))
        write_text(other.path.with_suffix(".qmd"), about_raster(plan, other.path.stem).qmd)
        bands = len(band_names(plan, other.path.stem))
        write_text(Path(f"{other.path}.aux.xml"), ramp_table(SURE, 0, most, bands=bands))
    write_text(
        folder.product(f"{LAYER}.qgs"),
        project(
            about_raster(plan, "classes"),
            rasters.classes,
            legend,
            shown,
            beside=[*others, *([] if folder.remote else image_of(plan.scene))],
        ),
    )


def image_of(scene: Scene) -> list[Beside]:
    """The image itself, where it is one file of this machine with bands that a person sees as
    colours."""
    from tiling.formats.qgis_project import Beside
    from tiling.io.urls import is_local

    names = set(scene.band_names)
    trio = next((trio for trio in NATURAL if set(trio) <= names), None)
    bands = [scene.band(name) for name in trio or ()]
    if len({band.path for band in bands}) != 1 or not is_local(bands[0].path) or scene.is_mosaic:
        return []
    return [Beside("Image", Path(bands[0].path).resolve(), tuple(band.index for band in bands))]


def layer_of(plan: Plan) -> Layer:
    """The polygons of a run, described."""
    from tiling.formats.layer import Layer
    from tiling.formats.schema import schema_of

    return Layer(
        crs=plan.scene.crs.to_wkt(),
        schema=schema_of(index_columns(plan.request.indices)),
        legend=plan.legend.rows,
        name=LAYER,
        about=about_map(plan),
    )
