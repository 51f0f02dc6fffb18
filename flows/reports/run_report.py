"""A map on a page: what it shows, how large every class is, how sure and how good it is, what it
was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.reports.blocks import Block, Command, Facts, Figures, Heading, Link, Text, Words
from flows.reports.medium import Medium, Place
from flows.reports.pieces import (
    FIT,
    head_files,
    link_line,
    list_accuracies,
    list_areas,
    list_files,
    show_picture,
    warn,
)

SURE = (
    "How sure: the mean of confidence.tif where the map shows the class, from a sample of its "
    "pixels."
)


def title_map(record: Mapping[str, Any]) -> str:
    """What a page about a run is called: its scene and the day of that."""
    scene = record["scene"]
    return f"Land cover of {scene['name']}" + (f", {scene['date']}" if scene["date"] else "")


def describe_map(
    record: Mapping[str, Any], folder: Place, files: Sequence[Place], medium: Medium
) -> list[Block]:
    """A finished map from its record: the same blocks for the same map, however it was cut."""
    by_name = {path.name: path for path in files}
    colours = {name: colour for _, name, colour in record["legend"]}
    areas = [(row["class_name"], row["area_m2"] / 1e4, row["share"]) for row in record["areas"]]
    accuracy, sure = record.get("accuracy") or {}, record.get("confidence")
    alt = f"Map of {record['scene']['name']} with its legend"
    sentences = [*record["warnings"], *accuracy.get("doubts", ())]
    ways = {
        "polygons over the image, at full size": by_name.get("outlines.png"),
        "this picture at full size": folder / "quicklook.png",
        "all files": folder,
    }
    return [
        _sum_up(record, accuracy),
        *(warn(sentence, medium) for sentence in sentences),
        *show_picture(alt, folder / "quicklook.png", medium, colours.values()),
        *link_line(ways, medium),
        Heading("Areas"),
        list_areas(areas, colours, sure),
        *([Text(SURE, small=True)] if sure else []),
        *_judge(accuracy, medium),
        *_show_fit(record, by_name, medium),
        *_trace(record.get("made_from", {})),
        *_open_in_qgis(by_name, medium),
        head_files(folder, medium),
        *list_files(files, medium),
    ]


def _sum_up(record: Mapping[str, Any], accuracy: Mapping[str, Any]) -> Figures:
    hectares = sum(row["area_m2"] for row in record["areas"]) / 1e4
    figures = [(f"{hectares:,.0f} ha", "mapped"), (str(len(record["areas"])), "classes")]
    if record["polygons"] is not None:
        figures.append((f"{record['polygons']:,}", "polygons"))
    if accuracy:
        figures.append((f"{accuracy['overall_accuracy']:.3f}", "overall accuracy"))
        figures.append((f"{accuracy['mean_iou']:.3f}", "mean IoU"))
    return Figures(tuple(figures))


def _judge(accuracy: Mapping[str, Any], medium: Medium) -> list[Block]:
    """How the map fares against its reference, class by class, where it has one."""
    if not accuracy:
        return []
    notes = [warn(note, medium, "Note") for note in accuracy.get("notes", ())]
    return [
        Heading("How good it is, against the reference"),
        *notes,
        list_accuracies(accuracy["classes"]),
    ]


def _show_fit(
    record: Mapping[str, Any], by_name: Mapping[str, Place], medium: Medium
) -> list[Block]:
    """What a setting was chosen by in the scene, where one was."""
    picture = by_name.get(FIT)
    if picture is None:
        return []
    kind = record["segmenter"]["kind"]
    return [
        Heading("What was chosen from the scene"),
        *show_picture(f"How each number that {kind} tried was judged", picture, medium, ()),
    ]


def _trace(made_from: Mapping[str, str]) -> list[Block]:
    return [Heading("What it was made from"), Facts(tuple(made_from.items()))] if made_from else []


def _open_in_qgis(by_name: Mapping[str, Place], medium: Medium) -> list[Block]:
    path = by_name.get("landcover.gpkg") or by_name["classes.tif"]
    file, full = Link(path.name, medium.link(path)), medium.find(path)
    words: Words = ("Drag this file onto the map; it brings its colours and legend: ", file)
    return [
        Heading("Open it in QGIS"),
        Text(words),
        *([Command(full)] if full != path.name else []),
    ]
