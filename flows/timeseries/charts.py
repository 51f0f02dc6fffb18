"""A chart of each zone: its indices over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.composite.images import Images
from flows.reports.drawing import blank_figure
from flows.timeseries.zone_figures import ZoneFigures

COLOURS = ("#1b7837", "#2166ac", "#b35806", "#762a83", "#01665e", "#c51b7d", "#4d4d4d", "#8c510a")
"""Of the indices, one after the other."""


def draw_zone(images: Images, figures: ZoneFigures, zone: int, title: str, target: Path) -> None:
    """The mean of each index in a zone over time, and around it where eight tenths of its area
    lie."""
    bands = [figures.of(figure)[:, :, zone] for figure in ("mean", "p10", "p90")]
    draw_lines(images, figures.names, bands, title, target, "Mean, and 10th to 90th percentile")


def draw_all(images: Images, figures: ZoneFigures, title: str, target: Path) -> None:
    """The median over all zones of the mean of each index, and around it where eight tenths of the
    zones lie."""
    mean = figures.of("mean")
    bands = [_quantile(mean, part) for part in (0.5, 0.1, 0.9)]
    words = "Median of the zones, and 10th to 90th percentile"
    draw_lines(images, figures.names, bands, title, target, words)


def _quantile(values: Any, part: float) -> Any:
    """The quantile over the last axis of those that are known; NaN where none is."""
    found = np.full(values.shape[:2], np.nan)
    for place in np.ndindex(found.shape):
        known = values[place][~np.isnan(values[place])]
        if known.size:
            found[place] = np.quantile(known, part)
    return found


def draw_lines(
    images: Images,
    names: Sequence[str],
    bands: Sequence[Any],
    title: str,
    target: Path,
    words: str,
) -> None:
    """Lines by name with a band around each, from `(date, name)` middles, lower and upper ends."""
    days = np.array(images.dates, "datetime64[D]")
    figure = blank_figure(8.4, 3.6)
    axes = figure.subplots()
    middle, low, high = bands
    for number, name in enumerate(names):
        known = ~np.isnan(middle[:, number])
        colour = COLOURS[number % len(COLOURS)]
        when = days[known]
        axes.fill_between(
            when, low[known, number], high[known, number], color=colour, alpha=0.18, linewidth=0
        )
        axes.plot(
            when, middle[known, number],
            color=colour, marker="o", markersize=3.5, linewidth=1.6, label=name,
        )  # fmt: skip
    axes.set_xlim(*_span(days))
    axes.set_ylabel(words, fontsize=8)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.tick_params(labelsize=8, color="#999999")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for edge in ("top", "right", "left"):
        axes.spines[edge].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    listed = figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    for text in listed.get_texts():
        text.set_parse_math(False)  # a crop may be called "$1"
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def _span(days: Any) -> tuple[Any, Any]:
    """From the first day to the last, with some room."""
    room = np.timedelta64(max(5, int((days[-1] - days[0]).astype(int) * 0.02)), "D")
    return days[0] - room, days[-1] + room
