"""Zones of fields as products: a raster, a layer with rates and amounts, a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_results
from flows.crops.judge import Judgement
from flows.crops.zone_pixels import ZonePlan, steps_of, zone_windows
from flows.products.index_measures import TEN_THOUSANDTHS, IndexMeasure
from flows.products.vectorise import SIEVE, polygons, tiles_of
from flows.requests.crops.zoning import SQUARE, Zoning
from flows.storage.keys import content_key, versions
from flows.timeseries.zone_figures import FALLING
from tiling.cog.write import write_cog
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.formats.pam import class_table
from tiling.formats.qml import Ramp, ramp_colour, raster_qml
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import write_text
from tiling.io.profiles import BLOCK, plain_profile
from tiling.io.spill import load_arrays
from tiling.regions.sieving.sieve import sieve

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.timeseries.run import SeriesPlan

LAYER = "zones"
RAMP: Ramp = ((0.0, "#a6611a"), (0.5, "#f5f0d0"), (1.0, "#018571"))
"""From weak to strong."""
TITLES = {
    "field": ("Field", "Number of the field in its layer, from 1"),
    "name": ("Name", "What the field is called"),
    "crop": ("Crop", "What grows in the field"),
    "zone": ("Zone", "From 1, the weakest of its field"),
    "class_id": ("Zone", "From 1, the weakest of its field"),
    "class_name": ("Zone in words", "Of its field, from weak to strong"),
    "area_ha": ("Area (ha)", "Area of its pixels on the ellipsoid"),
    "area_m2": ("Area (m²)", "Area of its pixels on the ellipsoid"),
    "mean_index": ("Mean index", "Mean of the index over its pixels and the dates"),
    "rate": ("Rate", "What is spread on a hectare"),
    "unit": ("Unit", "Of the rate"),
    "amount": ("Amount", "Rate times area, in the unit of the rate without its hectare"),
}


@dataclass(frozen=True, eq=False)
class FieldZones:
    """The zones of all fields: parallel arrays, a row for each, by field and then from weak to
    strong."""

    value: npt.NDArray[np.int64]
    """In the raster of pixels, before zones are called anew."""
    field: npt.NDArray[np.int64]
    """From 0."""
    zone: npt.NDArray[np.int64]
    """From 1."""
    area: npt.NDArray[np.float64]
    """Square metres."""
    mean: npt.NDArray[np.float64]
    """Of the index."""


@dataclass(frozen=True)
class ZoneFiles:
    """What there is of zones in a folder, and what to say of it."""

    table: pa.Table
    classes: Path
    """The raster, with the legend it carries."""
    legend: tuple[tuple[int, str, str], ...]


def plan_zones(series: SeriesPlan, judged: Judgement, zoning: Zoning) -> ZonePlan:
    """What the zones of fields are made of: those that are judged on a date, by the first index."""
    assert zoning.zones is not None
    value = judged.value[:, 0]
    usual = np.where(np.isnan(value), IndexMeasure.missing, np.rint(np.nan_to_num(value) * 1e4))
    sizes = np.where(np.isnan(value).all(axis=0), 0, judged.fields.sizes)
    step = np.where(sizes > 0, steps_of(np.nan_to_num(sizes)), 0)
    weight = np.ceil(np.nan_to_num(sizes) / np.maximum(step, 1) ** 2).astype(np.int64)
    if (sizes.size + 1) * (zoning.zones + 1) >= 2**31:
        raise InputError(f"{sizes.size:,} fields are too many for {zoning.zones} zones in each")
    name = judged.figures.names[0]
    sign = -1 if name in FALLING else 1
    return ZonePlan(
        series.images, name, sign, zoning.zones, zoning.zone_method, usual.astype(np.int32), step,
        weight,
    )  # fmt: skip


def write_zones(
    series: SeriesPlan, judged: Judgement, zoning: Zoning, made: Path, work: Path, kept: Path,
    pool: Pool, progress: Progress,
) -> ZoneFiles:  # fmt: skip
    """Leave `zones.tif`, `zones.gpkg`, `zones.csv` and, where it is wanted, `zones.shp` in a
    folder."""
    import shapely

    from tiling.formats.vector_writers import write_vectors

    assert series.shapes is not None
    plan = plan_zones(series, judged, zoning)
    key = plan.key(content_key({"wkb": [one.hex() for one in shapely.to_wkb(series.shapes)]}))
    value, mean = (work / f"{name}.tif" for name in ("values", "means"))
    windows = zone_windows(plan, series.shapes, key, work, kept, pool, progress)
    _write_plain(series.images.grid, value, mean, windows)
    if zoning.zone_area:
        with report_results(pool.map, "sieve", SIEVE * tiles_of(value), progress) as mapped:
            value = sieve(
                value, work / "sieved.tif", minimum=zoning.zone_area * SQUARE, nodata=0,
                within=plan.stride, map=mapped,
            )  # fmt: skip
    zones = measure(plan, value, mean, pool)
    legend = legend_of(plan.k)
    table = table_of(zones, judged, series.zone_names, zoning)
    target = made / "zones.tif"
    about = About(
        "Zones of fields",
        f"By {plan.index} of {len(series.images.scenes)} images, {plan.method}",
        series.images.days,
        (f"Computed with landweave {versions()['landweave']}",),
    )
    _write_raster(zones, value, target, legend, work, pool, about)
    numbered = _number_zones(zones, value, work / "numbered.tif")
    batches = list(polygons(numbered, pool, progress, nodata=0, simplify=0.0, scratch=work))
    layer, shaped = _layer(table, batches, series, about, legend)
    write_vectors(made / "zones.gpkg", shaped.to_batches(), layer)
    if zoning.shapefile:
        write_vectors(made / "zones.shp", shaped.to_batches(), layer)
    _write_table(table, made / "zones.csv")
    return ZoneFiles(table, target, legend)


def _write_plain(
    grid: Any, value: Path, mean: Path, windows: Iterator[tuple[Window, Path]]
) -> None:
    """Two rasters on a grid from the arrays of windows that do not overlap."""
    profile = plain_profile(grid, "int32", 0)
    with rasterio.open(value, "w", **profile) as one, rasterio.open(mean, "w", **profile) as other:
        for window, file in windows:
            for target, pixels in zip((one, other), load_arrays(file, 2), strict=True):
                target.write(pixels, 1, window=window.ranges)


def measure(plan: ZonePlan, value: Path, mean: Path, pool: Pool) -> FieldZones:
    """The zones that there are, each with its area and the mean of its pixels; in each field they
    are called from weak to strong."""
    with open_dataset(str(value)) as raster:
        areas = PixelAreas(geobox_of(raster))
        windows = list(Window.of_shape(*raster.shape).blocks(4 * BLOCK))
    sums = np.zeros((3, plan.stride * (plan.step.size + 1)), np.int64)
    for values, found in pool.map(partial(_measure_window, value, mean, areas), windows):
        sums[:, values] += found
    there = np.flatnonzero(sums[1])
    field = there // plan.stride - 1
    means = sums[2, there] / sums[1, there]
    order = np.lexsort((plan.sign * means, field))
    there, field = there[order], field[order]
    first = np.flatnonzero(np.diff(field, prepend=-1))
    zone = np.arange(field.size) - np.repeat(first, np.diff([*first, field.size])) + 1
    area = sums[0, there] * areas.unit
    return FieldZones(there, field, zone, area, means[order] / TEN_THOUSANDTHS)


def _measure_window(value: Path, mean: Path, areas: PixelAreas, window: Window) -> Any:
    """The values of a window, and `(3, value)` sums of areas, pixels and means."""
    with open_dataset(str(value)) as one, open_dataset(str(mean)) as other:
        pixels, means = (raster.read(1, window=window.ranges) for raster in (one, other))
    inside = pixels > 0
    values, at = np.unique(pixels[inside], return_inverse=True)
    found = np.zeros((3, values.size), np.int64)
    units = areas.read(window)[inside]
    for row, summed in zip(found, (units, np.ones_like(at), means[inside]), strict=True):
        np.add.at(row, at, summed)
    return values, found


def legend_of(k: int) -> tuple[tuple[int, str, str], ...]:
    """Names and colours of zones, from weak to strong."""
    ends = {1: " (weakest)", k: " (strongest)"}
    return tuple(
        (zone, f"zone {zone}{ends.get(zone, '')}", ramp_colour(RAMP, (zone - 1) / (k - 1)))
        for zone in range(1, k + 1)
    )


def table_of(
    zones: FieldZones, judged: Judgement, names: Sequence[str] | None, zoning: Zoning
) -> pa.Table:
    """A row for each zone of each field."""
    import pyarrow as pa

    hectares = zones.area / SQUARE
    columns: dict[str, Any] = {"field": pa.array(zones.field + 1, pa.int32())}
    if names is not None:
        columns["name"] = pa.array([names[field] for field in zones.field], pa.string())
    if (crops := judged.fields.crops) is not None:
        columns["crop"] = pa.array([crops[field] or None for field in zones.field], pa.string())
    columns["zone"] = pa.array(zones.zone, pa.int32())
    columns["area_ha"] = pa.array(np.round(hectares, 4))
    columns["mean_index"] = pa.array(np.round(zones.mean, 4))
    if rates := zoning.table:
        rate = np.array([rates[zone - 1][0] for zone in zones.zone])
        columns["rate"] = pa.array(rate, pa.float64())
        columns["unit"] = pa.array([rates[zone - 1][1] for zone in zones.zone], pa.string())
        columns["amount"] = pa.array(np.round(rate * hectares, 3), pa.float64())
    return pa.table(columns)


def _map_values(source: Path, target: Path, lookup: Any, dtype: str, **about: Any) -> Path:
    """A raster whose values are looked up, as a plain one."""
    with open_dataset(str(source)) as raster:
        profile = plain_profile(geobox_of(raster), dtype, 0)
        with rasterio.open(target, "w", **profile) as written:
            for window in Window.of_shape(*raster.shape).blocks(4 * BLOCK):
                pixels = raster.read(1, window=window.ranges)
                written.write(lookup(pixels).astype(dtype), 1, window=window.ranges)
            if about:
                written.write_colormap(1, about["colours"])
                written.update_tags(**about["tags"])
    return target


def _write_raster(
    zones: FieldZones, value: Path, target: Path, legend: Any, work: Path, pool: Pool, about: About
) -> None:
    """The number of each pixel's zone as a COG, with its legend beside it."""
    numbers = np.append(zones.zone, 0)
    order = np.argsort(zones.value)

    def lookup(pixels: Any) -> Any:
        place = np.searchsorted(zones.value[order], pixels)
        return np.where(pixels > 0, numbers[np.append(order, -1)[place]], 0)

    colours = {row[0]: tuple(bytes.fromhex(row[2][1:])) for row in legend}
    plain = _map_values(
        value, work / "zones.plain.tif", lookup, "uint8", colours=colours, tags=about.tags
    )
    write_cog(plain, target, overviews="mode", map=pool.map)
    counts = dict.fromkeys(np.unique(zones.zone).tolist(), 0)
    with open_dataset(str(plain)) as raster:
        for window in Window.of_shape(*raster.shape).blocks(4 * BLOCK):
            found, times = np.unique(raster.read(1, window=window.ranges), return_counts=True)
            for zone, count in zip(found.tolist(), times.tolist(), strict=True):
                if zone:
                    counts[zone] += count
    write_text(target.with_suffix(".qml"), raster_qml(legend))
    write_text(target.with_suffix(".qmd"), about.qmd)
    write_text(Path(f"{target}.aux.xml"), class_table(legend, counts))


