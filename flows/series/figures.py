"""Pictures of a series: the area of each class over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.change.figures import MOST_DAYS, apart
from flows.reports.drawing import blank_figure


def draw_series(
    title: str,
    series: Mapping[str, Sequence[tuple[str, float]]],
    colours: Mapping[str, str],
    target: Path,
) -> None:
    """A line for each class over time, from its `(day, percent of the ground that was seen)`."""
    import numpy as np

    figure = blank_figure(8.4, 4.2)
    axes = figure.subplots()
    for name, points in series.items():
        days, percent = zip(*points, strict=True)
        axes.plot(
            np.array(days, "datetime64[D]"), percent,
            color=colours[name], marker="o", markersize=4, markeredgecolor="#777777",
            markeredgewidth=0.4, label=name,
            clip_on=False, linewidth=1.6,
        )  # fmt: skip
    known = sorted({day for points in series.values() for day, _ in points})
    if len(known) <= MOST_DAYS and apart(known):
        # the days of the images, and no others
        axes.set_xticks(np.array(known, "datetime64[D]"), known)
    axes.set_ylim(0, None)
    axes.set_ylabel("% of the ground that was seen", fontsize=8)
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    axes.tick_params(labelsize=8, color="#999999")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for edge in ("top", "right", "left"):
        axes.spines[edge].set_visible(False)
    axes.spines["bottom"].set_color("#999999")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")
