"""Pictures of change: what became of what, class by class, and where."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import Resampling

from flows.change.codes import BASE
from flows.reports.drawing import (
    Image,
    blank_figure,
    list_patches,
    north_arrow,
    paint_classes,
    place,
    read_preview,
    scale_bar,
    show_map,
)
from flows.reports.quicklook import LONGEST
from tiling.classmaps.alignment import warp_to
from tiling.classmaps.legend import LegendRow
from tiling.classmaps.raster import open_classes

if TYPE_CHECKING:
    from flows.change.model import Change

MOST_DAYS = 9
"""Days that a chart names one by one, if they are far enough apart."""

SHOWN = 10
"""Changes that a picture names; the others are shown without a name."""


GAP, BAR = 0.012, 0.035
"""Between two classes of a bar, and the width of a bar: parts of the chart."""


def draw_flows(result: Change, target: Path) -> None:
    """A bar of classes for either map and a band for each pair: strong where the class changed,
    pale where not."""
    metres = result.square_metres / result.compared_m2
    before, now = metres.sum(1), metres.sum(0)
    order = [k for k in range(len(result.classes)) if before[k] or now[k]]
    figure = blank_figure(8.4, 6.0)
    axes = figure.subplots()
    starts, ends = stack_classes(before, order), stack_classes(now, order)
    _draw_bar(axes, result, before, starts, left=True)
    _draw_bar(axes, result, now, ends, left=False)
    _draw_bands(axes, result, metres, starts, ends)
    lowest = max(*starts.values(), *ends.values(), 1.0) + 0.05
    axes.set(xlim=(-0.55, 1.55), ylim=(lowest, -0.06))
    for x, side in ((BAR / 2, result.earlier), (1 - BAR / 2, result.later)):
        axes.text(x, -0.025, side.title, ha="center", va="bottom", fontsize=9, weight="bold")
    axes.set_axis_off()
    percent = 100 * result.changed_m2 / result.compared_m2
    figure.suptitle(
        f"{short_hectares(result.changed_m2)} of {short_hectares(result.compared_m2)} changed "
        f"({percent:.1f} %)",
        fontsize=11,
    )
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def stack_classes(sizes: Any, order: Sequence[int]) -> dict[int, float]:
    """Where each class of a bar begins, from the top down, with a gap after each."""
    tops, y = {}, 0.0
    for k in order:
        tops[k] = y
        y += float(sizes[k]) + GAP
    return tops


def _draw_bar(axes: Any, result: Change, sizes: Any, tops: dict[int, float], *, left: bool) -> None:
    """The classes of one map, one above the other, each with its name and size beside it."""
    from matplotlib.patches import Rectangle

    x, lowest = (0.0, -1.0) if left else (1.0 - BAR, -1.0)
    for k, top in tops.items():
        _, name, colour = result.classes[k]
        size = float(sizes[k])
        shape = Rectangle((x, top), BAR, size, facecolor=colour, edgecolor="#777777", lw=0.4)
        axes.add_patch(shape)
        if size:
            lowest = max(top + size / 2, lowest + 0.033)  # names do not lie on each other
            text = f"{name}  {short_hectares(size * result.compared_m2)} · {100 * size:.1f} %"
            axes.text(
                x - 0.015 if left else x + BAR + 0.015, lowest, text, va="center", fontsize=8,
                ha="right" if left else "left",
            )  # fmt: skip


def _draw_bands(
    axes: Any, result: Change, metres: Any, starts: dict[int, float], ends: dict[int, float]
) -> None:
    """What became of what: bands that take up either bar from the top down."""
    from matplotlib.patches import PathPatch

    leaving, arriving = dict(starts), dict(ends)
    for i in starts:
        for j in ends:
            size = float(metres[i, j])
            if not size:
                continue
            band = PathPatch(
                _outline_band(leaving[i], arriving[j], size),
                facecolor=result.classes[i][2],
                edgecolor="none",
                alpha=0.18 if i == j else 0.75,
            )
            axes.add_patch(band)
            leaving[i] += size
            arriving[j] += size


def _outline_band(start: float, end: float, size: float) -> Any:
    """A band from one height at the left bar to another at the right, curved between them."""
    from matplotlib.path import Path as Outline

    left, right, middle = BAR, 1.0 - BAR, 0.5
    corners = [
        (left, start), (middle, start), (middle, end), (right, end), (right, end + size),
        (middle, end + size), (middle, start + size), (left, start + size), (left, start),
    ]  # fmt: skip
    curve = [Outline.CURVE4] * 3
    kinds = [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY]
    return Outline(corners, kinds)


def apart(days: Sequence[str]) -> bool:
    """Whether the names of these days, in their order, would not touch each other below a chart."""
    numbers = [datetime.date.fromisoformat(day).toordinal() for day in days]
    gaps = [after - before for before, after in pairwise(numbers)]
    return not gaps or min(gaps) * (MOST_DAYS + 1) >= numbers[-1] - numbers[0]


def short_hectares(square_metres: float) -> str:
    """An area as a person says it."""
    hectares = square_metres / 1e4
    return f"{hectares:,.0f} ha" if hectares >= 100 else f"{hectares:.3g} ha"


def draw_maps(result: Change, codes: Path, legend: Sequence[LegendRow], target: Path) -> None:
    """Draw both maps and what changed, side by side, with legends, scale bar, north and place."""
    preview = read_preview(codes, LONGEST)
    changes = [row for row in legend if row[0] % (BASE + 1)]
    changed = paint_classes(preview.values, changes)
    unchanged = (preview.values > 0) & ~np.isin(preview.values, [value for value, _, _ in changes])
    changed[unchanged] = (236, 236, 236)
    panel = 4.6
    height = min(10.0, max(2.0, panel * preview.slenderness)) + 2.2
    figure = blank_figure(3 * panel + 0.3, height)
    axes = figure.subplots(1, 3)
    titles = (result.earlier.title, result.later.title, "Changed")
    images = [*_paint_sides(result, preview.shape), changed]
    for axis, image, title in zip(axes, images, titles, strict=True):
        show_map(axis, image, preview)
        axis.set_title(title, fontsize=9)
    scale_bar(axes[2], preview.crs, preview.bounds, preview.shape)
    north_arrow(axes[2], south_up=preview.transform.e > 0)
    patches = list_patches(_legend_rows(result, changes))
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(
        f"Change from {result.earlier.title} to {result.later.title}: "
        f"{short_hectares(result.changed_m2)} of "
        f"{short_hectares(result.compared_m2)}\n{place(preview.crs, preview.bounds)}",
        fontsize=10,
    )
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def _paint_sides(result: Change, shape: tuple[int, int]) -> Iterator[Image]:
    """Both maps on the pixels of a picture of the later one."""
    nearest = {"out_shape": shape, "resampling": Resampling.nearest}
    with open_classes(result.later.path) as grid:
        for side in (result.earlier, result.later):
            with open_classes(side.path) as source:
                laid = warp_to(source, grid)
                values, held = laid.read(1, **nearest), laid.read_masks(1, **nearest) > 0
            yield paint_classes(values, side.rows or result.classes, held)


def _legend_rows(result: Change, changes: Sequence[LegendRow]) -> list[tuple[str, str]]:
    """Labels and colours of all classes and of the largest changes."""
    known = {value: (name, colour) for value, name, colour in changes}
    rows = [(name, colour) for _, name, colour in result.classes]
    for i, j, _, metres in islice(result.transitions(), SHOWN):
        name, colour = known[result.classes[i][0] * BASE + result.classes[j][0]]
        rows.append((f"{name}  {short_hectares(metres)}", colour))
    return rows