def _number_zones(zones: FieldZones, value: Path, target: Path) -> Path:
    """The row of each pixel's zone, from 1."""
    order = np.argsort(zones.value)

    def lookup(pixels: Any) -> Any:
        place = np.searchsorted(zones.value[order], pixels)
        return np.where(pixels > 0, np.append(order, -1)[place] + 1, 0)

    return _map_values(value, target, lookup, "int32")


def _layer(
    table: pa.Table, batches: Sequence[Any], series: SeriesPlan, about: About, legend: Any
) -> tuple[Any, pa.Table]:
    """How the layer describes itself, and its rows: a feature for each zone of a field."""
    import pyarrow as pa

    from tiling.formats.layer import Layer
    from tiling.polygons.dissolve import dissolve_classes

    whole = pa.Table.from_batches(list(dissolve_classes(batches)))
    rows = table.take(pa.array(whole["class_id"].to_numpy() - 1))
    # the zone comes first as the class by which QGIS colours
    shaped = rows.append_column("class_id", rows["zone"]).append_column("area_m2", whole["area_m2"])
    shaped = shaped.drop_columns(["zone"]).append_column(
        whole.schema.field("geometry"), whole["geometry"]
    )
    crs = series.images.grid.crs
    assert crs is not None
    layer = Layer(
        crs=crs.to_wkt(), schema=shaped.schema, legend=legend, name=LAYER, about=about,
        geometry_type="MultiPolygon", fields=TITLES,
    )  # fmt: skip
    return layer, shaped


def _write_table(table: pa.Table, path: Path) -> None:
    import pyarrow.csv

    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    pyarrow.csv.write_csv(table, path, options)
