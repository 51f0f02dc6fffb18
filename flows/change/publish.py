"""What a comparison leaves: tables, pictures, polygons and a project."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from flows.change.codes import BASE, is_change
from flows.change.model import Change
from flows.compute.pool import Pool
from flows.compute.progress import Progress
from flows.requests.change import ChangeRequest
from flows.storage.keys import versions
from tiling.classmaps.legend import LegendRow, rgb
from tiling.classmaps.raster import open_classes
from tiling.cog.write import write_cog
from tiling.formats.about import About
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import write_text

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import Layer


LAYER = "change"

PRODUCTS = (
    "change.tif", "change.gpkg", "change.qgs", "transition.csv", "change.csv", "flows.png",
    "quicklook.png", "report.html", "change.json",
)  # fmt: skip
"""Files of a comparison that a person is told of."""


def publish(
    result: Change,
    request: ChangeRequest,
    codes: Path,
    confidence: Path | None,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> Change:
    """Write the products. `change.json` goes first and comes last: with it there, all others are
    those it tells of."""
    from dataclasses import replace

    from flows.change import figures, tables
    from tiling.formats.qml import raster_qml

    out = request.out
    clear(out, PRODUCTS)
    legend = code_legend(result)
    write_text(out / "change.qml", raster_qml(legend))
    write_text(out / "change.tif.aux.xml", tables.attribute_table(result, legend))
    write_text(out / "change.qmd", about(result).qmd)
    write_cog(codes, out / "change.tif", overviews="mode", map=pool.map)
    polygons = write_polygons(
        result, request, only_changed(codes, work / "changed.tif"), confidence, work, pool, progress
    )
    result = replace(result, polygons=polygons)
    write_text(out / "transition.csv", tables.transition_table(result))
    write_text(out / "change.csv", tables.balance_table(result))
    figures.draw_flows(result, work / "flows.png")
    figures.draw_maps(result, out / "change.tif", legend, work / "quicklook.png")
    for name in ("flows.png", "quicklook.png"):
        (work / name).replace(out / name)
    write_text(out / "change.qgs", _project(result, out, legend))
    result = replace(result, files=tuple(out / name for name in PRODUCTS))
    _write_page(result, out)
    write_text(out / "change.json", _record(result, request))
    return result


def clear(out: Path, kept: Sequence[str]) -> None:
    """Take away the record of an earlier comparison, and those of its products that this one does
    not have."""
    for name in ("change.json", "transition.csv", "flows.png", "objects.csv"):
        if name == "change.json" or name not in kept:
            (out / name).unlink(missing_ok=True)


def _project(result: Change, out: Path, legend: Sequence[LegendRow]) -> str:
    """The text of a QGIS project with the change over both maps."""
    from tiling.formats.qgis_project import Backdrop, project

    outlines = (out / "change.gpkg", layer_of(result))
    backdrops = [
        Backdrop(side.title, Path(side.path), side.rows or tuple(result.classes))
        for side in (result.later, result.earlier)
    ]
    return project(about(result), out / "change.tif", legend, outlines, backdrops=backdrops)


def _write_page(result: Change, out: Path) -> None:
    """Write `report.html`, all there is to see on one page."""
    from flows.change.page import describe_change, title_change
    from flows.reports.html import render_html
    from flows.reports.medium import Beside

    files = [path for path in result.files if path.name != "report.html"]
    blocks = describe_change(result, out, files, Beside(out))
    write_text(out / "report.html", render_html(title_change(result), blocks))


def _record(result: Change, request: ChangeRequest) -> str:
    """What was asked and every figure, as JSON."""
    record = {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": request.model_dump(mode="json"),
        **result.to_dict(),
        "code": f"{BASE} × class before + class now; 0 = not compared",
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def code_legend(result: Change) -> tuple[tuple[int, str, str], ...]:
    """A row for each code that occurs: what stayed is pale, what changed has most of the colour of
    what it became."""
    rows = []
    for i, (before, was, colour) in enumerate(result.classes):
        for j, (now, name, new) in enumerate(result.classes):
            if result.pixels[i, j]:
                label = f"{was}, unchanged" if i == j else f"{was} → {name}"
                shade = (
                    mix_colours("#ffffff", colour, 0.3)
                    if i == j
                    else mix_colours(colour, new, 0.75)
                )
                rows.append((before * BASE + now, label, shade))
    return tuple(rows)


def mix_colours(one: str, other: str, part: float) -> str:
    """A colour between two, `part` of the way."""
    pairs = zip(rgb(one), rgb(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def only_changed(codes: Path, target: Path) -> Path:
    """The codes without what stayed: the polygons are made of these."""
    with open_dataset(str(codes)) as source, rasterio.open(target, "w", **source.profile) as out:
        for window in Window.of_shape(*source.shape).blocks(2048):
            values = source.read(1, window=window.ranges)
            out.write(
                np.where(is_change(values), values, 0).astype(values.dtype), 1, window=window.ranges
            )
    return target


def write_polygons(
    result: Change,
    request: ChangeRequest,
    raster: Path,
    confidence: Path | None,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> int:
    """`change.gpkg`, and how many polygons it holds."""
    from flows.products.vectorise import polygons
    from tiling.formats.vector_writers import write_vectors

    batches = polygons(
        raster,
        pool,
        progress,
        nodata=0,
        confidence=confidence,
        simplify=request.simplify,
        scratch=work,
    )
    return write_vectors(
        request.out / "change.gpkg", _add_class_names(batches, result), layer_of(result)
    )


def _add_class_names(batches: Iterable[pa.RecordBatch], result: Change) -> Iterator[pa.RecordBatch]:
    """Batches with two columns more: what each feature was, and what it is."""
    import pyarrow as pa

    names = {value: name for value, name, _ in result.classes}
    for batch in batches:
        codes = batch["class_id"].to_numpy()
        was, now = codes // BASE, codes % BASE
        for name, column in (
            ("from_id", pa.array(was, pa.int32())),
            ("from_name", pa.array([names[value] for value in was.tolist()], pa.string())),
            ("to_id", pa.array(now, pa.int32())),
            ("to_name", pa.array([names[value] for value in now.tolist()], pa.string())),
        ):
            batch = batch.append_column(name, column)
        yield batch


def about(result: Change) -> About:
    """What the products of a comparison say of themselves."""
    return About(
        title=f"Change from {result.earlier.title} to {result.later.title}",
        abstract=f"Regions whose class changed, compared {result.aligned}",
        days=[str(side.date) for side in (result.earlier, result.later) if side.date],
        history=(
            f"Source: {result.earlier.path} and {result.later.path}",
            f"Compared with landweave {versions()['landweave']}",
        ),
    )


def layer_of(result: Change) -> Layer:
    """The polygons of change, described."""
    import pyarrow as pa

    from tiling.formats.layer import Layer
    from tiling.formats.schema import SCHEMA

    added = [
        ("from_id", pa.int32()),
        ("from_name", pa.string()),
        ("to_id", pa.int32()),
        ("to_name", pa.string()),
    ]
    schema = SCHEMA
    for name, kind in added:
        schema = schema.append(pa.field(name, kind, nullable=False))
    with open_classes(result.later.path) as now:
        crs = now.crs.to_wkt()
    return Layer(
        crs=crs,
        schema=schema,
        legend=tuple(row for row in code_legend(result) if row[0] % (BASE + 1)),
        name=LAYER,
        about=about(result),
        fields={
            "class_id": ("Code", "100 × class before + class now"),
            "class_name": ("Change", "Class before → class now"),
            "confidence": (
                "Confidence (0–100)",
                "Mean of the lower confidence of both maps, 0 to 100",
            ),
            "from_id": ("Was (value)", "Class before"),
            "from_name": ("Was", "Name of the class before"),
            "to_id": ("Is (value)", "Class now"),
            "to_name": ("Is", "Name of the class now"),
        },
    )
