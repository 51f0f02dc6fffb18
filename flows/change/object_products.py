"""What a comparison of objects leaves: a layer, a raster, tables, a picture, a project and a
page."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio

from flows.change.model import ObjectChange
from flows.change.object_fates import ASIDE, KINDS, VANISHED, Fates
from flows.change.object_pairs import Longs, ObjectPair
from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items
from flows.reports.tables import csv_text
from flows.requests.change import ChangeRequest
from flows.storage.keys import versions
from tiling.classmaps.legend import LegendRow
from tiling.classmaps.raster import open_classes
from tiling.cog.write import write_cog
from tiling.formats.about import About
from tiling.formats.shard_tiff import Part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.files import write_text
from tiling.io.profiles import plain_profile

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import Layer

PRODUCTS = (
    "change.tif", "change.gpkg", "change.qgs", "objects.csv", "change.csv", "quicklook.png",
    "report.html", "change.json",
)  # fmt: skip
"""Files of a comparison that a person is told of."""

LINE = "#333333"
"""Colour of lines between objects."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "class_id": ("Kind (value)", "What became of the object, as a number"),
    "class_name": ("Change", "What became of the object"),
    "number_before": ("Was (number)", "Earlier object; of several the one that it has most of"),
    "number_after": ("Is (number)", "Later object"),
    "n_before": ("Objects before", "How many earlier objects it was"),
    "n_after": ("Objects now", "How many later objects these became"),
    "before_m2": ("Was (m²)", "Area of these earlier objects"),
    "after_m2": ("Is (m²)", "Area of the later objects that they became"),
    "difference_m2": ("Difference (m²)", "Area now less area before"),
    "iou": ("IoU", "Intersection over union of what was and what is, 0 to 1"),
    "class_before": ("Was (class)", "Class of the earlier object"),
    "class_after": ("Is (class)", "Class of the later object"),
}
"""Columns of the layer, with what a person calls them and what they hold."""


