"""The record of a run, a quicklook, and how it compares with a reference."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flows.assessment.evaluate import evaluate, labels_of
from flows.plan.plan import Plan
from flows.plan.shard import peak_memory
from flows.products.about import describe_scene, list_origins
from flows.products.class_areas import ClassArea
from flows.products.confidence import sample_confidence
from flows.products.rasters import Rasters
from flows.reports.pieces import FIT, REPORT
from flows.stac.run_item import ITEM, item_of
from flows.storage.keys import versions
from flows.storage.remote import Remote
from flows.storage.run_folder import RunFolder
from segmentation.accuracy.confusion import Accuracy
from segmentation.models.trained import TrainedSegmenter
from tiling.errors import redact
from tiling.formats.shard_tiff import Part
from tiling.io.files import scratch, write_text

PRODUCTS = (
    "classes.tif", "confidence.tif", "probabilities.tif", "entropy.tif", "margin.tif", "layers.tif",
    "mask.tif", "landcover.gpkg",
    "landcover.qgs", "areas.csv", "quicklook.png", "outlines.png", FIT, REPORT, ITEM, "run.json",
)  # fmt: skip
"""Files of a run that a person is told of, where they are."""


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


def compare(plan: Plan, raster: Path) -> Accuracy | None:
    """How the map fares against the reference, where there is one; only a model's confidence is
    judged as well."""
    reference, segmenter, legend = plan.request.reference, plan.segmenter, plan.legend.rows
    if not reference:
        return None
    if isinstance(segmenter, TrainedSegmenter):
        return evaluate(raster, reference, legend=legend, taught=labels_of(segmenter.loaded_bundle))
    return replace(evaluate(raster, reference, legend=legend, taught=()), reliability=None)


def write_quicklook(
    plan: Plan, classes: Path, areas: tuple[ClassArea, ...], folder: RunFolder
) -> None:
    """Draw `quicklook.png`."""
    from flows.products.about import model_name
    from flows.reports.quicklook import draw

    with scratch(folder.path) as work:
        day = f", {plan.scene.date}" if plan.scene.date else ""
        draw(
            classes,
            plan.legend.rows,
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
        draw_outlines(classes, package, plan.legend.rows, plan.scene, work / OUTLINES)
        (work / OUTLINES).replace(target)


def write_fit(plan: Plan, folder: RunFolder) -> None:
    """Draw `fit.png`, what a setting was chosen by in the sample, where one was."""
    from flows.run.fit_curve import draw_curve

    target = folder.product(FIT)
    curve = plan.segmenter.fit_curve
    if curve is None:
        # an earlier one is of another fit
        target.unlink(missing_ok=True)
        return
    with scratch(folder.path) as work:
        draw_curve(curve, work / FIT)
        (work / FIT).replace(target)


def write_report(record: dict[str, Any], folder: RunFolder, names: Iterable[str]) -> None:
    """Write `report.html`, the map on one page: the same bytes for the same map, however and
    wherever it was made."""
    from flows.reports.html import render_html
    from flows.reports.medium import Beside
    from flows.reports.run_report import describe_map, title_map

    facts = json.loads(redact(json.dumps(record, default=str)))
    written = (ITEM, "run.json")  # which are written after it
    files = [
        folder.product(name) for name in names if name in written or folder.product(name).exists()
    ]
    blocks = describe_map(facts, folder.path, files, Beside(folder.path))
    write_text(folder.product(REPORT), render_html(title_map(facts), blocks))


def write_record(
    plan: Plan,
    parts: Iterable[Part],
    rasters: Rasters,
    polygons: int | None,
    areas: tuple[ClassArea, ...],
    accuracy: Accuracy | None,
    folder: RunFolder,
) -> Published:
    """Write `run.json`: what was asked, what it was made from, with what, how long it took, what
    came out."""
    record: dict[str, Any] = {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": plan.request.model_dump(mode="json"),
        "scene": describe_scene(plan.scene, plan.bands),
        "made_from": list_origins(plan),
        "segmenter": plan.segmenter.identity(),
        "runtime": folder.runtime,
        "legend": plan.legend.rows,
        "warnings": list(plan.warnings),
        "lattice": asdict(plan.lattice),
        "shards": len(plan.shards),
        "seconds": folder.seconds,
        "peak_bytes": {
            "worker": max((part.peak_bytes for part in parts), default=0),
            "client": peak_memory(),
        },
        "areas": [asdict(area) for area in areas],
        "confidence": sample_confidence(rasters.classes, rasters.confidence, plan.legend),
        "polygons": polygons,
        "accuracy": accuracy.to_dict() if accuracy else None,
        "versions": versions(),
    }
    write_report(record, folder, (name for name in PRODUCTS if name != REPORT))
    # The record is written last: it vouches for the rest.
    item = json.dumps(item_of(record, folder.path), indent=1, ensure_ascii=False, default=str)
    write_text(folder.product(ITEM), redact(item) + "\n")
    record = folder.record(record)
    files = tuple(folder.place / name for name in PRODUCTS if folder.product(name).exists())
    return Published(folder.place, areas, accuracy, polygons, dict(folder.seconds), files, record)
