"""Edges as a mask and as lines, from the numbers of those that hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio

from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items, silent
from flows.objects.about import about_objects
from flows.objects.figures import LINE
from flows.objects.layers import LevelLayer
from flows.objects.model import PublishedLevel
from flows.objects.rasters import LevelRaster, write_raster
from flows.products.vectorise import STAIRCASE, pixel_metres
from flows.regions.levels import Regions
from flows.regions.plan import ObjectsPlan
from flows.storage.run_folder import RunFolder
from tiling.grid.geobox import geobox_of
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.profiles import plain_profile
from tiling.regions.pixel_lines import CELL, PADDING, trace_lines

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import Layer

NAME = "edges"
FIELDS = {
    "number": ("Number", "Number of the edge that the line is part of: lines that hang together"),
    "n_pixels": ("Pixels", "Number of pixels of the line"),
    "length_m": ("Length (m)", "Length of the line on the ground"),
}


def write_edges(
    plan: ObjectsPlan, levels: Sequence[Regions], folder: RunFolder, pool: Pool
) -> list[LevelRaster]:
    """`edges.tif`: 1 on an edge, 0 elsewhere."""
    (level,) = levels
    target = folder.product(f"{NAME}.tif")
    with scratch(folder.path) as work:
        mask = work / "mask.tif"
        profile = plain_profile(plan.scene.geobox, "uint8", 0)
        windows = list(plan.scene.window.blocks(2 * CELL))
        with rasterio.open(mask, "w", **profile) as out:
            masks = pool.map(partial(read_mask, level.numbers), windows)
            for window, pixels in zip(windows, masks, strict=True):
                out.write(pixels, 1, window=window.ranges)
        write_raster(plan, mask, about_objects(plan), target, work, map=pool.map)
    return [LevelRaster(NAME, None, target, level.n)]


def read_mask(numbers: Path, window: Window) -> npt.NDArray[np.uint8]:
    """`(y, x)`: 1 where a window of a raster holds a number."""
    with open_dataset(str(numbers)) as source:
        values: npt.NDArray[np.uint32] = source.read(1, window=window.ranges)
    return (values > 0).astype(np.uint8)


def write_lines(
    plan: ObjectsPlan,
    levels: Sequence[Regions],
    folder: RunFolder,
    pool: Pool,
    progress: Progress = silent,
) -> list[LevelLayer]:
    """`edges.gpkg`: lines from fork to fork, cut along a fixed lattice and the area of interest."""
    from tiling.formats.vector_writers import write_vectors

    (level,) = levels
    layer = describe_lines(plan)
    tolerance = plan.request.simplify
    if tolerance is None:
        tolerance = STAIRCASE * pixel_metres(level.numbers)
    drawing = Drawing(level.numbers, folder.product(f"{NAME}.tif"), plan.window, tolerance)
    cells = list(plan.window.blocks(CELL))
    batches = report_items(
        pool.map(partial(draw_lines, drawing), cells), "vectorise", len(cells), progress
    )
    there = (batch for batch in batches if batch is not None)
    count = write_vectors(folder.product(f"{NAME}.gpkg"), there, layer)
    return [LevelLayer(PublishedLevel(NAME, None, count, 0.0), layer)]


@dataclass(frozen=True)
class Drawing:
    """What the lines of a cell are drawn from."""

    numbers: Path
    """On the grid of the scene."""
    shown: Path
    """The mask that the products show, on the grid of `window` of the scene."""
    window: Window
    tolerance: float
    """How far lines may leave the middles of pixels, in metres."""


def draw_lines(drawing: Drawing, cell: Window) -> pa.RecordBatch | None:
    """The lines of a cell of the scene; None where it has none.

    Pixels beyond the area of interest are no part of any line.
    """
    import pyarrow as pa
    import shapely

    around = cell.pad(PADDING)
    numbers = np.zeros(around.shape, np.uint32)
    mask = np.zeros(around.shape, bool)
    with open_dataset(str(drawing.shown)) as shown, open_dataset(str(drawing.numbers)) as source:
        grid = geobox_of(source)
        inside = around & drawing.window
        if not inside:
            return None
        at = inside.within(around)
        numbers[at] = source.read(1, window=inside.ranges)
        own = inside.shift(-drawing.window.row, -drawing.window.col)
        mask[at] = shown.read(1, window=own.ranges) > 0
    lines = trace_lines(mask, cell)
    if lines.starts.size < 2:
        return None
    line = np.repeat(np.arange(lines.starts.size - 1), np.diff(lines.starts))
    col, row = lines.cols + 0.5, lines.rows + 0.5
    affine: Any = grid.affine
    x, y = affine.a * col + affine.b * row + affine.c, affine.d * col + affine.e * row + affine.f
    drawn = shapely.linestrings(np.stack([x, y], axis=1), indices=line)
    assert grid.crs is not None  # no header without one becomes a scene
    pixel = np.sqrt(abs(affine.determinant))
    middle = pixel_metres(drawing.numbers)
    drawn = shapely.simplify(drawn, drawing.tolerance / middle * pixel)
    first = lines.starts[:-1]
    number = numbers[lines.rows[first] - around.row, lines.cols[first] - around.col]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(number, pa.int64()),
            pa.array(np.diff(lines.starts), pa.int64()),
            pa.array(measure_lengths(drawn, grid.crs.proj), pa.float64()),
            pa.array(shapely.to_wkb(drawn), pa.large_binary()),
        ],
        schema=schema_of_lines(),
    )


def measure_lengths(lines: npt.NDArray[Any], crs: Any) -> npt.NDArray[np.float64]:
    """`(n,)` metres of lines in a CRS; geodesics where its units are angles."""
    import shapely

    if not crs.is_geographic:
        factor = float(crs.axis_info[0].unit_conversion_factor)
        return np.asarray(shapely.length(lines)) * factor
    ellipsoid = crs.get_geod()
    return np.array([ellipsoid.geometry_length(line) for line in lines])


def schema_of_lines() -> pa.Schema:
    """The columns of the layer of edges."""
    import pyarrow as pa

    from tiling.formats.schema import SCHEMA

    kinds = (("number", pa.int64()), ("n_pixels", pa.int64()), ("length_m", pa.float64()))
    columns = [pa.field(name, kind, nullable=False) for name, kind in kinds]
    return pa.schema([*columns, SCHEMA.field("geometry")])


def describe_lines(plan: ObjectsPlan) -> Layer:
    """The layer of edges."""
    from tiling.formats.layer import Layer

    return Layer(
        crs=plan.scene.crs.to_wkt(),
        schema=schema_of_lines(),
        name=NAME,
        about=about_objects(plan),
        fields=FIELDS,
        geometry_type="LineString",
        outline=LINE,
        label="number",
    )
