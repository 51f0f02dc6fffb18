"""`landweave vectorise`: the polygons of any class raster, with the names and colours it
carries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_results, silent
from flows.requests.request import warn_of_large_min_area
from segmentation.legend import HIGHEST, UNKNOWN, UNKNOWN_COLOUR
from tiling.classmaps.legend import legend_of
from tiling.classmaps.raster import nodata_of, open_classes, open_regions, read_classes
from tiling.classmaps.unknown import write_unknown
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import make_folder, scratch

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import GeoPackageVersion, Layer
    from tiling.io.spill import Map
    from tiling.regions.sieving.rule import Rule

Rename: TypeAlias = "Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]"
"""Gives batches of polygons the classes, or the columns, that their values stand for."""

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
    fill_holes: float = 0.0,
    max_area: float = 0.0,
    unknown_below: float = 0.0,
    confidence: Path | None = None,
    zones: Path | None = None,
    dissolve: bool = False,
    connectivity: int = 4,
    simplify: float | None = 0.0,
    geopackage: GeoPackageVersion = "1.2",
    **settings: Any,
) -> int:
    """Number of features written to `out`, whose suffix is the format: regions, or with `dissolve`
    whole classes.

    In this order: pixels of less than `unknown_below` percent in the raster `confidence`, else the
    one beside the map, become Unknown; regions below `min_area`, in m², go to a neighbour (see
    `tiling.regions.sieving.sieve`); holes below `fill_holes`, in m², to what is around them; what
    is left is cut along the polygons of `zones`, and carries their columns, and along squares of
    `max_area`, in m², where it is larger (see `tiling.regions.sieving.lattice`). With `dissolve`
    there is one feature for each class in each zone. `simplify` is in metres (see `polygons`), the
    other settings are those of `tiling.polygons.polygonise.polygonise`. Raises `InputError` for
    what a person can mend.
    """
    from tiling.formats.vector_writers import find_writer, write_vectors
    from tiling.polygons.dissolve import dissolve_classes

    find_writer(out)
    if dissolve and max_area:
        raise InputError("--dissolve joins what --max-area cuts; leave one of them out")
    layer = _describe_layer(raster, geopackage, parted=dissolve or connectivity == 8)
    by_class: Rename = iter
    by_zone: Rename = iter
    with scratch(make_folder(out.parent)) as work:
        if unknown_below:
            confidence = confidence or raster.with_name("confidence.tif")
            raster, layer = leave_unsure_out(raster, confidence, unknown_below, work, layer, nodata)
        regions = Regions(pool, progress, work, nodata)
        if min_area:
            raster = regions.sieve(raster, min_area, min_area_rule)
        if fill_holes:
            raster = regions.fill_holes(raster, fill_holes)
        if zones:
            raster, layer, by_zone = cut_along_zones(raster, zones, work, layer, nodata)
            regions = replace(regions, nodata=0)
        if max_area:
            raster, by_class = regions.cut_large(raster, max_area)
            regions = replace(regions, nodata=0)
        batches = by_class(
            polygons(
                raster, pool, progress, nodata=regions.nodata, connectivity=connectivity,
                simplify=simplify, confidence=confidence, scratch=work, **settings,
            )
        )  # fmt: skip
        return write_vectors(
            out, by_zone(dissolve_classes(batches) if dissolve else batches), layer
        )


@dataclass(frozen=True)
class Regions:
    """What is done to the regions of a raster before they become polygons: a raster in a folder for
    each step, worked by a pool."""

    pool: Pool
    progress: Progress
    work: Path
    nodata: int | None

    def sieve(self, raster: Path, minimum: float, rule: Rule) -> Path:
        """Without regions below `minimum`, in m²."""
        from tiling.regions.sieving.sieve import sieve

        with self._report("sieve", raster) as map:
            return sieve(
                raster, self.work / "sieved.tif",
                minimum=minimum, rule=rule, nodata=self.nodata, map=map,
            )  # fmt: skip

    def fill_holes(self, raster: Path, minimum: float) -> Path:
        """Without holes below `minimum`, in m²."""
        from tiling.regions.sieving.fill_holes import fill_holes

        with self._report("fill holes", raster) as map:
            return fill_holes(
                raster, self.work / "filled.tif", minimum=minimum, nodata=self.nodata, map=map
            )

    def cut_large(self, raster: Path, maximum: float) -> tuple[Path, Rename]:
        """A value for each piece of regions beyond `maximum`, in m², and what turns its batches
        into those of classes."""
        import pyarrow as pa

        from tiling.regions.sieving.lattice import cut_large

        side = max(1, math.floor(math.sqrt(maximum) / pixel_metres(raster)))
        with self._report("cut", raster) as map:
            class_id = cut_large(
                raster, self.work / "pieces.tif",
                maximum=maximum, side=side, nodata=self.nodata, map=map,
            )  # fmt: skip

        def by_class(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                place, arrays = batch.schema.get_field_index("class_id"), batch.columns
                known = class_id[batch["class_id"].to_numpy() - 1]
                arrays[place] = pa.array(known, batch.schema.types[place])
                yield pa.RecordBatch.from_arrays(arrays, schema=batch.schema)

        return self.work / "pieces.tif", by_class

    def _report(self, stage: str, raster: Path) -> AbstractContextManager[Map]:
        """A map of the pool of which progress hears by this name."""
        return report_results(self.pool.map, stage, SIEVE * tiles_of(raster), self.progress)


def leave_unsure_out(
    raster: Path, confidence: Path, below: float, work: Path, layer: Layer, nodata: int | None
) -> tuple[Path, Layer]:
    """The raster with a class Unknown where the raster of confidence has less than so many percent,
    and the layer whose legend names it."""
    if not confidence.is_file():
        raise InputError(
            f"{confidence} does not exist, and --unknown-below needs it; name the map's confidence "
            "with --confidence"
        )
    if not layer.legend:
        raise InputError(
            f"{raster} names no classes, so no value is known to be free for {UNKNOWN}; leave "
            "--unknown-below out"
        )
    with open_regions(raster) as source, open_dataset(str(confidence)) as sure:
        if geobox_of(source) != geobox_of(sure):
            raise InputError(
                f"{confidence} does not lie on the grid of {raster}; give the confidence of this "
                "map"
            )
        nodata, whole = nodata_of(source, nodata), Window.of_shape(*source.shape)
        highest = min(HIGHEST, np.iinfo(source.dtypes[0]).max)
    names = {name: value for value, name, _ in layer.legend}
    # a palette has a row for every value: black, without a name, where there is no class
    taken = {nodata, *(v for v, name, tint in layer.legend if (name, tint) != (str(v), "#000000"))}
    value = names.get(UNKNOWN) or next((n for n in range(highest, 0, -1) if n not in taken), 0)
    if not value:
        raise InputError(f"{raster} leaves no value for {UNKNOWN}; leave --unknown-below out")
    marked = write_unknown(
        raster, confidence, work / "sure.tif", whole, below=below, value=value, nodata=nodata
    )
    legend = [row for row in layer.legend if row[0] != value]
    return marked, replace(layer, legend=(*legend, (value, UNKNOWN, UNKNOWN_COLOUR)))


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
