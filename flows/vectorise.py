"""`landweave vectorise`: the polygons of any class raster, with the names and colours it carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rasterio
from odc.geo.geobox import GeoBox

from flows.cluster import Pool
from flows.evaluate import open_classes
from flows.progress import Progress, silent
from tiling.area import PixelAreas
from tiling.mosaic import scratch
from tiling.palette import legend_of
from tiling.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.sieve import Rule

T = TypeVar("T")
R = TypeVar("R")

TILE = 1024

STAIRCASE = 0.75
"""Tolerance in pixels that straightens the stairs of slanting boundaries and keeps everything else."""


def vectorise(
    raster: Path,
    out: Path,
    pool: Pool,
    progress: Progress = silent,
    *,
    nodata: int | None = None,
    min_area: float = 0.0,
    min_area_rule: Rule = "longest-border",
    dissolve: bool = False,
    connectivity: int = 4,
    simplify: float | None = 0.0,
    **settings: Any,
) -> int:
    """Number of features written to `out`, whose suffix is the format: regions, or with `dissolve` whole classes.

    Regions below `min_area`, in m², go to a neighbour first (see `tiling.sieve`). `simplify` is in metres (see
    `polygons`), the other settings are those of `tiling.polygons.polygonise`. Raises `Mistake` for what a person can
    mend.
    """
    from tiling.dissolve import dissolved
    from tiling.layer import Layer
    from tiling.sieve import sieved
    from tiling.vectors import check_suffix, write_vectors

    check_suffix(out)
    with open_classes(raster) as source:
        crs = source.crs.to_wkt()
    layer = Layer(
        crs=crs,
        legend=legend_of(raster),
        title=f"Classes of {raster.name}",
        description="Polygons of a class raster, made with landweave",
        geometry_type="MultiPolygon" if dissolve or connectivity == 8 else "Polygon",
    )
    with scratch(out.parent) as work:
        if min_area:
            raster = sieved(
                raster, work / "sieved.tif", minimum=min_area, rule=min_area_rule, nodata=nodata, map=pool.map
            )
        batches = polygons(
            raster,
            pool,
            progress,
            nodata=nodata,
            connectivity=connectivity,
            simplify=simplify,
            scratch=work,
            **settings,
        )
        return write_vectors(out, dissolved(batches) if dissolve else batches, layer)


def polygons(
    raster: Path, pool: Pool, progress: Progress, *, simplify: float | None, **settings: Any
) -> Iterator[pa.RecordBatch]:
    """The batches of `polygonise`, worked by a pool while progress hears of its tiles.

    `simplify` is how far boundaries may move, in metres on the ground; None is three quarters of a pixel.
    """
    from tiling.polygons import polygonise

    pixels = STAIRCASE if simplify is None else simplify / pixel_metres(raster)
    with rasterio.open(raster) as source:
        tiles = -(-source.height // TILE) * -(-source.width // TILE)
    done = 0

    def watched(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        nonlocal done
        for result in pool.map(function, items):
            done += 1
            progress("vectorise", done, max(2 * tiles, done + 1))  # what follows the two passes over tiles is short
            yield result

    yield from polygonise(raster, tile=TILE, map=watched, simplify=pixels, **settings)
    progress("vectorise", done, done)


def pixel_metres(raster: Path) -> float:
    """Side of a square on the ground as large as the pixel in the middle of a raster."""
    with rasterio.open(raster) as source:
        areas = PixelAreas(GeoBox(source.shape, source.transform, source.crs.to_wkt()))
        middle = Window(source.height // 2, source.width // 2, 1, 1)
    return math.sqrt(float(areas.read(middle)[0, 0]) * areas.unit)
