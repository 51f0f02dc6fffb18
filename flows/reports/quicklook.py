"""One picture of a run: the map with legend, scale bar, north and place, and the scene itself where
it can be shown."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NodataShadowWarning, RasterioIOError

from flows.reports.drawing import (
    list_patches,
    north_arrow,
    paint_classes,
    place,
    read_preview,
    scale_bar,
    show_map,
)
from tiling.grid.window import Window
from tiling.io.datasets import environment, open_dataset
from tiling.io.remote import retry
from tiling.io.urls import is_local
from tiling.scene.acquisition import Band
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 900
"""Pixels of the longer side of each panel's image."""

SCENE_LIMIT = 200_000_000
"""A scene without overviews is shown only up to this many pixels: beyond, a thumbnail would mean
reading it all."""

REMOTE_LIMIT = 4 * LONGEST**2
"""The same for a scene on another machine, where every byte is fetched once more."""

COMPOSED_LIMIT = 25_000_000
"""The same for a scene whose pixels are resampled or laid over each other as they are read."""

_STRIP = 256
"""Rows of such a scene that are read at once."""

LegendRows = Sequence[tuple[int, str, str]]


def draw(
    classes: Path,
    legend: LegendRows,
    shares: dict[int, float],
    scene: Scene | None,
    title: str,
    target: Path,
) -> None:
    """Write the PNG. `shares` are each class's part of the valid area, 0–1; the legend lists only
    those."""
    preview = read_preview(classes, LONGEST)
    natural = natural_colours(scene, preview.bounds, preview.shape) if scene is not None else None
    images = [*([] if natural is None else [natural]), paint_classes(preview.values, legend)]
    figure = plain_figure(len(images), preview.slenderness)
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, image in zip(axes, images, strict=True):
        show_map(axis, image, preview)
    scale_bar(axes[-1], preview.crs, preview.bounds, preview.shape)
    north_arrow(axes[-1], south_up=preview.transform.e > 0)
    _draw_legend(figure, legend, shares)
    figure.suptitle(title, fontsize=11, y=0.985, parse_math=False)
    words = place(preview.crs, preview.bounds)
    figure.text(0.5, 0.925, words, ha="center", fontsize=8, color="#555555")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.90, bottom=0.16, wspace=0.04)
    figure.savefig(target, metadata={"Software": "landweave"}, format="png")


