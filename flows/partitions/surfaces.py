"""What engines read: the surface of a scene by windows, each computed once and left in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.io.spill import load_arrays, save_arrays
from tiling.regions.passes import Flags, Values
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

Part = Literal["heights", "values", "markers", "sides"]


class Surface(NamedTuple):
    """What a partition makes of a chip: whole numbers only, so that no cut shows."""

    values: npt.NDArray[np.int32]
    """`(band, y, x)`: what regions are compared by and described with, see
    `segmentation.relief.quantum`."""
    valid: Flags
    """`(y, x)`"""
    heights: npt.NDArray[np.uint32] | None = None
    """`(y, x)` below 2²⁸: what is flooded."""
    markers: Flags | None = None
    """`(y, x)`: where a region begins."""
    sides: npt.NDArray[np.uint8] | None = None
    """`(2, y, x)`: what parts a pixel from the one beside it on the right, and from the one below
    it."""

    def crop(self, rows: slice, cols: slice) -> Surface:
        """A rectangle of it."""
        return Surface(
            self.values[:, rows, cols],
            self.valid[rows, cols],
            None if self.heights is None else self.heights[rows, cols],
            None if self.markers is None else self.markers[rows, cols],
            None if self.sides is None else self.sides[:, rows, cols],
        )


class Surfacing(Protocol):
    """What of a partition makes surfaces."""

    @property
    def reach(self) -> int: ...

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface: ...


@dataclass(frozen=True)
class Surfaces:
    """The surface that a partition sees of a scene; it travels.

    A window's surface waits in a file of `folder` once it was computed, for engines ask for it
    again and again; a window that lies one pixel inside another takes its file. The folder belongs
    to one scene and one fitted partition.
    """

    scene: Scene
    partition: Surfacing
    bands: tuple[str, ...]
    folder: Path

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scene."""
        return self.scene.height, self.scene.width

    @property
    def heights(self) -> SurfaceReader:
        """Reads what is flooded, as one band."""
        return SurfaceReader(self, "heights")

    @property
    def values(self) -> SurfaceReader:
        """Reads what regions are compared by, band by band."""
        return SurfaceReader(self, "values")

    @property
    def markers(self) -> SurfaceReader:
        """Reads markers: a pixel is valid where it is one."""
        return SurfaceReader(self, "markers")

    @property
    def sides(self) -> SurfaceReader:
        """Reads what parts pixels from those beside and below them, as two bands."""
        return SurfaceReader(self, "sides")

    def subfolder(self, name: str) -> Path:
        """A folder for what an engine leaves, made if need be."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def read(self, window: Window, part: Part = "values") -> Surface:
        """The surface of a window, which may reach past the raster; values are there for sure only
        where `part` says so."""
        for known in (window, window.pad(1)):
            file = self._file(known)
            if file.exists():
                return _load(file, part).crop(*window.within(known))
        surface = self.compute(window)
        _save(self._file(window), surface)
        return surface

    def compute(self, window: Window) -> Surface:
        """The surface of a window, from the pixels in reach of it."""
        wide = window.pad(self.partition.reach)
        chip = self.scene.read(wide, self.bands)
        return self.partition.surface(chip, wide.row, wide.col).crop(*window.within(wide))

    def _file(self, window: Window) -> Path:
        name = f"{window.row}_{window.col}_{window.height}_{window.width}.surface.npy"
        return self.folder / name


@dataclass(frozen=True)
class SurfaceReader:
    """Reads one part of the surface by windows: a `Read` of `tiling.regions.passes`."""

    surfaces: Surfaces
    part: Part

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        surface = self.surfaces.read(window, self.part)
        if self.part == "values":
            return surface.values, surface.valid
        if self.part == "markers":
            assert surface.markers is not None  # whoever asks has made them
            return np.zeros((0, *window.shape), np.uint8), surface.valid & surface.markers
        if self.part == "sides":
            assert surface.sides is not None
            return surface.sides, surface.valid
        assert surface.heights is not None
        return surface.heights[None], surface.valid


def _save(file: Path, surface: Surface) -> None:
    """Leave a surface, values last: they are the largest, and not always asked for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = surface.valid, surface.heights, surface.markers, surface.sides
    layers = (*parts, _narrow(surface.values))
    save_arrays(file, *(np.empty(0, bool) if layer is None else layer for layer in layers))


def _load(file: Path, part: Part) -> Surface:
    valid, heights, markers, sides, *values = load_arrays(file, 5 if part == "values" else 4)
    return Surface(
        values[0].astype(np.int32) if values else np.empty((0, *valid.shape), np.int32),
        valid,
        heights if heights.ndim == 2 else None,
        markers if markers.ndim == 2 else None,
        sides if sides.ndim == 3 else None,
    )


def _narrow(values: npt.NDArray[np.int32]) -> npt.NDArray[np.integer]:
    """Values in the narrowest type that holds them."""
    if not values.size:
        return values
    kinds = np.min_scalar_type(int(values.min())), np.min_scalar_type(int(values.max()))
    return values.astype(np.result_type(*kinds))
