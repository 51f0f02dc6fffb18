"""Tables and pictures of change: what became of what, class by class, where, and over time."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.assessment.figures import blank_figure, csv_text
from tiling.classmaps.legend import LegendRow
from tiling.formats.pam import Column, sidecar_text

if TYPE_CHECKING:
    from flows.change.detect import Change

MOST_DAYS = 9
"""Days that a chart names one by one, if they are far enough apart."""

SHOWN = 10
"""Changes that a picture names; the others are shown without a name."""


def transition_table(result: Change) -> str:
    """CSV: one row for each pair of classes that occurs, unchanged ones too, with pixels and exact m².

    Square metres are written to the last bit: they add up to the same totals in any order.
    """
    metres, total = result.square_metres, result.compared_m2
    rows: list[list[Any]] = []
    for i, (before, was, _) in enumerate(result.classes):
        for j, (now, name, _) in enumerate(result.classes):
            if result.pixels[i, j]:
                area = float(metres[i, j])
                share = 100 * area / total
                rows.append(
                    [before, was, now, name, int(result.pixels[i, j]), repr(area), f"{area / 1e4:.4f}", f"{share:.4f}"]
                )
    header = ["from_id", "from_name", "to_id", "to_name", "pixels", "area_m2", "area_ha", "share_percent"]
    return csv_text(header, rows)


def balance_table(result: Change) -> str:
    """CSV: one row for each class, in hectares: before, now, what stayed, what it lost, gained, and the difference."""
    metres = result.square_metres / 1e4
    rows: list[list[Any]] = []
    for k, (value, name, _) in enumerate(result.classes):
        before, now, stayed = float(metres[k].sum()), float(metres[:, k].sum()), float(metres[k, k])
        figures = (before, now, stayed, before - stayed, now - stayed, now - before)
        percent = f"{100 * (now - before) / before:.2f}" if before else ""
        rows.append([value, name, *(f"{figure:.4f}" for figure in figures), percent])
    header = ["class_id", "class_name", "earlier_ha", "later_ha", "unchanged_ha", "lost_ha", "gained_ha", "net_ha"]
    return csv_text([*header, "net_percent"], rows)


def attribute_table(result: Change, legend: Sequence[LegendRow]) -> str:
    """Text of the `.aux.xml` beside change.tif: names of the codes, and what each one was and is, with its colour."""
    names = {0: "Not compared"} | {value: name for value, name, _ in legend}
    columns: tuple[Column, ...] = (
        ("Value", int, "value"), ("Pixels", float, "pixels"), ("From", str, "generic"), ("To", str, "generic"),
        ("Change", str, "name"), ("Red", int, "red"), ("Green", int, "green"), ("Blue", int, "blue"),
    )  # fmt: skip
    place = {value: k for k, (value, _, _) in enumerate(result.classes)}
    rows = []
    for value, name, colour in legend:
        before, now = place[value // 100], place[value % 100]
        was, is_now = result.classes[before][1], result.classes[now][1]
        rows.append((value, int(result.pixels[before, now]), was, is_now, name, *bytes.fromhex(colour[1:])))
    return sidecar_text(names, columns, rows)


def draw_flows(result: Change, target: Path) -> None:
    """A bar of classes for either map and a band for each pair: strong where the class changed, pale where not."""
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path as Outline

    metres = result.square_metres / result.compared_m2
    before, now = metres.sum(1), metres.sum(0)
    order = [k for k in range(len(result.classes)) if before[k] or now[k]]
    gap = 0.012
    figure = blank_figure(8.4, 6.0)
    axes = figure.subplots()
    tops = {"before": {}, "now": {}}  # type: dict[str, dict[int, float]]
    for which, sizes in (("before", before), ("now", now)):
        y = 0.0
        for k in order:
            tops[which][k] = y
            y += float(sizes[k]) + gap
    wide = 0.035
    for which, sizes, x in (("before", before, 0.0), ("now", now, 1.0 - wide)):
        ends: float = -1.0
        for k in order:
            _, name, colour = result.classes[k]
            size = float(sizes[k])
            axes.add_patch(Rectangle((x, tops[which][k]), wide, size, facecolor=colour, edgecolor="#777777", lw=0.4))
            if size:
                middle = max(tops[which][k] + size / 2, ends + 0.033)
                ends = middle
                text = f"{name}  {short_hectares(size * result.compared_m2)} · {100 * size:.1f} %"
                axes.text(
                    x - 0.015 if which == "before" else x + wide + 0.015, middle, text, va="center", fontsize=8,
                    ha="right" if which == "before" else "left",
                )  # fmt: skip
    leaving, arriving = dict(tops["before"]), dict(tops["now"])
    for i in order:
        for j in order:
            size = float(metres[i, j])
            if not size:
                continue
            y0, y1 = leaving[i], arriving[j]
            leaving[i] += size
            arriving[j] += size
            left, right, middle = wide, 1.0 - wide, 0.5
            corners = [
                (left, y0), (middle, y0), (middle, y1), (right, y1), (right, y1 + size), (middle, y1 + size),
                (middle, y0 + size), (left, y0 + size), (left, y0),
            ]  # fmt: skip
            kinds = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.CLOSEPOLY]
            colour = result.classes[i][2]
            axes.add_patch(
                PathPatch(Outline(corners, kinds), facecolor=colour, edgecolor="none", alpha=0.18 if i == j else 0.75)
            )
    lowest = max(*(max(tops[which].values()) for which in tops), 1.0) + 0.05
    axes.set(xlim=(-0.55, 1.55), ylim=(lowest, -0.06))
    axes.text(wide / 2, -0.025, result.earlier.title, ha="center", va="bottom", fontsize=9, weight="bold")
    axes.text(1 - wide / 2, -0.025, result.later.title, ha="center", va="bottom", fontsize=9, weight="bold")
    axes.set_axis_off()
    percent = 100 * result.changed_m2 / result.compared_m2
    figure.suptitle(
        f"{short_hectares(result.changed_m2)} of {short_hectares(result.compared_m2)} changed ({percent:.1f} %)",
        fontsize=11,
    )
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def draw_series(
    title: str, series: Mapping[str, Sequence[tuple[str, float]]], colours: Mapping[str, str], target: Path
) -> None:
    """A line for each class over time, from its `(day, percent of the ground that was seen)`."""
    import numpy as np

    figure = blank_figure(8.4, 4.2)
    axes = figure.subplots()
    for name, points in series.items():
        days, percent = zip(*points, strict=True)
        axes.plot(
            np.array(days, "datetime64[D]"), percent,
            color=colours[name], marker="o", markersize=4, markeredgecolor="#777777", markeredgewidth=0.4, label=name,
            clip_on=False, linewidth=1.6,
        )  # fmt: skip
    known = sorted({day for points in series.values() for day, _ in points})
    if len(known) <= MOST_DAYS and apart(known):
        axes.set_xticks(np.array(known, "datetime64[D]"), known)  # the days of the images, and no others
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
    """Both maps and what changed, side by side, with legends, scale bar, north and place."""
    import numpy as np
    from matplotlib.patches import Patch
    from rasterio.enums import Resampling

    from flows.change.codes import BASE
    from flows.reports.quicklook import LONGEST, north_arrow, pixel_ratio, place, scale_bar
    from tiling.classmaps.alignment import on_grid
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
                laid = on_grid(source, grid)
                values = laid.read(1, out_shape=shape, resampling=Resampling.nearest)
                held = laid.read_masks(1, out_shape=shape, resampling=Resampling.nearest) > 0
            pictures.append(_painted(values, held, rows))
    changes = [(value, name, colour) for value, name, colour in legend if value % (BASE + 1)]
    picture = np.full((*shape, 3), 255, np.uint8)
    picture[code > 0] = (236, 236, 236)
    for value, _, colour in changes:
        picture[code == value] = tuple(bytes.fromhex(colour[1:]))
    pictures.append(picture)

    ratio = pixel_ratio(crs, bounds, transform)
    panel = 4.6
    tall = panel * height * ratio / width
    figure = blank_figure(3 * panel + 0.3, min(10.0, max(2.0, tall)) + 2.2)
    axes = figure.subplots(1, 3)
    for axis, image, title in zip(axes, pictures, (result.earlier.title, result.later.title, "Changed"), strict=True):
        axis.imshow(image, aspect=ratio * (shape[1] / width) / (shape[0] / height), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        for edge in axis.spines.values():
            edge.set_color("#999999")
    scale_bar(axes[2], crs, bounds, shape)
    north_arrow(axes[2], south_up=transform.e > 0)
    patches = [Patch(facecolor=colour, edgecolor="#777777", lw=0.5, label=name) for _, name, colour in result.classes]
    kept = {value: (name, colour) for value, name, colour in changes}
    largest = list(result.transitions())[:SHOWN]
    for i, j, _, metres in largest:
        name, colour = kept[result.classes[i][0] * BASE + result.classes[j][0]]
        label = f"{name}  {short_hectares(metres)}"
        patches.append(Patch(facecolor=colour, edgecolor="#777777", lw=0.5, label=label))
    figure.legend(handles=patches, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(
        f"Change from {result.earlier.title} to {result.later.title}: {short_hectares(result.changed_m2)} of "
        f"{short_hectares(result.compared_m2)}\n{place(crs, bounds)}",
        fontsize=10,
    )
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def _painted(values: Any, held: Any, rows: Sequence[LegendRow]) -> Any:
    import numpy as np

    picture = np.full((*values.shape, 3), 255, np.uint8)
    for value, _, colour in rows:
        picture[held & (values == value)] = tuple(bytes.fromhex(colour[1:]))
    return picture