def plain_figure(panels: int, slenderness: float) -> Figure:
    """A figure for so many maps side by side, without a layout of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panel = 5.6
    height = min(12.0, max(2.2, panel * slenderness)) + 1.5
    figure = Figure(figsize=(panel * panels + 0.4, height), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _draw_legend(figure: Figure, legend: LegendRows, shares: dict[int, float]) -> None:
    """The classes that occur with their percent of the map, below it."""
    patches = list_patches(
        [
            (f"{name}  {100 * shares[value]:.1f} %", colour)
            for value, name, colour in legend
            if value in shares
        ]
    )
    if not patches:
        return
    listed = figure.legend(
        handles=patches, loc="lower center", ncols=min(4, len(patches)), frameon=False, fontsize=8
    )
    for text in listed.get_texts():
        text.set_parse_math(False)  # a class may be called "$1" without being a formula


def natural_colours(
    scene: Scene, bounds: Any, shape: tuple[int, int]
) -> npt.NDArray[np.uint8] | None:
    """The scene, `(y, x, 3) uint8`, in true colour, else false colour, else one band; None if that
    costs too much or cannot be read.
    """
    names = scene.band_names
    choices = (("red", "green", "blue"), ("nir", "red", "green"), ("swir16", "nir", "red"))
    trio = next((trio for trio in choices if set(trio) <= set(names)), (names[0],) * 3)
    bands = [scene.band(name) for name in dict.fromkeys(trio)]
    if scene.is_mosaic or any(band.resampled or band.at != (0, 0) for band in bands):
        found = compose(scene, [band.name for band in bands], bounds, shape)
        return None if found is None else stretch_colours([found[name] for name in trio])
    layers: dict[str, npt.NDArray[np.float32] | None] = {}
    for band in bands:
        read = partial(thumbnail, band, bounds, shape)
        try:
            layers[band.name] = read() if is_local(band.path) else retry(read)
        except RasterioIOError:  # the map is made, and is worth more than what it is shown beside
            return None
    channels = [layer for name in trio if (layer := layers[name]) is not None]
    return stretch_colours(channels) if len(channels) == len(trio) else None


def thumbnail(band: Band, bounds: Any, shape: tuple[int, int]) -> npt.NDArray[np.float32] | None:
    """The nearest pixels of a band, NaN where it has none; None if that costs too much."""
    limit = SCENE_LIMIT if is_local(band.path) else REMOTE_LIMIT
    with environment(band.path), open_dataset(band.path) as source:
        if not source.overviews(band.index) and source.height * source.width > limit:
            return None
        window = rasterio.windows.from_bounds(
            *bounds_in_row_order(bounds, source.transform), transform=source.transform
        )
        with warnings.catch_warnings():
            # where there is alpha too: it is only a picture
            warnings.simplefilter("ignore", NodataShadowWarning)
            data = source.read(
                band.index,
                out_shape=shape,
                window=window,
                boundless=False,
                resampling=Resampling.nearest,
                masked=True,
            )
    pixels: npt.NDArray[np.float32] = np.ma.filled(data.astype(np.float32), np.nan)
    if band.nodata is not None:
        pixels[pixels == np.float32(band.nodata)] = np.nan
    return pixels


def compose(
    scene: Scene, names: Sequence[str], bounds: Any, shape: tuple[int, int]
) -> dict[str, npt.NDArray[np.float32]] | None:
    """The nearest pixels of a scene that is put together as it is read, NaN where not valid; None
    if it is large."""
    corners = [
        ~scene.transform @ corner
        for corner in ((bounds.left, bounds.top), (bounds.right, bounds.bottom))
    ]
    (left, right), (top, bottom) = (
        sorted(round(value) for value in ends) for ends in zip(*corners, strict=True)
    )
    if (bottom - top) * (right - left) > COMPOSED_LIMIT:
        return None
    rows = top + ((np.arange(shape[0]) + 0.5) * (bottom - top) / shape[0]).astype(int)
    cols = ((np.arange(shape[1]) + 0.5) * (right - left) / shape[1]).astype(int)
    found = np.full((len(names), *shape), np.nan, np.float32)
    for start in range(top, bottom, _STRIP):
        here = (rows >= start) & (rows < start + _STRIP)
        chip = scene.read(Window(start, left, _STRIP, right - left), names)
        at = np.ix_(rows[here] - start, cols)
        found[:, here] = np.where(chip["valid"].values[at], chip["pixels"].values[:, *at], np.nan)
    return dict(zip(names, found, strict=True))


def stretch_colours(channels: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.uint8]:
    """Red, green and blue `(y, x)`, NaN = no data, each stretched to what most of it spans; no data
    is white."""
    picture = np.full((*channels[0].shape, 3), 255, np.uint8)
    for channel, pixels in enumerate(channels):
        seen = np.isfinite(pixels)
        if not seen.any():
            continue
        low, high = np.percentile(pixels[seen], (2, 98))
        stretched = np.clip((pixels - low) / max(high - low, 1e-9), 0, 1) ** 0.8
        picture[..., channel] = np.where(seen, stretched * 255, 255)
    return picture


def bounds_in_row_order(bounds: Any, transform: Any) -> tuple[float, float, float, float]:
    """Bounds as rasterio wants them for a raster whose rows may run from south to north."""
    south, north = sorted((bounds.bottom, bounds.top))
    return (
        (bounds.left, north, bounds.right, south)
        if transform.e > 0
        else (bounds.left, south, bounds.right, north)
    )
