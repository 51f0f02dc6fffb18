"""What Prefect shows of a run that is done: a picture, the files, and the area of every class."""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.catalogue import Catalogue
from flows.course import duration
from flows.report import Published
from flows.storage import Remote
from segmentation.accuracy import Accuracy

LONGEST_URI = 300_000
"""Characters of a picture inside an artifact; pages that hold more become slow."""

MOST_ROWS = 20
"""Rows of a table on a page of Markdown."""

FILES = {
    "landcover.gpkg": "polygons with class, area and confidence; opens coloured, with a legend",
    "landcover.qgs": "a QGIS project with polygons and raster; opens at a click",
    "classes.tif": "the class of every pixel; a cloud-optimised GeoTIFF with colours and names",
    "confidence.tif": "how sure the segmenter is, 0–100",
    "probabilities.tif": "the probability of every class, 0–100, a band each",
    "entropy.tif": "how evenly the classes share a pixel, 0–100",
    "margin.tif": "by how much the likeliest class leads, 0–100",
    "areas.csv": "area of every class",
    "quicklook.png": "the picture above, in full size",
    "item.json": "the run as a STAC item: where, when, which files and classes",
    "run.json": "what was asked, from what, with which versions, how long it took",
}


def slug(name: str) -> str:
    """A name as an artifact's key has it: small letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unnamed"


def publish_artifacts(published: Published) -> None:
    """Leave the summary and the table of areas with the flow run; a scene's have the same keys in every run."""
    scene = published.record["scene"]
    title = f"{scene['name']}, {scene['date']}" if scene["date"] else scene["name"]
    key = slug(scene["name"])
    create_markdown_artifact(summary(published), key=f"land-cover-{key}", description=f"{title}: {outcome(published)}")
    rows = [
        {
            "class": area.class_name,
            "hectares": f"{area.hectares:,.1f}",
            "share": f"{100 * area.share:.1f} %",
            "pixels": f"{area.pixels:,}",
        }
        for area in published.areas
    ]
    create_table_artifact(rows, key=f"areas-{key}", description=f"Area of every class of {title}")


def publish_catalogue(catalogue: Catalogue, folder: Path, files: Sequence[Path]) -> None:
    """Leave a report on many scenes with the flow run: the newest map, what changed, what failed, all areas."""
    key = slug(folder.resolve().name)
    create_markdown_artifact(report(catalogue, folder, files), key=f"report-{key}", description=catalogue.title)
    rows = [
        {"scene": entry.name, "date": entry.date, "class": row.class_name, "hectares": f"{row.area_m2 / 1e4:,.1f}"}
        for entry in catalogue.used
        for row in entry.areas
    ]
    create_table_artifact(rows, key=f"areas-{key}", description=f"Area of every class at every date: {catalogue.title}")


def report(catalogue: Catalogue, folder: Path, files: Sequence[Path]) -> str:
    """Many scenes on one page of Markdown."""
    used = catalogue.used
    lines = []
    if used and (picture := folder / catalogue.place(used[-1], "quicklook.png")).exists():
        lines.append(f"![{used[-1].name}]({data_uri(picture)})")
    lines += [f"> **Warning:** {warning}" for warning in catalogue.warnings]
    lines += [f"> **{entry.name}** failed: {entry.message}" for entry in catalogue.entries if entry.status == "failed"]
    lines += [f"> **{name}** is not used: {why}" for name, why in catalogue.unused.items()]
    if catalogue.changes:
        change = catalogue.changes[-1]
        lines.append(f"### From {change.earlier_date} to {change.later_date}")
        if change.message:
            lines.append(f"> **Not compared:** {change.message}")
        else:
            lines.append(f"{change.changed_m2 / 1e4:,.1f} of {change.compared_m2 / 1e4:,.1f} ha changed.")
            moves = [(a, b, m2) for a, b, _, m2 in change.transitions if a != b][:MOST_ROWS]
            lines.append(
                "\n".join(
                    ["| from | to | hectares |", "|---|---|---:|"]
                    + [f"| {a} | {b} | {m2 / 1e4:,.1f} |" for a, b, m2 in moves]
                )
            )
    lines += [f"### Files in `{folder.resolve()}`", file_table([(path, "") for path in files])]
    return "\n\n".join(lines)


