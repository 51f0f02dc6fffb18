"""A partition on a page: how many regions, how large, where, and what they were made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.reports.blocks import Block, Column, Command, Facts, Figures, Heading, Link, Table, Text
from flows.reports.medium import Medium
from flows.reports.pieces import head_files, link_line, list_areas, list_files, show_picture, warn

BAR = 24
"""Blocks in the longest bar of sizes."""


def title_page(record: Mapping[str, Any]) -> str:
    """What a page about a partition is called: its scene and the day of that."""
    scene = record["scene"]
    what = "Edges" if record["gives"] == "edges" else "Objects"
    return f"{what} of {scene['name']}" + (f", {scene['date']}" if scene["date"] else "")


def describe_objects(
    record: Mapping[str, Any], folder: Path, files: Sequence[Path], medium: Medium
) -> list[Block]:
    """A finished partition from its record: the same blocks for the same regions, however they were
    cut."""
    layer = next(path for path in files if path.suffix == ".gpkg")
    alt = f"{title_page(record)}: the scene, and a part of it with outlines"
    full = medium.find(layer)
    return [
        Figures(tuple(sum_up(record))),
        *(warn(sentence, medium) for sentence in record["warnings"]),
        *show_picture(alt, folder / "quicklook.png", medium),
        *link_line(
            {"this picture at full size": folder / "quicklook.png", "all files": folder}, medium
        ),
        *([Heading("Levels"), list_levels(record["levels"])] if len(record["levels"]) > 1 else []),
        *list_sizes(record["levels"]),
        *describe_classes(record),
        Heading("What it was made from"),
        Facts(tuple(record["made_from"].items())),
        Heading("Open it in QGIS"),
        Text(
            (
                "Drag this file onto the map; it brings its outlines: ",
                Link(layer.name, medium.link(layer)),
            )
        ),
        *([Command(full)] if full != layer.name else []),
        head_files(folder, medium),
        *list_files(files, medium),
    ]


def describe_classes(record: Mapping[str, Any]) -> list[Block]:
    """The area of each class of a panoptic map; nothing where only objects have one."""
    if "areas" not in record:
        return []
    areas = [(row["class_name"], row["area_m2"] / 1e4, row["share"]) for row in record["areas"]]
    colours = {name: colour for _, name, colour in record["legend"]}
    return [Heading("Classes"), list_areas(areas, colours)]


def sum_up(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures of the finest level, and what they count."""
    finest = record["levels"][0]
    if record["gives"] == "edges":
        return [(f"{finest['count']:,}", "lines")]
    hectares = finest["area_m2"] / 1e4
    mean = finest["area_m2"] / finest["count"] if finest["count"] else 0.0
    return [
        (f"{finest['count']:,}", "objects"),
        (f"{hectares:,.1f} ha", "in all"),
        (f"{mean:,.0f} m²", "each, on average"),
    ]


def list_levels(levels: Sequence[Mapping[str, Any]]) -> Table:
    """Levels from fine to coarse, with how many objects there are and how large they are on
    average."""
    columns = (
        Column("layer"),
        Column("scale", number=True),
        Column("objects", number=True),
        Column("mean m²", number=True),
    )
    rows = tuple(
        (
            level["name"],
            "" if level["scale"] is None else f"{level['scale']:g}",
            f"{level['count']:,}",
            f"{level['area_m2'] / level['count']:,.0f}" if level["count"] else "–",
        )
        for level in levels
    )
    return Table(columns, rows)


def list_sizes(levels: Sequence[Mapping[str, Any]]) -> list[Block]:
    """How many objects there are of each size, a table for each level; nothing of lines."""
    blocks: list[Block] = []
    columns = (Column("m²", number=True, whole=True), Column("objects", number=True), Column(""))
    for level in levels:
        sizes = [(float(size), int(count)) for size, count in level.get("sizes", ())]
        if not sizes:
            continue
        most = max(count for _, count in sizes)
        rows = tuple(
            (f"{size:,.10g} –", f"{count:,}", "▇" * math.ceil(BAR * count / most))
            for size, count in sizes
        )
        name = "How large they are" + (f": {level['name']}" if len(levels) > 1 else "")
        blocks += [Heading(name), Table(columns, rows)]
    return blocks
