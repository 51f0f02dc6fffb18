"""Pictures of change: what became of what, class by class, and where."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.reports.drawing import blank_figure
from tiling.classmaps.legend import LegendRow, rgb

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
    import numpy as np
    from matplotlib.patches import Patch
    from rasterio.enums import Resampling

    from flows.change.codes import BASE
    from flows.reports.drawing import north_arrow, pixel_ratio, place, scale_bar
    from flows.reports.quicklook import LONGEST
    from tiling.classmaps.alignment import warp_to
    from tiling.classmaps.raster import open_classes
    from tiling.io.datasets import open_dataset

    with open_dataset(str(codes)) as source:
        height, width = source.shape
        shrink = max(1.0, max(height, width) / LONGEST)
        shape = max(1, round(height / shrink)), max(1, round(width / shrink))
        code = source.read(1, out_shape=shape, resampling=Resampling.mode)
        bounds, crs, transform = source.bounds, source.crs, source.transform
    pictures = []
    with open_classes(result.later.path) as grid:
        for side in (result.earlier, result.later):
            rows = side.rows or result.classes
            with open_classes(side.path) as source:
                laid = warp_to(source, grid)
                values = laid.read(1, out_shape=shape, resampling=Resampling.nearest)
                held = laid.read_masks(1, out_shape=shape, resampling=Resampling.nearest) > 0
            pictures.append(_paint(values, held, rows))
    changes = [(value, name, colour) for value, name, colour in legend if value % (BASE + 1)]
    picture = np.full((*shape, 3), 255, np.uint8)
    picture[code > 0] = (236, 236, 236)
    for value, _, colour in changes:
        picture[code == value] = rgb(colour)
    pictures.append(picture)

    ratio = pixel_ratio(crs, bounds, transform)
    panel = 4.6
    tall = panel * height * ratio / width
    figure = blank_figure(3 * panel + 0.3, min(10.0, max(2.0, tall)) + 2.2)
    axes = figure.subplots(1, 3)
    for axis, image, title in zip(
        axes, pictures, (result.earlier.title, result.later.title, "Changed"), strict=True
    ):
        axis.imshow(
            image, aspect=ratio * (shape[1] / width) / (shape[0] / height), interpolation="nearest"
        )
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        for edge in axis.spines.values():
            edge.set_color("#999999")
    scale_bar(axes[2], crs, bounds, shape)
    north_arrow(axes[2], south_up=transform.e > 0)
    patches = [
        Patch(facecolor=colour, edgecolor="#777777", lw=0.5, label=name)
        for _, name, colour in result.classes
    ]
    kept = {value: (name, colour) for value, name, colour in changes}
    largest = list(result.transitions())[:SHOWN]
    for i, j, _, metres in largest:
        name, colour = kept[result.classes[i][0] * BASE + result.classes[j][0]]
        label = f"{name}  {short_hectares(metres)}"
        patches.append(Patch(facecolor=colour, edgecolor="#777777", lw=0.5, label=label))
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(
        f"Change from {result.earlier.title} to {result.later.title}: "
        f"{short_hectares(result.changed_m2)} of "
        f"{short_hectares(result.compared_m2)}\n{place(crs, bounds)}",
        fontsize=10,
    )
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def _paint(values: Any, held: Any, rows: Sequence[LegendRow]) -> Any:
    import numpy as np

    picture = np.full((*values.shape, 3), 255, np.uint8)
    for value, _, colour in rows:
        picture[held & (values == value)] = rgb(colour)
    return picture
