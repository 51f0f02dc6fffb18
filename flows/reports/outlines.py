"""The polygons of a run over the image they were made from: what a person zooms into to judge a
map."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.reports.drawing import paint_classes, read_preview
from flows.reports.quicklook import LegendRows, natural_colours
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

OUTLINES = "outlines.png"

LONGEST = 2400
"""Pixels of the longer side, about: a larger scene is shown smaller, and each pixel of a small one
as a square."""

MOST = 200_000
"""Polygons beyond which lines would hide the image; there is no picture then."""

LINE = (255, 238, 0)

_BATCH = 20_000


def draw_outlines(
    classes: Path, package: Path, legend: LegendRows, scene: Scene, target: Path
) -> None:
    """Write the PNG: the image in natural colours, else the classes, with the polygons of a
    GeoPackage over it."""
    from PIL import Image, ImageDraw

    preview = read_preview(classes, LONGEST)
    shape, size = preview.shape, preview.size
    natural = natural_colours(scene, preview.bounds, shape)
    if natural is None:
        natural = paint_classes(preview.values, legend)
    grow = max(1, LONGEST // max(shape))
    ratio = min(4.0, max(0.25, preview.ratio))
    wide, tall = shape[1] * grow, max(1, round(shape[0] * grow * ratio))
    picture = Image.fromarray(natural).resize((wide, tall), Image.Resampling.NEAREST)
    _draw(ImageDraw.Draw(picture), package, ~preview.transform, (wide / size[1], tall / size[0]))
    picture.save(target, "PNG")


def _draw(canvas: ImageDraw, package: Path, to_pixels: Any, scale: tuple[float, float]) -> None:
    """Draw every ring as a line, `to_pixels` from the CRS to the raster's columns and rows, then
    scaled."""
    import pyogrio
    import shapely

    settings: dict[str, Any] = {
        "layer": "landcover",
        "columns": [],
        "batch_size": _BATCH,
        "use_pyarrow": True,
    }
    with pyogrio.open_arrow(package, **settings) as (meta, batches):
        for batch in batches:
            shapes = shapely.from_wkb(
                batch.column(meta["geometry_name"] or "wkb_geometry").to_numpy(False)
            )
            rings = shapely.get_rings(shapely.get_parts(shapes))
            points, of = shapely.get_coordinates(rings, return_index=True)
            cols, rows = to_pixels @ (points[:, 0], points[:, 1])
            on_canvas = np.column_stack([cols * scale[0], rows * scale[1]])
            ends = np.searchsorted(of, np.arange(len(rings) + 1))
            for start, end in pairwise(ends):
                canvas.line(on_canvas[start:end].ravel().tolist(), fill=LINE, width=1)
