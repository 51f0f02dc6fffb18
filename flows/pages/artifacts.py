"""What Prefect shows of a run that is done: a picture, the files, and the area of every class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.pages.fileserver import show
from flows.pages.medium import write_artifact
from flows.pages.results import accuracy_page, map_page, series_page
from flows.pages.sentences import outcome
from flows.reports.blocks import Block
from flows.reports.catalogue import Catalogue
from flows.run.record import Published
from flows.stac.run_item import slug
from flows.storage.remote import Remote
from segmentation.accuracy.confusion import Accuracy


def key_of(name: str, folder: Path | Remote) -> str:
    """The name of a page, for example `valley-2024-1f0c3a`: that of a scene and of a folder, the
    same in every run.

    Scenes of one name in two folders have histories of their own.
    """
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    return f"{slug(name)}-{place}"


def publish_artifacts(published: Published) -> None:
    """Leave the summary and the table of areas with the flow run; a scene's have the same keys in
    every run."""
    scene = published.record["scene"]
    title = f"{scene['name']}, {scene['date']}" if scene["date"] else scene["name"]
    key = key_of(scene["name"], published.folder)
    show(published.folder)
    create_markdown_artifact(
        write_artifact(map_page(published)),
        key=f"land-cover-{key}",
        description=f"{title}: {outcome(published)}",
    )
    rows = [
        {
            "class": area.class_name,
            "hectares": f"{area.hectares:,.1f}",
            "share": f"{100 * area.share:.1f} %",
            "pixels": f"{area.pixels:,}",
        }
        for area in sorted(published.areas, key=lambda area: -area.area_m2)
    ]
    create_table_artifact(rows, key=f"areas-{key}", description=f"Area of every class of {title}")


def publish_catalogue(catalogue: Catalogue, folder: Path, files: Sequence[Path]) -> None:
    """Leave a report on many scenes with the flow run: the newest map, what changed, what failed,
    all areas."""
    key = key_of(folder.resolve().name, folder)
    show(folder)
    create_markdown_artifact(
        write_artifact(series_page(catalogue, folder, files)),
        key=f"report-{key}",
        description=catalogue.title,
    )
    rows = [
        {
            "scene": entry.name,
            "date": entry.date,
            "class": row.class_name,
            "hectares": f"{row.area_m2 / 1e4:,.1f}",
        }
        for entry in reversed(catalogue.used)
        for row in sorted(entry.areas, key=lambda row: -row.area_m2)
    ]
    create_table_artifact(
        rows,
        key=f"areas-{key}",
        description=f"Area of every class at every date: {catalogue.title}",
    )


def publish_accuracy(
    name: str,
    description: str,
    accuracy: Accuracy,
    files: Sequence[Path],
    folder: Path,
    command: str = "",
) -> None:
    """Leave the accuracy of a map or a model with the flow run: its pictures, and the figures of
    every class."""
    key = key_of(name, folder)
    show(folder)
    create_markdown_artifact(
        write_artifact(accuracy_page(accuracy, files, command)),
        key=f"accuracy-{key}",
        description=description,
    )
    create_table_artifact(
        [
            {"class": row["name"]}
            | {
                name: "–" if row[name] is None else f"{row[name]:.3f}"
                for name in ("iou", "f1", "precision", "recall")
            }
            | {"pixels": f"{row['support']:,}"}
            for row in accuracy.to_dict()["classes"]
        ],
        key=f"classes-{key}",
        description=f"{description}: figures of every class",
    )


def publish_page(
    kind: str, name: str, folder: Path, description: str, page: Sequence[Block]
) -> None:
    """Leave a page with the flow run; its folder is shown from then on."""
    show(folder)
    create_markdown_artifact(
        write_artifact(page), key=f"{kind}-{key_of(name, folder)}", description=description
    )
