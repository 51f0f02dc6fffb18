"""What pictures share: an empty figure, a raster at the size of a picture, and the scale bar, north
arrow and place of a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling

from tiling.classmaps.legend import LegendRow, rgb
from tiling.io.datasets import open_dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Image = npt.NDArray[np.uint8]
"""`(y, x, 3)`."""

EDGE = "#999999"
"""Colour of the frame of a map."""


@dataclass(frozen=True, eq=False)
class Preview:
    """A class raster at the size of a picture, and where it lies."""

    values: npt.NDArray[Any]
    """`(y, x)`: of each pixel the class that most of its area has."""
    size: tuple[int, int]
    """Rows and columns of the raster itself."""
    bounds: Any
    crs: Any
    transform: Any
    """Of the raster itself."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        height, width = self.values.shape
        return height, width

    @property
    def ratio(self) -> float:
        """How much taller than wide a pixel of the raster is on the ground."""
        return pixel_ratio(self.crs, self.bounds, self.transform)

    @property
    def slenderness(self) -> float:
        """How much taller than wide the raster is on the ground."""
        return self.size[0] * self.ratio / self.size[1]

    @property
    def aspect(self) -> float:
        """How much taller than wide a pixel of the picture is on the ground."""
        return self.ratio * (self.shape[1] / self.size[1]) / (self.shape[0] / self.size[0])


def read_preview(raster: Path, longest: int) -> Preview:
    """The raster with at most so many pixels along its longer side."""
    with open_dataset(str(raster)) as source:
        height, width = source.height, source.width
        shrink = max(1.0, max(height, width) / longest)
        shape = max(1, round(height / shrink)), max(1, round(width / shrink))
        values = source.read(1, out_shape=shape, resampling=Resampling.mode)
        return Preview(values, (height, width), source.bounds, source.crs, source.transform)


def paint_classes(
    values: npt.NDArray[Any], legend: Sequence[LegendRow], held: npt.NDArray[np.bool_] | None = None
) -> Image:
    """Classes `(y, x)` in their colours, all else white; only where they are `held`, if that is
    given."""
    picture = np.full((*values.shape, 3), 255, np.uint8)
    for value, _, colour in legend:
        where = values == value
        picture[where if held is None else held & where] = rgb(colour)
    return picture


def show_map(axis: Any, image: Image, preview: Preview) -> None:
    """Draw a picture of a map without ticks, its pixels as tall and wide as they are on the
    ground."""
    axis.imshow(image, aspect=preview.aspect, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for edge in axis.spines.values():
        edge.set_color(EDGE)


def list_patches(rows: Sequence[tuple[str, str]]) -> list[Any]:
    """A patch for a legend from each label and colour."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=colour, edgecolor="#777777", linewidth=0.5, label=label)
        for label, colour in rows
    ]


def blank_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def short(count: int) -> str:
    """A number a person reads at a glance."""
    for size, letter in ((10**9, " G"), (10**6, " M"), (10**4, " k")):
        if count >= size:
            return f"{count / (1000 if size == 10**4 else size):.3g}{letter}"
    return str(count)


def pixel_ratio(crs: Any, bounds: Any, transform: Any) -> float:
    """How much taller than wide a pixel is on the ground."""
    ratio = abs(transform.e / transform.a)
    if crs and crs.is_geographic:
        ratio /= max(0.05, math.cos(math.radians((bounds.top + bounds.bottom) / 2)))
    return float(min(20, max(0.05, ratio)))


def metres_across(crs: Any, bounds: Any) -> float:
    """Ground length of the middle row."""
    from pyproj import CRS, Geod

    if crs.is_geographic:
        west, east, middle = bounds.left, bounds.right, (bounds.top + bounds.bottom) / 2
        half = (east - west) / 2
        _, _, length = Geod(ellps="WGS84").inv(west, middle, west + half, middle)
        return float(2 * length)
    if (earth := degrees(crs)) is None:
        axes = CRS.from_wkt(crs.to_wkt()).axis_info
        return float(
            abs(bounds.right - bounds.left) * (axes[0].unit_conversion_factor if axes else 1)
        )
    to_degrees, ellipsoid = earth
    middle = (bounds.top + bounds.bottom) / 2
    (west, east), (south, north) = to_degrees.transform(
        [bounds.left, bounds.right], [middle, middle]
    )
    _, _, length = ellipsoid.inv(west, south, east, north)
    return float(length)


def degrees(crs: Any) -> tuple[Any, Any] | None:
    """The way from a CRS to longitude and latitude, WGS 84's or of its own planet, and the
    ellipsoid there.

    None where a CRS lies on no planet, as a building site's.
    """
    from pyproj import CRS, Geod, Transformer
    from pyproj.exceptions import ProjError

    known = CRS.from_wkt(crs.to_wkt())
    try:
        return Transformer.from_crs(known, "EPSG:4326", always_xy=True), Geod(ellps="WGS84")
    except ProjError:
        if known.geodetic_crs is None:
            return None
    return Transformer.from_crs(known, known.geodetic_crs, always_xy=True), known.get_geod()


def scale_bar(axis: Any, crs: Any, bounds: Any, shape: tuple[int, int]) -> None:
    """A bar of a round length, lower left."""
    across = metres_across(crs, bounds)
    if not math.isfinite(across) or across <= 0:
        return
    power = 10 ** math.floor(math.log10(across / 4))
    length = max(step * power for step in (1, 2, 5) if step * power <= across / 4)
    pixels = shape[1] * length / across
    row, col = shape[0] * 0.955, shape[1] * 0.03
    label = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    for colour, thick in (("white", 4.5), ("black", 2)):
        axis.plot(
            [col, col + pixels], [row, row], color=colour, linewidth=thick, solid_capstyle="butt"
        )
    draw_text(axis, col + pixels / 2, row - shape[0] * 0.012, label, va="bottom")
    axis.set_xlim(-0.5, shape[1] - 0.5)
    axis.set_ylim(shape[0] - 0.5, -0.5)


def north_arrow(axis: Any, *, south_up: bool) -> None:
    """An N with an arrow, upper right."""
    tip, tail = ((0.96, 0.87), (0.96, 0.97)) if south_up else ((0.96, 0.97), (0.96, 0.87))
    style = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.2, "mutation_scale": 11}
    axis.annotate("", xy=tip, xytext=tail, xycoords="axes fraction", arrowprops=style)
    draw_text(axis, 0.96, 0.855 if not south_up else 0.985, "N", va="top", transform=axis.transAxes)


def draw_text(axis: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Small black text with a white rim, legible on any colour."""
    from matplotlib.patheffects import withStroke

    axis.text(
        x,
        y,
        text,
        ha="center",
        fontsize=8,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        **options,
    )


def place(crs: Any, bounds: Any) -> str:
    """Where the map is, in words: the centre in degrees and the CRS."""
    code, earth = crs.to_epsg(), degrees(crs)
    name = f"EPSG:{code}" if code else crs.to_dict().get("proj", "custom CRS")
    if earth is None:
        return str(name)
    lon, lat = earth[0].transform(
        (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
    )
    if not (math.isfinite(lat) and math.isfinite(lon)):
        return name
    return (
        f"{abs(lat):.3f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.3f}° "
        f"{'E' if lon >= 0 else 'W'} · {name}"
    )
