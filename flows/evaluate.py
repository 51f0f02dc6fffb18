"""A map against a reference: aligned explicitly, counted block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from segmentation.accuracy import Accuracy, confusion_matrix
from tiling.errors import Mistake
from tiling.palette import legend_of
from tiling.window import Window

BLOCK = 2048
LegendRows = Sequence[tuple[int, str, str]]


def evaluate(
    map_path: str | Path,
    reference: str | Path,
    *,
    legend: LegendRows = (),
    mask: str | Path | None = None,
    mask_value: int = 1,
) -> Accuracy:
    """Accuracy of a class raster against a reference class raster, on the map's grid.

    The reference and the mask are brought onto the map's grid by nearest neighbour. Pixels without data in either are
    left out, and with a `mask` so are those where it is not `mask_value`. Every value found on either side is a class;
    its name is the legend's or, without one, the map's own category name.
    """
    with ExitStack() as stack:
        found = stack.enter_context(open_classes(map_path))
        truth = stack.enter_context(on_grid(stack.enter_context(open_classes(reference)), found))
        where = stack.enter_context(on_grid(stack.enter_context(open_classes(mask)), found)) if mask else None
        present: set[int] = set()
        for expected, predicted in pairs(truth, found, where, mask_value):
            present.update(np.unique(expected).tolist(), np.unique(predicted).tolist())
        if not present:
            raise Mistake(
                f"{map_path} and {reference} share no labelled pixel; check that they show the same place and that "
                "each declares its no data"
            )
        carried = (row for row in legend_of(map_path) if row[1] != str(row[0]))  # those with a name
        rows = {value: (value, name, colour) for value, name, colour in legend or carried}
        values = sorted(present)
        matrix = np.zeros((len(values), len(values)), np.int64)
        for expected, predicted in pairs(truth, found, where, mask_value):
            matrix += confusion_matrix(expected, predicted, values)
    return Accuracy.from_confusion(matrix, [rows.get(v, (v, f"Class {v}", "#808080")) for v in values])


def pairs(
    truth: WarpedVRT, found: rasterio.DatasetReader, where: WarpedVRT | None, mask_value: int
) -> Iterator[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]]:
    """Truth and prediction at the pixels where both have data, block by block, each flat."""
    for block in Window.of_shape(found.height, found.width).blocks(BLOCK):
        window = block.ranges
        valid = (truth.read_masks(1, window=window) > 0) & (found.read_masks(1, window=window) > 0)
        if where is not None:
            valid &= where.read(1, window=window) == mask_value
        if valid.any():
            yield truth.read(1, window=window)[valid], found.read(1, window=window)[valid]


def open_classes(path: str | Path) -> rasterio.DatasetReader:
    """A class raster, open; `Mistake` where it is none."""
    try:
        source = rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise Mistake(f"{path} cannot be read as a class raster: {error}") from error
    if not np.issubdtype(np.dtype(source.dtypes[0]), np.integer):
        raise Mistake(f"{path} holds {source.dtypes[0]} values; a class raster holds integers")
    if source.crs is None:
        raise Mistake(f"{path} has no CRS, so it cannot be laid over another map; add one with rio edit-info --crs")
    return source


def on_grid(source: rasterio.DatasetReader, grid: rasterio.DatasetReader) -> WarpedVRT:
    """`source` on the pixels of `grid`, nearest neighbour; pixels it does not reach have no data."""
    return WarpedVRT(
        source,
        crs=grid.crs,
        transform=grid.transform,
        height=grid.height,
        width=grid.width,
        resampling=Resampling.nearest,
        add_alpha=source.nodata is None,
        tolerance=1e-9,  # exact: with 0 rasterio 1.4 makes no WarpedVRT on a given grid
    )
