"""The picture of a run: the newest image, and the fields coloured by what is told of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.coords import BoundingBox
from rasterio.enums import Resampling

from flows.composite.images import Images
from flows.reports.drawing import EDGE, blank_figure, list_patches, paint_classes
from flows.reports.quicklook import LegendRows, natural_colours
from tiling.io.datasets import open_dataset

LONGEST = 900
"""Pixels of the longer side of the image."""

OUTLINE = "#ffee00"
"""Of fields on an image, which may be dark or bright."""


class Panel(NamedTuple):
    """A map of fields: its title, the class of each field, and their names and colours."""

    title: str
    classes: npt.NDArray[np.integer[Any]]
    legend: LegendRows


def draw_map(
    images: Images, shapes: npt.NDArray[Any], panels: Sequence[Panel], title: str, target: Path
) -> None:
    """Write the PNG; `shapes` are in the CRS of the images."""
    scene, view = images.scenes[-1], view_of(images, shapes)
    ratio = stretch_of(scene.crs, view)
    slender = (view.top - view.bottom) * ratio / (view.right - view.left)
    rows, cols = (max(1, round(LONGEST * min(1.0, part))) for part in (slender, 1 / slender))
    natural = natural_colours(scene, view, (rows, cols))
    figure, axes = _panels(len(panels) + 1, view, ratio, slender)
    extent = (view.left, view.right, view.bottom, view.top)
    if natural is not None:
        axes[0].imshow(natural, extent=extent, aspect=ratio, interpolation="nearest")
    rings, of = shapely_rings(shapes), _owners(shapes)
    _add(axes[0], rings, facecolor="none", edgecolor=OUTLINE, linewidth=0.7)
    axes[0].set_title(f"{scene.date} and the fields", fontsize=11)
    for axis, panel in zip(axes[1:], panels, strict=False):
        for value, _, colour in panel.legend:
            some = rings[np.isin(of, np.flatnonzero(panel.classes == value))]
            _add(axis, some, facecolor=colour, edgecolor="#555555", linewidth=0.4)
        axis.set_title(panel.title, fontsize=11, parse_math=False)
        rows = [(name, colour) for value, name, colour in panel.legend if value in panel.classes]
        axis.legend(
            handles=list_patches(rows), loc="upper center", bbox_to_anchor=(0.5, -0.01),
            ncols=3, fontsize=9, frameon=False,
        )  # fmt: skip
    figure.suptitle(title, fontsize=13, parse_math=False)
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def draw_zones(
    images: Images, shapes: npt.NDArray[Any], classes: Path, legend: LegendRows, target: Path
) -> None:
    """Write the PNG of the zones inside fields, beside the newest image."""
    scene, view = images.scenes[-1], view_of(images, shapes)
    ratio = stretch_of(scene.crs, view)
    slender = (view.top - view.bottom) * ratio / (view.right - view.left)
    rows, cols = (max(1, round(LONGEST * min(1.0, part))) for part in (slender, 1 / slender))
    figure, axes = _panels(2, view, ratio, slender)
    extent = (view.left, view.right, view.bottom, view.top)
    with open_dataset(str(classes)) as raster:
        window = rasterio.windows.from_bounds(*view, transform=raster.transform)
        values = raster.read(
            1, window=window, out_shape=(rows, cols), resampling=Resampling.nearest
        )
    pictures = natural_colours(scene, view, (rows, cols)), paint_classes(values, legend)
    titles = f"{scene.date} and the fields", "Zones inside fields"
    edges = OUTLINE, "#333333"
    for axis, picture, title, edge in zip(axes, pictures, titles, edges, strict=True):
        if picture is not None:
            axis.imshow(picture, extent=extent, aspect=ratio, interpolation="nearest")
        _add(axis, shapely_rings(shapes), facecolor="none", edgecolor=edge, linewidth=0.5)
        axis.set_title(title, fontsize=11)
    shown = [(name, colour) for value, name, colour in legend if (values == value).any()]
    figure.legend(
        handles=list_patches(shown), loc="outside lower center", ncols=6, fontsize=9, frameon=False
    )
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def shapely_rings(shapes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """All rings of polygons."""
    import shapely

    found: npt.NDArray[Any] = shapely.get_rings(shapely.get_parts(shapes))
    return found


def _panels(count: int, view: BoundingBox, ratio: float, slender: float) -> tuple[Any, list[Any]]:
    """A figure and so many empty maps of a view in it."""
    across = 2 if count in (2, 4) else min(3, count)
    down = -(-count // across)
    figure = blank_figure(4.4 * across, down * (min(9.0, max(2.2, 4.2 * slender)) + 0.9) + 0.4)
    axes = list(figure.subplots(down, across, squeeze=False).ravel())
    for axis in axes:
        axis.set(xlim=(view.left, view.right), ylim=(view.bottom, view.top), aspect=ratio)
        axis.set(xticks=[], yticks=[])
        for edge in axis.spines.values():
            edge.set_color(EDGE)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def stretch_of(crs: Any, view: BoundingBox) -> float:
    """How much longer a unit of the CRS is upwards than across, in the middle of a view."""
    if not crs.geographic:
        return 1.0
    return 1 / max(0.05, math.cos(math.radians((view.top + view.bottom) / 2)))


def view_of(images: Images, shapes: npt.NDArray[Any]) -> BoundingBox:
    """Around the fields, with some room, and not beyond the images; all of them where no field lies
    there."""
    import shapely

    box = images.grid.boundingbox
    whole = BoundingBox(box.left, box.bottom, box.right, box.top)
    near = shapes[shapely.intersects(shapes, shapely.box(*box.bbox))]
    if not near.size:
        return whole
    left, bottom, right, top = shapely.total_bounds(near)
    room = 0.03 * max(right - left, top - bottom)
    return BoundingBox(
        max(whole.left, left - room), max(whole.bottom, bottom - room),
        min(whole.right, right + room), min(whole.top, top + room),
    )  # fmt: skip


def _owners(shapes: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The field of each ring."""
    import shapely

    parts, field = shapely.get_parts(shapes, return_index=True)
    _, part = shapely.get_rings(parts, return_index=True)
    found: npt.NDArray[np.intp] = field[part]
    return found


def _add(axis: Any, rings: npt.NDArray[Any], **style: Any) -> None:
    """Draw rings as one path, in which a hole is where a ring lies in another."""
    import shapely
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Line

    if not rings.size:
        return
    points, of = shapely.get_coordinates(rings, return_index=True)
    codes = np.full(len(points), Line.LINETO, np.uint8)
    codes[np.flatnonzero(np.diff(of, prepend=-1))] = Line.MOVETO
    codes[np.flatnonzero(np.diff(of, append=-1))] = Line.CLOSEPOLY
    # add_patch would look at each curve for the limits of the axis, which are set
    axis.add_artist(PathPatch(Line(points, codes), **style))
