"""The picture of a partition: the scene, and a part of it at full size with the outlines of its
regions."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.coords import BoundingBox

from flows.reports.drawing import EDGE, Image, north_arrow, place, read_preview, scale_bar, show_map
from flows.reports.quicklook import LONGEST, natural_colours, plain_figure
from tiling.classmaps.legend import rgb
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.scene.scene import Scene

DETAIL = 200
"""Pixels along the side of the part that is shown at full size."""

GROWN = 4
"""How many times larger a pixel is drawn there, so that lines hide little."""

LINE = "#ffee00"


def draw_regions(numbers: Path, scene: Scene, title: str, target: Path) -> None:
    """Write the PNG. Where the image cannot be shown, regions have colours of their own."""
    preview = read_preview(numbers, LONGEST)
    whole = natural_colours(scene, preview.bounds, preview.shape)
    if whole is None:
        whole = paint_regions(preview.values)
    detail = choose_detail(preview.values, preview.size)
    figure = plain_figure(2, preview.slenderness)
    overview, close = figure.subplots(1, 2, squeeze=False)[0]
    show_map(overview, whole, preview)
    scale_bar(overview, preview.crs, preview.bounds, preview.shape)
    north_arrow(overview, south_up=preview.transform.e > 0)
    rows, cols = (n / full for n, full in zip(preview.shape, preview.size, strict=True))
    corner = detail.col * cols - 0.5, detail.row * rows - 0.5
    from matplotlib.patches import Rectangle

    box = Rectangle(corner, detail.width * cols, detail.height * rows, fill=False, edgecolor=LINE)
    overview.add_patch(box)
    large = draw_detail(numbers, scene, detail)
    # Lines of one pixel would go where a picture is made smaller by leaving pixels out.
    close.imshow(large, aspect=preview.ratio, interpolation="antialiased")
    close.set_xticks([])
    close.set_yticks([])
    for edge in close.spines.values():
        edge.set_color(EDGE)
    figure.suptitle(title, fontsize=11, y=0.985, parse_math=False)
    words = (
        f"{place(preview.crs, preview.bounds)} · right: {detail.width} × {detail.height} px of it"
    )
    figure.text(0.5, 0.925, words, ha="center", fontsize=8, color="#555555")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.90, bottom=0.04, wspace=0.04)
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def choose_detail(values: npt.NDArray[np.integer], size: tuple[int, int]) -> Window:
    """The part to show at full size: of some all over the raster the first from the middle that has
    no fewer borders than they have on average. `values` are a preview of the raster, of that
    size."""
    height, width = (min(DETAIL, n) for n in size)
    steps = (2, 1, 3, 0, 4)
    places = [
        Window((size[0] - height) * i // 4, (size[1] - width) * j // 4, height, width)
        for i, j in product(steps, steps)
    ]

    def count_borders(window: Window) -> int:
        rows, cols = (n / full for n, full in zip(values.shape, size, strict=True))
        part = values[
            int(window.row * rows) : int(window.row_stop * rows) + 1,
            int(window.col * cols) : int(window.col_stop * cols) + 1,
        ]
        across, down = part[:, 1:] != part[:, :-1], part[1:] != part[:-1]
        return int(np.count_nonzero(across) + np.count_nonzero(down))

    counts = [count_borders(window) for window in places]
    usual = sum(counts) / len(counts)
    return next(window for window, n in zip(places, counts, strict=True) if n >= usual)


def draw_detail(numbers: Path, scene: Scene, window: Window) -> Image:
    """A part of the image with the outlines of its regions, or with edges where the raster is a
    mask, each pixel as a square."""
    with open_dataset(str(numbers)) as source:
        values = source.read(1, window=window.ranges)
        transform = source.transform
    west, north = transform @ (window.col, window.row)
    east, south = transform @ (window.col_stop, window.row_stop)
    bounds = BoundingBox(west, min(south, north), east, max(south, north))
    natural = natural_colours(scene, bounds, window.shape)
    picture = paint_regions(values) if natural is None else natural
    return (
        draw_marks(picture, values) if values.dtype == np.uint8 else draw_borders(picture, values)
    )


def draw_borders(picture: Image, values: npt.NDArray[np.integer]) -> Image:
    """A picture `GROWN` times as large, with lines between pixels of other regions `(y, x)`."""
    large = picture.repeat(GROWN, axis=0).repeat(GROWN, axis=1)
    spread = values.repeat(GROWN, axis=0).repeat(GROWN, axis=1)
    border = np.zeros(spread.shape, bool)
    border[:-1] |= spread[:-1] != spread[1:]
    border[:, :-1] |= spread[:, :-1] != spread[:, 1:]
    large[border] = rgb(LINE)
    return large


def draw_marks(picture: Image, values: npt.NDArray[np.integer]) -> Image:
    """A picture `GROWN` times as large, with a dot in each pixel that is marked `(y, x)`."""
    large = picture.repeat(GROWN, axis=0).repeat(GROWN, axis=1)
    inner = (
        np.arange(values.shape[0] * GROWN) % GROWN > 0,
        np.arange(values.shape[1] * GROWN) % GROWN > 0,
    )
    dots = (values > 0).repeat(GROWN, axis=0).repeat(GROWN, axis=1)
    large[dots & inner[0][:, None] & inner[1]] = rgb(LINE)
    return large


def paint_regions(values: npt.NDArray[np.integer]) -> Image:
    """`(y, x, 3)`: regions in pale colours by lot, none white."""
    lots = (values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    channels = [(lots >> np.uint64(8 * n)) & np.uint64(127) for n in range(3)]
    picture = (np.stack(channels, axis=-1) + np.uint64(100)).astype(np.uint8)
    picture[values == 0] = 255
    return picture
