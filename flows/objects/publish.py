"""What a person looks at: picture, project, page and the record of a partition."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.objects.about import about_objects, list_origins, title_objects
from flows.objects.figures import draw_regions
from flows.objects.layers import LevelLayer
from flows.objects.model import Objects, PublishedLevel
from flows.objects.page import describe_objects, title_page
from flows.objects.rasters import LevelRaster
from flows.objects.statistics import statistics_of
from flows.plan.shard import peak_memory
from flows.products.about import describe_scene
from flows.products.polygons import image_of
from flows.regions.plan import ObjectsPlan
from flows.storage.keys import versions
from flows.storage.run_folder import RunFolder
from tiling.errors import redact
from tiling.formats.qgis_project import Backdrop, outline_project
from tiling.io.files import scratch, write_text

OURS = re.compile(r"(objects(-[\d.]+)?(-statistics)?|edges|classes)\.(tif|qmd|gpkg|qgs)|areas\.csv")
"""Names of the products of a partition, beside those that every run has."""


def begin(folder: RunFolder) -> None:
    """Take away the record of an earlier run: with it there, all products are those it tells of."""
    folder.product("run.json").unlink(missing_ok=True)


def publish(
    plan: ObjectsPlan,
    made: Sequence[LevelRaster],
    layers: Sequence[LevelLayer],
    folder: RunFolder,
) -> Objects:
    """Draw the picture, write project, page and record; what an earlier run with other wishes left
    goes."""
    rasters = [one.raster for one in made]
    stem = "edges" if plan.partition.gives == "edges" else "objects"
    vectors = folder.product(f"{stem}.gpkg")
    day = f", {plan.scene.date}" if plan.scene.date else ""
    with scratch(folder.path) as work:
        title = f"{title_objects(plan)}{day} · {plan.partition.kind}"
        draw_regions(rasters[0], plan.scene, title, work / "quicklook.png")
        (work / "quicklook.png").replace(folder.product("quicklook.png"))
    statistics = statistics_of(plan, rasters)
    every = ("classes.tif", "areas.csv") if plan.partition.classes else ()
    classes = [folder.product(name) for name in every]
    drawn = vectors, [one.layer for one in layers]
    below = Backdrop("Classes", classes[0], plan.partition.classes) if classes else None
    project = outline_project(
        about_objects(plan), rasters[0], drawn, classes=below, beside=image_of(plan.scene)
    )
    write_text(folder.product(f"{stem}.qgs"), project)
    drop_stale(folder, [vectors, folder.product(f"{stem}.qgs"), *rasters, *statistics, *classes])
    names = (
        *(path.name for path in (*classes, *rasters, *statistics)),
        vectors.name, f"{stem}.qgs", "quicklook.png", "report.html", "run.json",
    )  # fmt: skip
    files = tuple(folder.product(name) for name in names)
    levels = [one.level for one in layers]
    record = describe_run(plan, levels, folder)
    if plan.partition.classes:
        record["legend"] = plan.partition.classes
        record["areas"] = [asdict(area) for area in made[0].areas]
    write_page(record, folder.path, [path for path in files if path.name != "report.html"])
    record = folder.record(record)
    return Objects(folder.path, tuple(levels), dict(folder.seconds), files, record)


def drop_stale(folder: RunFolder, products: Sequence[Path]) -> None:
    """Remove what an earlier run left that this one does not have."""
    kept = {path.stem for path in products}
    for file in folder.path.iterdir():
        if OURS.fullmatch(file.name) and file.stem not in kept:
            file.unlink()


def describe_run(
    plan: ObjectsPlan, levels: Sequence[PublishedLevel], folder: RunFolder
) -> dict[str, Any]:
    """What was asked, what it was made from, with what, how long it took, what came out."""
    return {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": plan.request.model_dump(mode="json"),
        "scene": describe_scene(plan.scene, plan.bands),
        "made_from": list_origins(plan),
        "gives": plan.partition.gives,
        "partition": plan.partition.identity(),
        "key": plan.key,
        "levels": [asdict(level) for level in levels],
        "warnings": list(plan.warnings),
        "seconds": folder.seconds,
        "peak_bytes": {"client": peak_memory()},
        "versions": versions(),
    }


def write_page(record: dict[str, Any], folder: Path, files: Sequence[Path]) -> None:
    """Write `report.html`, all there is to see on one page."""
    from flows.reports.html import render_html
    from flows.reports.medium import Beside

    facts = json.loads(redact(json.dumps(record, default=str)))
    blocks = describe_objects(facts, folder, files, Beside(folder))
    write_text(folder / "report.html", render_html(title_page(facts), blocks))
