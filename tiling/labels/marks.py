"""Marks: patches and points that a person drew, each with a number, on a scene's grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.access import is_there
from tiling.io.datasets import open_dataset
from tiling.io.remote import identity
from tiling.labels.base import BLOCK
from tiling.labels.open_labels import is_vector
from tiling.labels.raster_labels import codes_on_grid
from tiling.labels.vector_labels import ShapeLabels, place_shapes, read_shapes

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Marks:
    """Reads marks by windows, which may reach past the grid; it travels.

    Of a raster each value but 0 and no data is a mark, in any grid; of a vector file each shape is
    one by its order, and where two overlap the later one. Files are laid on the grid in fixed
    blocks, so a pixel is the same in every window.
    """

    path: str
    geobox: GeoBox

    def __call__(self, window: Window) -> tuple[Numbers, Flags]:
        """`(1, y, x)` the number of each pixel's mark, and `(y, x)` whether it has one."""
        numbers = np.zeros((1, *window.shape), np.int64)
        grid = Window.of_shape(*self.geobox.shape)
        if inside := window & grid:
            for part in inside.blocks(BLOCK):
                block = part.on_grid(BLOCK) & grid
                numbers[0][part.within(window)] = self._read(block)[part.within(block)]
        return numbers, numbers[0] != 0

    def check(self) -> None:
        """Raise `InputError` where the file holds no marks, as far as that shows at once."""
        if is_vector(self.path):
            self._shapes()  # each marks a pixel
            return
        with open_dataset(self.path) as raster:
            if raster.count != 1 or np.dtype(raster.dtypes[0]).kind not in "iub":
                raise InputError(
                    f"{self.path} holds {raster.count} bands of {raster.dtypes[0]}; marks are one "
                    "band of whole numbers, or shapes"
                )
        blocks = Window.of_shape(*self.geobox.shape).blocks(BLOCK)
        if not any(self._read(block).any() for block in blocks):
            raise InputError(
                f"{self.path} marks no pixel of the scene; marks are values other than 0 and no "
                "data"
            )

    def _read(self, block: Window) -> Numbers:
        if is_vector(self.path):
            return self._shapes().owners(block).astype(np.int64)
        with open_dataset(self.path) as raster:
            nodata = raster.nodata
        codes, known = codes_on_grid(self.path, self.geobox, nodata, block)
        return np.where(known, codes, 0).astype(np.int64)

    def _shapes(self) -> ShapeLabels:
        content = identity(self.path) if is_there(self.path) else {}
        return _load_shapes(self.path, str(content), self.geobox)


def read_points(path: str, geobox: GeoBox) -> tuple[tuple[int, int], ...]:
    """Row and column of the pixel in which each point of a vector file lies, in its order, each
    once; points beside the grid are left out.

    Raises `InputError` where the file holds anything else, or no point of the grid.
    """
    import shapely

    shapes = _on_grid(read_shapes(path), geobox)
    if (shapely.get_dimensions(shapes) != 0).any():
        raise InputError(f"{path} holds polygons; seeds are points: give one in each")
    a, b, c, d, e, f, *_ = ~geobox.affine
    x, y = shapely.get_coordinates(shapes).T
    cols = np.floor(a * x + b * y + c).astype(int)
    rows = np.floor(d * x + e * y + f).astype(int)
    inside = (rows >= 0) & (rows < geobox.height) & (cols >= 0) & (cols < geobox.width)
    if not inside.any():
        raise InputError(f"{path} lies outside the scene; give points of the same place")
    places = zip(rows[inside].tolist(), cols[inside].tolist(), strict=True)
    return tuple(dict.fromkeys(places))


@lru_cache(maxsize=4)
def _load_shapes(path: str, content: str, geobox: GeoBox) -> ShapeLabels:
    """The shapes of a file that lie on a grid; `content` tells a changed file from what it was."""
    shapes, _ = place_shapes(path, _on_grid(read_shapes(path), geobox), geobox)
    return ShapeLabels(path, geobox, (), (), shapes, np.ones(len(shapes), np.uint8))


def _on_grid(frame: Any, geobox: GeoBox) -> npt.NDArray[np.object_]:
    """The shapes of a frame in the CRS of a grid."""
    assert geobox.crs is not None  # a scene's grid has one
    shapes: npt.NDArray[np.object_] = frame.geometry.to_crs(geobox.crs.to_wkt()).to_numpy()
    return shapes