def publish(
    result: ObjectChange,
    request: ChangeRequest,
    painting: Painting,
    rasters: Rasters,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> ObjectChange:
    """Write the products; `change.json` goes first and comes last."""
    from flows.change.page import describe_object_change
    from flows.change.publish import clear
    from flows.reports.html import render_html
    from flows.reports.medium import Beside
    from tiling.formats.qgis_project import project
    from tiling.formats.qml import raster_qml
    from tiling.formats.vector_writers import write_vectors

    out, about, legend = request.out, about_change(result), legend_of(result)
    clear(out, PRODUCTS)
    layer = describe_layer(result, painting)
    whole = Part(rasters.kinds, Window.of_shape(*painting.objects.grid.shape))
    described = write_mosaic(
        work / "kinds.vrt",
        [whole],
        painting.objects.grid,
        1,
        nodata=0,
        legend=legend,
        tags=about.tags,
    )
    write_cog(described, out / "change.tif", overviews="mode", map=pool.map)
    write_text(out / "change.qml", raster_qml(legend))
    write_text(out / "change.qmd", about.qmd)
    batches = draw_objects(result, request, painting, rasters, work, pool, progress)
    result = replace(result, polygons=write_vectors(out / "change.gpkg", batches, layer))
    write_text(out / "objects.csv", list_objects(result, painting))
    write_text(out / "change.csv", list_kinds(result))
    draw_kinds(result, out / "change.tif", legend, work / "quicklook.png")
    (work / "quicklook.png").replace(out / "quicklook.png")
    shown = out / "change.gpkg", layer
    write_text(out / "change.qgs", project(about, out / "change.tif", legend, shown))
    result = replace(result, files=tuple(out / name for name in PRODUCTS))
    files = [path for path in result.files if path.name != "report.html"]
    blocks = describe_object_change(result, out, files, Beside(out))
    write_text(out / "report.html", render_html(about.title, blocks))
    record = {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": request.model_dump(mode="json"),
        **result.to_dict(),
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(out / "change.json", text)
    return result


def about_change(result: ObjectChange) -> About:
    """What the products of a comparison say of themselves."""
    return About(
        title=f"Objects from {result.earlier.title} to {result.later.title}",
        abstract=f"What became of each object, compared {result.aligned}",
        days=[str(side.date) for side in (result.earlier, result.later) if side.date],
        history=(
            f"Source: {result.earlier.path} and {result.later.path}",
            f"Compared with landweave {versions()['landweave']}",
        ),
    )


def legend_of(result: ObjectChange) -> tuple[LegendRow, ...]:
    """The kinds of change that occur."""
    there = set(result.fates.kind.tolist())
    return tuple(row for row in KINDS if row[0] in there)


# ------------------------------------------------------------------------------------------- pixels


@dataclass(frozen=True, eq=False)
class Painting:
    """Objects of two days and what became of them; it travels."""

    objects: ObjectPair
    before: Longs
    """Numbers of the earlier objects, ascending."""
    after: Longs
    fates: Fates

    def __call__(self, window: Window) -> tuple[npt.NDArray[Any], ...]:
        """Of a block `(y, x)`: what became of what is there, which later object is there, and which
        earlier one that has vanished, by their places from 1; 0 = none."""
        numbers = self.objects.read(window)
        was, now = (
            np.where(here > 0, np.searchsorted(known, here) + 1, 0).astype(np.uint32)
            for here, known in zip(numbers, (self.before, self.after), strict=True)
        )
        kind = self.fates.kind
        gone = np.append(0, kind[self.fates.group_before])[was] == VANISHED
        what = np.append(0, kind[self.fates.group_after])[now]
        now[what == ASIDE] = 0
        kinds = np.where(now > 0, what, np.where(gone, VANISHED, 0)).astype(np.uint8)
        return kinds, now, np.where(gone, was, 0).astype(np.uint32)


class Rasters(NamedTuple):
    """What became of each pixel's object, and the objects that are drawn: plain rasters."""

    kinds: Path
    after: Path
    gone: Path


def paint(
    painting: Painting, blocks: list[Window], work: Path, pool: Pool, progress: Progress
) -> Rasters:
    """Second pass: what became of what, pixel by pixel."""
    grid, dtypes = painting.objects.grid, ("uint8", "uint32", "uint32")
    rasters = Rasters(*(work / f"{name}.tif" for name in ("kinds", "after", "gone")))
    with ExitStack() as stack:
        files = [
            stack.enter_context(rasterio.open(path, "w", **plain_profile(grid, dtype, 0)))
            for path, dtype in zip(rasters, dtypes, strict=True)
        ]
        done = report_items(pool.map(painting, blocks), "change", len(blocks), progress)
        for window, pixels in zip(blocks, done, strict=True):
            for file, values in zip(files, pixels, strict=True):
                file.write(values, 1, window=window.ranges)
    return rasters


# -------------------------------------------------------------------------------------------- layer


def describe_layer(result: ObjectChange, painting: Painting) -> Layer:
    """The layer of objects: all that are there, coloured by what became of them, and those that
    vanished."""
    import pyarrow as pa

    from tiling.formats.layer import Layer
    from tiling.formats.schema import SCHEMA

    kinds = [
        *((name, pa.int64()) for name in ("number_before", "number_after", "n_before", "n_after")),
        *((name, pa.float64()) for name in ("before_m2", "after_m2", "difference_m2", "iou")),
        *((name, pa.string()) for name in ("class_before", "class_after")),
    ]
    shown = ("class_id", "area_m2", "perimeter_m", "n_pixels")
    schema = pa.schema([SCHEMA.field(name) for name in shown])
    for name, kind in kinds:
        schema = schema.append(pa.field(name, kind))
    with open_classes(painting.objects.pair.later.path) as now:
        crs = now.crs.to_wkt()
    return Layer(
        crs=crs,
        schema=schema.append(SCHEMA.field("geometry")),
        legend=KINDS,
        name="change",
        about=about_change(result),
        fields=COLUMNS,
        outline=LINE,
    )


def draw_objects(
    result: ObjectChange,
    request: ChangeRequest,
    painting: Painting,
    rasters: Rasters,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> Iterator[pa.RecordBatch]:
    """The objects that vanished, then those that are there and are drawn over them, with what
    became of them."""
    from flows.products.vectorise import polygons

    schema = describe_layer(result, painting).schema
    for raster, later in ((rasters.gone, False), (rasters.after, True)):
        drawn = polygons(raster, pool, progress, nodata=0, simplify=request.simplify, scratch=work)
        yield from _add_fates(drawn, result, painting, schema, later=later)


def _add_fates(
    batches: Iterable[pa.RecordBatch],
    result: ObjectChange,
    painting: Painting,
    schema: pa.Schema,
    *,
    later: bool,
) -> Iterator[pa.RecordBatch]:
    """Batches of objects of one day with what became of them."""
    import pyarrow as pa

    fates = result.fates
    of, numbers = (
        (fates.group_after, painting.after) if later else (fates.group_before, painting.before)
    )
    for batch in batches:
        place = batch["class_id"].to_numpy().astype(np.int64) - 1
        group = of[place]
        columns = describe_groups(result, group)
        columns["number_after" if later else "number_before"] = numbers[place]
        columns |= {name: batch[name] for name in schema.names if name in batch.schema.names}
        columns["class_id"] = fates.kind[group]
        for which, classes in zip(("before", "after"), result.classes, strict=True):
            own = columns[f"number_{which}"].tolist()
            columns[f"class_{which}"] = [classes.get(number) or None for number in own]
            columns[f"number_{which}"] = [number or None for number in own]
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, schema.field(name).type)
            for name in schema.names
            for column in [columns[name]]
        ]
        yield pa.RecordBatch.from_arrays(
            [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)],
            schema=schema,
        )


