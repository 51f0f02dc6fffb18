"""`landweave vectorise`: the polygons of any class raster, with the names and colours it
carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_results, silent
from flows.requests.request import warn_of_large_min_area
from tiling.classmaps.legend import legend_of
from tiling.classmaps.raster import open_classes, read_classes
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import make_folder, scratch

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import GeoPackageVersion, Layer
    from tiling.regions.sieving.rule import Rule

TILE = 1024

TILES = 16
"""Tiles that take about as long as a shard: a few seconds."""

SIEVE = 3
"""Passes of `tiling.regions.sieving.sieve` over all tiles, at least."""

MANY = 32
"""More values than this are the levels of something measured, unless they have names or lie in
regions."""

MOST_DIFFER = 0.25
"""Part of all pairs of neighbours that differ, beyond which a raster has no regions."""

LOOKED_AT, LOOKS = 256, 32
"""Side of the blocks that are looked at, and how many."""

STAIRCASE = 0.75
"""Tolerance in pixels that straightens the stairs of slanting boundaries and keeps everything
else."""


def vectorise(
    raster: Path,
    out: Path,
    pool: Pool,
    progress: Progress = silent,
    *,
    nodata: int | None = None,
    min_area: float = 0.0,
    min_area_rule: Rule = "longest-border",
    zones: Path | None = None,
    dissolve: bool = False,
    connectivity: int = 4,
    simplify: float | None = 0.0,
    geopackage: GeoPackageVersion = "1.2",
    **settings: Any,
) -> int:
    """Number of features written to `out`, whose suffix is the format: regions, or with `dissolve`
    whole classes.

    Regions below `min_area`, in m², go to a neighbour first (see `tiling.regions.sieving.sieve`).
    Those that are left are cut along the polygons of `zones`, and carry their columns; with
    `dissolve` there is one feature for each class in each zone. `simplify` is in metres (see
    `polygons`), the other settings are those of `tiling.polygons.polygonise.polygonise`. Raises
    `InputError` for what a person can mend.
    """
    from tiling.formats.vector_writers import find_writer, write_vectors
    from tiling.polygons.dissolve import dissolve_classes
    from tiling.regions.sieving.sieve import sieve

    find_writer(out)
    layer = _describe_layer(raster, geopackage, parted=dissolve or connectivity == 8)
    told: Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]] = iter
    with scratch(make_folder(out.parent)) as work:
        if min_area:
            with report_results(pool.map, "sieve", SIEVE * tiles_of(raster), progress) as map:
                raster = sieve(
                    raster, work / "sieved.tif",
                    minimum=min_area, rule=min_area_rule, nodata=nodata, map=map,
                )  # fmt: skip
        if zones:
            raster, layer, told = cut_along_zones(raster, zones, work, layer, nodata)
            nodata = 0
        batches = polygons(
            raster, pool, progress,
            nodata=nodata, connectivity=connectivity, simplify=simplify, scratch=work, **settings,
        )  # fmt: skip
        return write_vectors(out, told(dissolve_classes(batches) if dissolve else batches), layer)


def _describe_layer(raster: Path, geopackage: GeoPackageVersion, *, parted: bool) -> Layer:
    """What the polygons of a raster say of themselves; `parted`: one may have several."""
    from tiling.formats.about import About
    from tiling.formats.layer import Layer

    with open_classes(raster) as source:
        crs = source.crs.to_wkt()
    return Layer(
        crs=crs,
        legend=legend_of(raster),
        about=About(f"Classes of {raster.name}", "Polygons of a class raster, made with landweave"),
        geometry_type="MultiPolygon" if parted else "Polygon",
        geopackage=geopackage,
    )


def cut_along_zones(
    raster: Path, zones: Path, work: Path, layer: Layer, nodata: int | None
) -> tuple[Path, Layer, Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]]:
    """The raster cut along zones, the layer with their columns, and what turns its batches into
    batches with these."""
    import pyarrow as pa

    from flows.products.zones import attributes_of, read_zones, shapes_on
    from tiling.classmaps.zone_overlay import cut_by_zones

    frame = read_zones(zones)
    cut = work / "zones.tif"
    pairs = cut_by_zones(raster, cut, shapes_on(raster, frame, zones), nodata=nodata)
    attributes = attributes_of(frame, layer.columns.names)
    *columns, geometry = layer.schema
    schema = pa.schema([*columns, *attributes.schema, geometry])
    place = schema.get_field_index("class_id")

    def told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pair = batch["class_id"].to_numpy() - 1
            arrays = batch.columns
            arrays[place] = pa.array(pairs.class_id[pair])
            of_zones = attributes.take(pa.array(pairs.zone[pair])).combine_chunks()
            added = [
                column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)
                for column in of_zones.columns
            ]
            yield pa.RecordBatch.from_arrays([*arrays[:-1], *added, arrays[-1]], schema=schema)

    about = replace(layer.about, abstract=f"{layer.about.abstract}, cut along {zones.name}")
    return cut, replace(layer, schema=schema, about=about), told


def polygons(
    raster: Path, pool: Pool, progress: Progress, *, simplify: float | None, **settings: Any
) -> Iterator[pa.RecordBatch]:
    """The batches of `polygonise`, worked by a pool while progress hears of its tiles.

    `simplify` is how far boundaries may move, in metres on the ground; None is three quarters of a
    pixel.
    """
    from tiling.polygons.polygonise import polygonise

    pixels = STAIRCASE if simplify is None else simplify / pixel_metres(raster)
    passes = 4 if pixels > 0 or settings.get("smooth") else 2  # what crosses tiles is little
    with report_results(pool.map, "vectorise", passes * tiles_of(raster), progress) as map:
        yield from polygonise(raster, tile=TILE, map=map, simplify=pixels, **settings)


def check_raster(raster: Path, nodata: int | None = None) -> None:
    """Raise `InputError` where a raster looks like measurements: every pixel would become a
    polygon.

    That is one without a legend, of more than `MANY` values, in which most pixels differ from the
    next. Looked at are a few blocks from all over it.
    """
    if legend_of(raster):
        return
    values, differ, pairs = set[int](), 0, 0
    with open_classes(raster) as source:
        blocks = [block for block in Window.of_shape(*source.shape).blocks(LOOKED_AT) if block]
        for block in blocks[:: -(-len(blocks) // LOOKS)]:
            pixels, valid = read_classes(source, block, ())
            valid = valid & (pixels != nodata) if nodata is not None else valid
            values.update(np.unique(pixels[valid]).tolist())
            for here, there in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
                both = valid[here] & valid[there]
                pairs += int(both.sum())
                differ += int((both & (pixels[here] != pixels[there])).sum())
    if len(values) > MANY and differ > MOST_DIFFER * pairs:
        raise InputError(
            f"{raster} looks like measurements, not classes: {len(values)} values without a name, "
            "and "
            f"{100 * differ / pairs:.0f} % of its pixels differ from the next; make classes of it "
            "first, for example "
            "with gdal_calc.py, or insist with --any-values"
        )


def area_warnings(min_area: float, raster: Path) -> tuple[str, ...]:
    """A warning where no region of a raster can be as large as the smallest that is shown."""
    if not min_area:
        return ()
    with open_dataset(str(raster)) as source:
        whole = source.height * source.width * pixel_metres(raster) ** 2
    return warn_of_large_min_area(min_area, whole, raster.name)


def work_pieces(raster: Path) -> int:
    """How many pieces of work a raster makes, each about as much as a shard of an image."""
    return tiles_of(raster) // TILES


def tiles_of(raster: Path) -> int:
    """How many tiles a pass over a raster has."""
    with open_dataset(str(raster)) as source:
        return int(-(-source.height // TILE) * -(-source.width // TILE))


def pixel_metres(raster: Path) -> float:
    """Side of a square on the ground as large as the pixel in the middle of a raster."""
    with open_dataset(str(raster)) as source:
        areas = PixelAreas(geobox_of(source))
        middle = Window(source.height // 2, source.width // 2, 1, 1)
    return math.sqrt(float(areas.read(middle)[0, 0]) * areas.unit)
