"""Fields on a page: how they stand, the weakest, what is not judged, every file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.composite.images import Images
from flows.crops.judge import Judgement
from flows.crops.publish import VIGOUR, weakest
from flows.reports.blocks import Block, Column, Figures, Heading, Table, Text, Words
from flows.reports.medium import Medium
from flows.reports.pieces import head_files, list_files, paint, repeat_by, show_picture, warn
from segmentation.spectral import water_stress
from segmentation.temporal import standing

LISTED = 30
"""Fields that a table of the page names."""


def describe_crops(
    images: Images,
    judged: Judgement,
    names: Sequence[str] | None,
    folder: Path,
    charts: Sequence[tuple[str, Path]],
    files: Sequence[Path],
    medium: Medium,
    command: str,
    notes: Sequence[str] = (),
    zones: Any = None,
) -> list[Block]:
    """The map, the crops over time, dates, the weakest fields with charts, what is not judged, all
    files."""
    days, figures = images.days, judged.figures
    told = (
        (f"{judged.value.shape[2]:,}", "fields"),
        (f"{len(days):,}", "images"),
        (f"{days[0]} to {days[-1]}", "dates"),
        (", ".join(figures.names), "indices"),
    )
    blocks: list[Block] = [Figures(told)]
    blocks += [warn(note, medium, "Note") for note in (*images.notes, *notes)]
    blocks += show_picture("The fields and how they stand", folder / "map.png", medium)
    blocks += show_picture("Each crop over time", folder / "crops.png", medium)
    blocks += [Heading("Dates"), list_dates(images, judged)]
    if weak := weakest(judged):
        blocks += [Heading("Weakest fields on their last date"), list_fields(images, judged, names)]
        if len(weak) > LISTED:
            blocks.append(Text(f"All {len(weak):,} stand in crops.csv and crops.gpkg.", small=True))
    for title, path in charts:
        blocks += show_picture(f"Indices of {title} over time", path, medium)
    if zones is not None:
        blocks += [Heading("Zones inside fields")]
        blocks += show_picture("Zones from weak to strong", folder / "zones.png", medium)
        blocks.append(list_zones(zones))
        if zones.num_rows > LISTED:
            blocks.append(Text("All zones stand in zones.csv and zones.gpkg.", small=True))
    if any(judged.remarks):
        blocks += [Heading("Fields that are not judged"), list_remarks(judged, names)]
    return [*blocks, head_files(folder, medium), *list_files(files, medium), *repeat_by(command)]


def list_dates(images: Images, judged: Judgement) -> Table:
    """Each image with how many fields are judged, and how many stand in each class by the first
    index."""
    stress = stress_index(judged)
    columns = (
        Column("date", whole=True),
        Column("image"),
        Column("fields judged", number=True),
        *(Column(paint(name, colour), number=True) for _, name, colour in VIGOUR[:5]),
        *((Column("under water stress", number=True),) if stress is not None else ()),
    )
    rows = []
    for number, scene in enumerate(images.scenes):
        counts = np.bincount(judged.vigour[number, 0], minlength=6)[1:]
        row: list[Words] = [str(scene.date), scene.name]
        row += [f"{int((~np.isnan(judged.value[number, 0])).sum()):,}", *(f"{n:,}" for n in counts)]
        if stress is not None:
            codes = judged.stress[number, stress]
            row.append(f"{int(((codes > 1) & (codes < 5)).sum()):,}")
        rows.append(tuple(row))
    return Table(columns, tuple(rows))


def stress_index(judged: Judgement) -> int | None:
    """The number of the first index that tells water stress."""
    names = judged.figures.names
    return next((at for at, name in enumerate(names) if name in water_stress.INDICES), None)


def list_fields(images: Images, judged: Judgement, names: Sequence[str] | None) -> Table:
    """The weakest fields by the first index: against their crop, earlier years, and their own
    pixels."""
    crops, stress = judged.fields.crops, stress_index(judged)
    columns = (
        Column("field"),
        *((Column("crop"),) if crops else ()),
        Column("date", whole=True),
        Column(judged.figures.names[0], number=True),
        Column("against its crop" if crops else "against all fields"),
        Column("against earlier years"),
        Column("far below its median", number=True),
        *((Column("water stress"),) if stress is not None else ()),
    )
    z, against = (judged.at_last(one)[0] for one in (judged.vigour_z, judged.anomaly_z))
    vigour, anomaly = (judged.at_last(one)[0] for one in (judged.vigour, judged.anomaly))
    value, far = judged.at_last(judged.value)[0], judged.at_last(judged.figures.of("far_share"))[0]
    rows = []
    for field in weakest(judged)[:LISTED]:
        row = [call(field, names), *((crops[field],) if crops else ())]
        row += [images.days[judged.last[field]], f"{value[field]:.3f}"]
        row += [_score(z[field], vigour[field]), _score(against[field], anomaly[field])]
        row.append(f"{100 * far[field]:.0f} %")
        if stress is not None:
            code = int(judged.at_last(judged.stress)[stress, field])
            row.append(("–", *water_stress.CLASSES)[code])
        rows.append(tuple(row))
    return Table(columns, tuple(rows))


def _score(z: float, code: int) -> str:
    return f"{standing.CLASSES[code - 1]} ({z:+.1f})" if code else "–"


def call(field: int, names: Sequence[str] | None) -> str:
    """What a field is called."""
    return f"{field + 1}" if names is None else f"{field + 1} {names[field]}"


def list_zones(zones: Any) -> Table:
    """The first zones with area, mean and, where there are rates, what they take in all."""
    names = zones.column_names
    columns = tuple(Column(name.replace("_", " "), number=name in NUMBERS) for name in names)
    rows = zones.slice(0, LISTED).to_pylist()
    return Table(
        columns, tuple(tuple("–" if v is None else f"{v}" for v in row.values()) for row in rows)
    )


NUMBERS = ("field", "zone", "area_ha", "mean_index", "rate", "amount")


def list_remarks(judged: Judgement, names: Sequence[str] | None) -> Table:
    """Fields that are judged on no date, with the reason."""
    told = [(call(at, names), remark) for at, remark in enumerate(judged.remarks) if remark]
    more = [("…", f"{len(told) - LISTED:,} more, in crops.gpkg")] if len(told) > LISTED else []
    return Table((Column("field"), Column("why")), (*told[:LISTED], *more))
