"""The layers of a partition: a polygon for each region, with what was measured of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.objects.about import about_objects
from flows.objects.figures import LINE
from flows.objects.measures import RegionColumn, describe, describe_judged, measure, quanta_of
from flows.objects.model import PublishedLevel, count_sizes
from flows.objects.rasters import LevelRaster
from flows.objects.statistics import write_statistics
from flows.partitions.partition import Judged
from flows.products.index_measures import index_measures
from flows.products.vectorise import polygons
from flows.regions.levels import find_parents
from flows.regions.plan import ObjectsPlan
from flows.storage.run_folder import RunFolder
from tiling.classmaps.legend import LegendRow
from tiling.io.files import scratch

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import Layer

DARK = "#222222"
"""Lines between objects and over a map of classes in the same colours."""

FIELDS: Mapping[str, tuple[str, str]] = {
    "number": ("Number", "Number of the object in the raster, by the place of its first pixel"),
    "parent": ("Parent", "Number of the object one level up that holds it"),
    "n_pixels": ("Pixels", "Number of pixels"),
    "area_m2": ("Area (m²)", "Area on the ellipsoid, the sum of the areas of the pixels"),
    "perimeter_m": ("Perimeter (m)", "Length of the outline on the ground, holes included"),
    "regularised": ("Right angles", "Whether the outline was drawn with right angles"),
}
"""Columns of every layer of regions, with what a person calls them and what they hold."""


@dataclass
class Tally:
    """What has passed by of a layer."""

    count: int = 0
    areas: list[float] = field(default_factory=list)
    """Of batches, in m², exactly rounded."""
    sizes: Counter[float] = field(default_factory=Counter)


class LevelLayer(NamedTuple):
    """A layer that was written: its figures, and what it is."""

    level: PublishedLevel
    layer: Layer


def write_layers(
    plan: ObjectsPlan,
    levels: Sequence[LevelRaster],
    folder: RunFolder,
    pool: Pool,
    progress: Progress = silent,
) -> list[LevelLayer]:
    """`objects.gpkg`, a layer for each level, the finest first."""
    from tiling.formats.vector_writers import write_layers as write

    written: list[tuple[Layer, Tally]] = []

    def draw_levels(work: Path) -> Iterator[tuple[Iterator[pa.RecordBatch], Layer]]:
        for place in range(len(levels)):
            tally = Tally()
            batches, layer = draw_level(plan, levels, place, tally, work, pool, progress)
            written.append((layer, tally))
            yield batches, layer

    with scratch(folder.path) as work:
        write(folder.product("objects.gpkg"), draw_levels(work))
    return [
        LevelLayer(sum_up(level, tally), layer)
        for level, (layer, tally) in zip(levels, written, strict=True)
    ]


def sum_up(level: LevelRaster, tally: Tally) -> PublishedLevel:
    """The figures of a layer; the same in whatever order its features came."""
    sizes = tuple(sorted(tally.sizes.items()))
    return PublishedLevel(level.name, level.scale, tally.count, math.fsum(tally.areas), sizes)


def draw_level(
    plan: ObjectsPlan,
    levels: Sequence[LevelRaster],
    place: int,
    tally: Tally,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> tuple[Iterator[pa.RecordBatch], Layer]:
    """The polygons of a level with their columns, and the layer they fill."""
    level = levels[place]
    columns: list[RegionColumn] = []
    if place + 1 < len(levels):
        above = levels[place + 1].raster
        parents = find_parents(level.raster, above, level.n, work, pool.map)
        about = FIELDS["parent"]
        columns.append(RegionColumn("parent", *about, lambda n: parents[n - 1], whole=True))
    facts = measure(plan, level.raster, level.n, work / level.name, pool.map)
    columns += [*describe_judged(level.judged), *describe(facts, plan)]
    if plan.request.statistics:
        write_statistics(plan, level.raster, facts, quanta_of(plan), work, pool.map)
    batches = draw_outlines(plan, level.raster, work, pool, progress)
    layer = describe_layer(plan, level, columns)
    return add_columns(batches, columns, layer.schema, tally), layer


def draw_outlines(
    plan: ObjectsPlan, raster: Path, work: Path, pool: Pool, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """The polygons of a level, with right angles where that was asked for."""
    request = plan.request

    def drawn(simplify: float | None, smooth: int, **settings: Any) -> Iterator[pa.RecordBatch]:
        return polygons(
            raster, pool, progress, nodata=0, simplify=simplify, smooth=smooth, scratch=work,
            connectivity=8 if plan.partition.touch_at_corners else 4, **settings,
        )  # fmt: skip

    measures = index_measures(plan.scene, request.indices, plan.window)
    batches = drawn(request.simplify, request.smooth, measures=measures)
    if not request.regularise:
        return batches
    from tiling.footprints.footprints import with_footprints

    place = work / f"footprints-{raster.stem}"
    place.mkdir()
    return with_footprints(
        drawn(0.0, 0), batches, plan.geobox,
        tolerance=request.regularise, folder=place, map=pool.map,
    )  # fmt: skip


def describe_layer(plan: ObjectsPlan, level: LevelRaster, columns: Sequence[RegionColumn]) -> Layer:
    """A layer of regions: number, size, what was measured, means of indices, outline."""
    import pyarrow as pa

    from flows.products.index_measures import index_columns
    from tiling.formats.layer import Layer
    from tiling.formats.schema import SCHEMA

    means = index_columns(plan.request.indices)
    whole = [pa.field("number", pa.int64(), nullable=False)]
    whole += [SCHEMA.field(name) for name in ("n_pixels", "area_m2", "perimeter_m")]
    kinds = {(False, False): pa.float64(), (True, False): pa.int64(), (False, True): pa.string()}
    whole += [pa.field(one.name, kinds[one.whole, one.text]) for one in columns]
    if plan.request.regularise:
        whole.append(pa.field("regularised", pa.bool_(), nullable=False))
    whole += [pa.field(f"{name}_mean", pa.float64()) for name in means]
    described = {one.name: (one.alias, one.meaning) for one in columns}
    described |= {
        f"{name}_mean": (f"Mean {name.upper()}", f"Mean {name.upper()} of the pixels")
        for name in means
    }
    return Layer(
        crs=plan.scene.crs.to_wkt(),
        schema=pa.schema([*whole, SCHEMA.field("geometry")]),
        name=level.name,
        about=about_objects(plan, level.scale),
        fields={**FIELDS, **described},
        geometry_type="MultiPolygon" if plan.partition.touch_at_corners else "Polygon",
        legend=shown_classes(level.judged),
        class_column="class" if level.judged else "",
        outline=choose_line(plan, level),
        label="number",
    )


def shown_classes(judged: Judged | None) -> tuple[LegendRow, ...]:
    """The classes that objects have; none where a method knows of none."""
    if judged is None:
        return ()
    there = set(judged.values.tolist())
    return tuple(row for row in judged.legend if row[0] in there)


def choose_line(plan: ObjectsPlan, level: LevelRaster) -> str:
    """The colour of outlines: dark over a map of classes, none of their own where they have that of
    a class."""
    if plan.partition.classes:
        return DARK
    return LINE if level.judged is None else ""


def add_columns(
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[RegionColumn],
    schema: pa.Schema,
    tally: Tally,
) -> Iterator[pa.RecordBatch]:
    """Batches of polygons with what was measured of their regions."""
    import pyarrow as pa

    for batch in batches:
        numbers = batch["class_id"].to_numpy()
        arrays = {"number": pa.array(numbers, pa.int64())}
        for column in columns:
            kind = schema.field(column.name).type
            arrays[column.name] = pa.array(column.read(numbers), from_pandas=True).cast(kind)
        tally.count += batch.num_rows
        tally.areas.append(math.fsum(batch["area_m2"].to_numpy()))
        tally.sizes += count_sizes(batch["area_m2"].to_numpy())
        whole = [arrays[name] if name in arrays else batch[name] for name in schema.names]
        yield pa.RecordBatch.from_arrays(whole, schema=schema)