def publish_accuracy(key: str, description: str, accuracy: Accuracy, files: Sequence[Path]) -> None:
    """Leave the accuracy of a map or a model with the flow run: its pictures, and the figures of every class."""
    pictures = [path for path in files if path.suffix == ".png"]
    share = LONGEST_URI // max(1, len(pictures))
    create_markdown_artifact(
        "\n\n".join(
            [
                f"overall accuracy **{accuracy.overall_accuracy:.3f}**, mean IoU **{accuracy.mean_iou:.3f}**",
                *(f"> **Warning:** {doubt}" for doubt in accuracy.doubts),
                *(f"> **Note:** {note}" for note in accuracy.notes),
                *(f"![{path.stem}]({data_uri(path, share)})" for path in pictures),
                file_table([(path, "") for path in files]),
            ]
        ),
        key=f"accuracy-{key}",
        description=description,
    )
    create_table_artifact(
        [
            {"class": row["name"]}
            | {name: "–" if row[name] is None else f"{row[name]:.3f}" for name in ("iou", "f1", "precision", "recall")}
            | {"pixels": f"{row['support']:,}"}
            for row in accuracy.to_dict()["classes"]
        ],
        key=f"classes-{key}",
        description=f"{description}: figures of every class",
    )


def publish_files(key: str, description: str, files: Sequence[Path], notes: Sequence[str] = ()) -> None:
    """Leave a list of files with the flow run."""
    notes = [f"> **Note:** {note}" for note in notes]
    create_markdown_artifact(
        "\n\n".join([*notes, file_table([(path, "") for path in files])]), key=key, description=description
    )


def file_table(files: Sequence[tuple[Path | Remote, str]]) -> str:
    """Files with what they are and how large, in Markdown."""
    return "\n".join(
        ["| file | what it is | size |", "|---|---|---:|"]
        + [f"| `{path.name}` | {what or FILES.get(path.name, '')} | {size(path)} |" for path, what in files]
    )


def summary(published: Published) -> str:
    """A finished run on one page of Markdown: the picture, how to open the map, where everything lies."""
    folder = published.folder.resolve()
    names = {path.name for path in published.files}
    look = folder / ("landcover.gpkg" if "landcover.gpkg" in names else "classes.tif")
    lines = [
        f"![Map with legend]({data_uri(folder / 'quicklook.png')})",
        *(f"> **Warning:** {warning}" for warning in published.record["warnings"]),
        "### Open it in QGIS",
        f"Drag this file onto the map; it brings its colours and legend:\n\n```\n{look}\n```",
        f"### Files in `{folder}`",
        file_table([(path, "") for path in published.files]),
        "Time: " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in published.seconds.items()),
    ]
    return "\n\n".join(lines)


def outcome(published: Published) -> str:
    """What came out, in one sentence."""
    hectares = sum(area.hectares for area in published.areas)
    text = f"{hectares:,.0f} ha in {len(published.areas)} classes"
    if published.polygons is not None:
        text += f", {published.polygons:,} polygons"
    if published.accuracy is not None:
        text += (
            f"; against the reference: overall accuracy {published.accuracy.overall_accuracy:.3f}, "
            f"mean IoU {published.accuracy.mean_iou:.3f}"
        )
        text += "".join(f"; but {doubt}" for doubt in published.accuracy.doubts)
    return text


def size(path: Path | Remote) -> str:
    """The size of a file as a person says it."""
    count = path.size() if isinstance(path, Remote) else path.stat().st_size
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def data_uri(picture: Path | Remote, longest: int = LONGEST_URI) -> str:
    """A PNG as a data URI of at most `longest` characters: with 256 colours if need be, then with fewer pixels."""
    from PIL import Image

    data = picture.read_bytes()
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    full, shrink = image.size, 1.0
    while len(uri := "data:image/png;base64," + base64.b64encode(data).decode()) > longest:
        small = image.resize((max(1, round(full[0] * shrink)), max(1, round(full[1] * shrink))), Image.Resampling.BOX)
        buffer = io.BytesIO()
        small.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        data, shrink = buffer.getvalue(), shrink * 0.85
    return uri
