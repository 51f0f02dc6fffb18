"""What a person looks at: areas per class, a quicklook, accuracy, and the record of the run."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from flows.assessment.evaluate import evaluate, labels_of
from flows.compute.pool import Pool
from flows.plan.plan import Plan, crs_name
from flows.plan.shard import peak_memory
from flows.stac.run_item import ITEM, item_of
from flows.storage.remote import Remote
from flows.storage.run_folder import RunFolder, versions
from segmentation.accuracy.confusion import Accuracy
from segmentation.legend import Legend
from segmentation.models.trained import Bundled
from segmentation.segmenter import Segmenter
from tiling.classmaps.counts import TallyBlock, tally
from tiling.errors import redacted
from tiling.formats.shard_tiff import Part
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch, write_text

TALLY_BLOCK = 2048


@dataclass(frozen=True)
class ClassArea:
    """How much of the map one class covers."""

    class_id: int
    class_name: str
    pixels: int
    area_m2: float
    share: float
    """Of the valid area, 0–1."""

    @property
    def hectares(self) -> float:
        return self.area_m2 / 10_000


@dataclass(frozen=True)
class Published:
    """A finished run: its folder, its figures and its files."""

    folder: Path | Remote
    areas: tuple[ClassArea, ...]
    accuracy: Accuracy | None
    polygons: int | None
    seconds: dict[str, float]
    files: tuple[Path | Remote, ...]
    record: dict[str, Any]


def class_areas(raster: Path, legend: Legend, pool: Pool) -> tuple[ClassArea, ...]:
    """Pixels and ellipsoidal area of every class on the map, in the legend's order; absent classes are left out."""
    with open_dataset(str(raster)) as source:
        whole = Window.of_shape(source.height, source.width)
    total = reduce(add, pool.map(tally, (TallyBlock(raster, block) for block in whole.blocks(TALLY_BLOCK))))
    valid = float(total.square_metres[1:].sum())
    return tuple(
        ClassArea(
            land.value,
            land.name,
            int(total.pixels[land.value]),
            float(total.square_metres[land.value]),
            float(total.square_metres[land.value]) / valid,
        )
        for land in legend.each()
        if total.pixels[land.value]
    )


def write_areas(raster: Path, legend: Legend, folder: RunFolder, pool: Pool) -> tuple[ClassArea, ...]:
    """Write `areas.csv`."""
    areas = class_areas(raster, legend, pool)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["class_id", "class_name", "pixels", "area_m2", "area_ha", "share_percent"])
    for row in areas:
        writer.writerow(
            [
                row.class_id,
                row.class_name,
                row.pixels,
                f"{row.area_m2:.2f}",
                f"{row.hectares:.4f}",
                f"{100 * row.share:.4f}",
            ]
        )
    write_text(folder.product("areas.csv"), table.getvalue())
    return areas


def compare(raster: Path, reference: str, segmenter: Segmenter) -> Accuracy | None:
    """How the map fares against the reference, where there is one; only a model's confidence is judged as well."""
    if not reference:
        return None
    if isinstance(segmenter, Bundled):
        return evaluate(raster, reference, legend=segmenter.legend.rows, taught=labels_of(segmenter.opened))
    return replace(evaluate(raster, reference, legend=segmenter.legend.rows, taught=()), reliability=None)


def write_quicklook(plan: Plan, classes: Path, areas: tuple[ClassArea, ...], folder: RunFolder) -> None:
    """Draw `quicklook.png`."""
    from flows.products.rasters import model_name
    from flows.reports.quicklook import draw

    with scratch(folder.path) as work:
        day = f", {plan.scene.date}" if plan.scene.date else ""
        draw(
            classes,
            plan.segmenter.legend.rows,
            {area.class_id: area.share for area in areas},
            plan.scene,
            f"{plan.scene.title}{day} · {model_name(plan.segmenter)}",
            work / "quicklook.png",
        )
        (work / "quicklook.png").replace(folder.product("quicklook.png"))


def write_outlines(plan: Plan, classes: Path, polygons: int | None, folder: RunFolder) -> None:
    """Draw `outlines.png` where there are polygons to draw, and no more than a picture can show."""
    from flows.reports.outlines import MOST, OUTLINES, draw_outlines

    target = folder.product(OUTLINES)
    if not polygons or polygons > MOST:
        target.unlink(missing_ok=True)  # an earlier one is of another map
        return
    with scratch(folder.path) as work:
        package = folder.product("landcover.gpkg")
        draw_outlines(classes, package, plan.segmenter.legend.rows, plan.scene, work / OUTLINES)
        (work / OUTLINES).replace(target)


def write_record(
    plan: Plan,
    parts: Iterable[Part],
    polygons: int | None,
    areas: tuple[ClassArea, ...],
    accuracy: Accuracy | None,
    folder: RunFolder,
) -> Published:
    """Write `run.json`: what was asked, what it was made from, with what, how long it took, what came out."""
    record: dict[str, Any] = {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": plan.request.model_dump(mode="json"),
        "scene": {
            "name": plan.scene.name,
            "date": plan.scene.date,
            "height": plan.scene.height,
            "width": plan.scene.width,
            "crs": crs_name(plan.scene),
            "images": [
                {"name": layer.name, "date": layer.date, "item": layer.origin}
                for layer in plan.scene.layers
                if layer.origin
            ],
            "bands": [asdict(band) for band in plan.scene.bands if band.name in plan.bands],
            "files": plan.scene.identities(),
        },
        "segmenter": plan.segmenter.identity(),
        "runtime": folder.runtime,
        "legend": plan.segmenter.legend.rows,
        "warnings": list(plan.warnings),
        "lattice": asdict(plan.lattice),
        "shards": len(plan.shards),
        "seconds": folder.seconds,
        "peak_bytes": {"worker": max((part.peak_bytes for part in parts), default=0), "client": peak_memory()},
        "areas": [asdict(area) for area in areas],
        "polygons": polygons,
        "accuracy": accuracy.to_dict() if accuracy else None,
        "versions": versions(),
    }
    # The record is written last: it vouches for the rest.
    item = json.dumps(item_of(record, folder.path), indent=1, ensure_ascii=False, default=str)
    write_text(folder.product(ITEM), redacted(item) + "\n")
    record = folder.record(record)
    names = (
        "classes.tif", "confidence.tif", "probabilities.tif", "entropy.tif", "margin.tif",
        "landcover.gpkg", "landcover.qgs", "areas.csv", "quicklook.png", "outlines.png", ITEM, "run.json",
    )  # fmt: skip
    files = tuple(folder.place / name for name in names if folder.product(name).exists())
    return Published(folder.place, areas, accuracy, polygons, dict(folder.seconds), files, record)