def describe_groups(result: ObjectChange, group: Any) -> dict[str, Any]:
    """The columns of some groups, by name."""
    fates, unit = result.fates, np.float64(result.unit)
    before, after = fates.before[group] * unit, fates.after[group] * unit
    return {
        "number_before": fates.number_before[group],
        "number_after": fates.number_after[group],
        "n_before": fates.n_before[group],
        "n_after": fates.n_after[group],
        "before_m2": before,
        "after_m2": after,
        "difference_m2": after - before,
        "iou": fates.iou[group],
    }


# ------------------------------------------------------------------------------------------- tables


ROWS = 2**14
"""Rows of a table that are in memory as such."""


def list_objects(result: ObjectChange, painting: Painting) -> str:
    """CSV: a row for each object of either day, those that are the same in one."""
    fates = result.fates
    alone = fates.n_before <= 1  # of what was merged each earlier object has a row
    now, was = fates.group_after, fates.group_before
    ours = np.flatnonzero(alone[now] & (fates.kind[now] != ASIDE))
    theirs = ~alone[was] | (fates.n_after[was] == 0)
    theirs = np.flatnonzero(theirs & (fates.kind[was] != ASIDE))
    groups = now[ours], was[theirs]
    rows = np.concatenate(
        [
            np.column_stack([groups[0], fates.number_before[groups[0]], painting.after[ours]]),
            np.column_stack([groups[1], painting.before[theirs], fates.number_after[groups[1]]]),
        ]
    )
    rows = rows[np.lexsort(rows.T[::-1])]
    header = ["kind", *(name for name in COLUMNS if name not in ("class_id", "class_name"))]
    pieces = [csv_text(header, [])]
    for first in range(0, len(rows), ROWS):
        text = csv_text(header, _list_rows(result, rows[first : first + ROWS], header))
        pieces.append(text[len(pieces[0]) :])
    return "".join(pieces)


def _list_rows(result: ObjectChange, rows: Longs, header: Sequence[str]) -> Iterator[list[Any]]:
    """Rows of the table of objects: group, number before, number now."""
    fates, names = result.fates, {value: name for value, name, _ in KINDS}
    figures = describe_groups(result, rows[:, 0])
    for place, (group, was, now) in enumerate(rows.tolist()):
        own = {name: values[place] for name, values in figures.items()}
        own |= {"kind": names[int(fates.kind[group])], "iou": f"{own['iou']:.6f}"}
        own |= {"number_before": was or "", "number_after": now or ""}
        own |= {"class_before": result.classes[0].get(was, "")}
        own |= {"class_after": result.classes[1].get(now, "")}
        own |= {name: repr(float(own[name])) for name in ("before_m2", "after_m2", "difference_m2")}
        yield [own[name] for name in header]


def list_kinds(result: ObjectChange) -> str:
    """CSV: a row for each kind of change, with numbers and areas of objects before and now."""
    header = ["kind", "objects_before", "objects_after", "before_m2", "after_m2", "difference_m2"]
    rows = (
        [one.name, one.before, one.after, *map(repr, (one.before_m2, one.after_m2)),
         repr(one.after_m2 - one.before_m2)]
        for one in result.kinds
    )  # fmt: skip
    return csv_text(header, rows)


# ------------------------------------------------------------------------------------ picture


def draw_kinds(
    result: ObjectChange, raster: Path, legend: Sequence[LegendRow], target: Path
) -> None:
    """Draw what became of objects where they lie, with a legend, scale bar, north and place."""
    from flows.reports.drawing import (
        blank_figure,
        list_patches,
        north_arrow,
        paint_classes,
        place,
        read_preview,
        scale_bar,
        show_map,
    )
    from flows.reports.quicklook import LONGEST

    preview = read_preview(raster, LONGEST)
    figure = blank_figure(7.2, min(12.0, max(2.5, 7.2 * preview.slenderness)) + 1.5)
    axis = figure.subplots()
    show_map(axis, paint_classes(preview.values, legend), preview)
    scale_bar(axis, preview.crs, preview.bounds, preview.shape)
    north_arrow(axis, south_up=preview.transform.e > 0)
    counts = {one.name: max(one.before, one.after) for one in result.kinds}
    patches = list_patches([(f"{name}  {counts[name]:,}", colour) for _, name, colour in legend])
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    title = f"Objects from {result.earlier.title}\nto {result.later.title}"
    where = place(preview.crs, preview.bounds)
    figure.suptitle(f"{title}\n{where}", fontsize=10, parse_math=False)
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")
