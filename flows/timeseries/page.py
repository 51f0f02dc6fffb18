"""A series of indices on a page: what was measured, over time, and every file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flows.composite.images import Images
from flows.reports.blocks import Block, Column, Figures, Heading, Table, Text
from flows.reports.medium import Medium
from flows.reports.pieces import head_files, list_files, repeat_by, show_picture, warn
from flows.timeseries.zone_figures import ZoneFigures

MOST_CHARTS = 50
"""Zones that have a chart."""
SHOWN_CHARTS = 12
"""Charts on the page."""


def describe_series(
    images: Images,
    figures: ZoneFigures | None,
    folder: Path,
    charts: Sequence[tuple[str, Path]],
    files: Sequence[Path],
    medium: Medium,
    command: str,
) -> list[Block]:
    """Dates, the zones over time, the first charts, all files."""
    days = images.days
    told = [(f"{len(images.scenes):,}", "images"), (f"{days[0]} to {days[-1]}", "dates")]
    if figures is not None:
        told.insert(0, (f"{figures.values.shape[-1]:,}", "zones"))
        told.append((", ".join(figures.names), "indices"))
    blocks: list[Block] = [Figures(tuple(told))]
    blocks += [warn(note, medium, "Note") for note in images.notes]
    blocks += show_picture("The indices of all zones over time", folder / "series.png", medium)
    if figures is not None:
        blocks += [Heading("Dates"), list_dates(images, figures)]
    if charts:
        blocks.append(Heading("Zones"))
        for title, path in charts[:SHOWN_CHARTS]:
            blocks += show_picture(f"Indices of {title} over time", path, medium)
        if len(charts) > SHOWN_CHARTS:
            blocks.append(Text(f"{len(charts)} charts lie in the folder charts."))
    return [*blocks, head_files(folder, medium), *list_files(files, medium), *repeat_by(command)]


def list_dates(images: Images, figures: ZoneFigures) -> Table:
    """Each image with how much of the zones it shows, and the median of the zones' means."""
    columns = (
        Column("date", whole=True),
        Column("image"),
        Column("zones seen", number=True),
        *(Column(name, number=True) for name in figures.names),
    )
    rows = []
    for number, scene in enumerate(images.scenes):
        mean = figures.of("mean")[number]
        seen = int((~np.isnan(mean)).any(axis=0).sum())
        middles = (
            np.median(one[~np.isnan(one)]) if (~np.isnan(one)).any() else None for one in mean
        )
        shown = ("–" if middle is None else f"{middle:.3f}" for middle in middles)
        rows.append((str(scene.date), scene.name, f"{seen:,}", *shown))
    return Table(columns, tuple(rows))
