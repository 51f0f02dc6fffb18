"""What people say lies where: class rasters, polygons and points of any CRS, laid on a scene's
grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.io.access import is_there
from tiling.io.datasets import open_dataset
from tiling.labels.base import Labels
from tiling.labels.raster_labels import read_raster_labels
from tiling.labels.vector_labels import read_shape_labels, read_shapes


def open_labels(
    path: str | Path,
    geobox: GeoBox,
    *,
    column: str = "",
    classes: Mapping[int, str] | None = None,
    regroup: Mapping[int, int] | None = None,
    nodata: float | None = None,
) -> Labels:
    """The labels of a raster or vector file on the grid `geobox`.

    `regroup` gives a value another's place, before `classes` names values; with `classes` what it
    does not name is unlabelled. Values outside 1…254, and words, are numbered in their order.
    `nodata` holds before what a raster declares. `column` names the classes of a vector file.
    Raises `InputError` where no class is found on the scene.
    """
    classes, regroup = dict(classes or {}), dict(regroup or {})
    if is_vector(path):
        return read_shape_labels(str(path), geobox, column, classes, regroup)
    if column:
        raise InputError(f"{path} is a raster and has no column {column}; leave --column out")
    return read_raster_labels(str(path), geobox, classes, regroup, nodata)


def is_vector(path: str | Path) -> bool:
    """Whether a file of labels holds shapes, by its name; a folder is one of shapefiles."""
    return Path(path).suffix.lower() in VECTOR_SUFFIXES or (
        is_there(str(path)) and Path(path).is_dir()
    )


def is_raster(path: str | Path) -> bool:
    """Whether GDAL opens a file as a raster, or it looks like none of the vector formats."""
    try:
        open_dataset(str(path)).close()
    except InputError:
        return not is_vector(path)
    return True


VECTOR_SUFFIXES = (
    ".gpkg",
    ".shp",
    ".geojson",
    ".json",
    ".parquet",
    ".fgb",
    ".kml",
    ".gml",
    ".sqlite",
    ".zip",
)


# ------------------------------------------------------------------------------------------ vectors


def column_with(path: str, words: Iterable[str]) -> str:
    """The first column of a vector file that holds all these words, capitals aside; empty where
    none does."""
    frame, wanted = read_shapes(path), {word.strip().casefold() for word in words}
    for name in frame.columns:
        if name != frame.geometry.name and wanted <= set(
            frame[name].astype(str).str.strip().str.casefold()
        ):
            return str(name)
    return ""
