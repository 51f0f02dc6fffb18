"""Rasters drawn for methods on regions, and what such methods are given: arrays read by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from tiling.grid.window import Window
from tiling.regions.labelling import LabelFiles
from tiling.regions.passes import Passes

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ArrayPixels:
    """Reads windows of arrays; what lies past them is not valid."""

    values: Array
    """`(band, y, x)` or `(y, x)`."""
    valid: Array

    def __call__(self, window: Window) -> tuple[Array, Array]:
        values = np.atleast_3d(self.values) if self.values.ndim == 3 else self.values[None]
        inside = window & Window.of_shape(*self.valid.shape)
        read = np.full((len(values), *window.shape), 77, values.dtype)
        valid = np.zeros(window.shape, bool)
        if inside:
            read[:, *inside.within(window)] = values[:, *inside.within(self.whole)]
            valid[inside.within(window)] = self.valid[inside.within(self.whole)]
        return read, valid

    @property
    def whole(self) -> Window:
        return Window.of_shape(*self.valid.shape)


def map_backwards(task: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """Works on the last item first; results come in order."""
    items = list(items)
    results = {at: task(items[at]) for at in reversed(range(len(items)))}
    return [results[at] for at in range(len(items))]


def map_twice(task: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """Every task runs again, as after a retry."""
    return [(task(item), task(item))[1] for item in items]


MAPS = (map, map_backwards, map_twice)


def mosaic(labels: LabelFiles) -> Array:
    """The labels of all tiles as one array `(y, x)`."""
    pixels = np.empty(labels.shape, np.int64)
    for window in Passes.over(labels.shape, labels.tile, map).windows.values():
        pixels[window.within(Window.of_shape(*labels.shape))] = labels.read(window).pixels
    return pixels


def count_rows(folder: Path, suffix: str) -> int:
    """Whole numbers in the files that wait for the calling process, without their heads."""
    files = [np.load(path) for path in folder.glob(f"*{suffix}")]
    return sum(int(packed.size - packed[0] - 1) for packed in files)


def seam_pixels(shape: tuple[int, int], tile: int) -> int:
    """Pixels along the seams of a raster, counted on one side."""
    height, width = shape
    return ((height - 1) // tile) * width + ((width - 1) // tile) * height


def spiral(height: int, width: int) -> Array:
    """A corridor one pixel wide, of 1, wound up between walls of 0."""
    pixels = np.zeros((height, width), np.int64)
    top, left, bottom, right = 0, 0, height - 1, width - 1
    while top <= bottom and left <= right:
        pixels[top, max(0, left - 1) : right + 1] = 1
        pixels[top : bottom + 1, right] = 1
        if top < bottom:
            pixels[bottom, left : right + 1] = 1
        if left < right:
            pixels[top + 2 : bottom + 1, left] = 1
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    return pixels


class Drawn(NamedTuple):
    """A raster, its valid pixels, a tile and a way of working."""

    values: Array
    valid: Array
    tile: int
    map: Any

    @property
    def pixels(self) -> ArrayPixels:
        return ArrayPixels(self.values, self.valid)

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape


def draw_values(kind: str, shape: tuple[int, int], random: np.random.Generator) -> Array:
    """`(y, x)` whole numbers of a kind."""
    match kind:
        case "constant":
            return np.full(shape, 9)
        case "striped":
            return np.indices(shape)[1] % 2 * 100
        case "spiral":
            return spiral(*shape) * 50
        case "checkerboard":
            return np.indices(shape).sum(0) % 2 * 50
        case "ramp":
            return np.indices(shape).sum(0)
        case "plateaus":
            return np.int64(uniform_filter(random.random(shape), 3) * 12)
        case "hills":
            return np.int64(uniform_filter(random.random(shape), 4) * 900)
    return random.integers(0, int(random.choice([2, 3, 6, 200])), shape)


KINDS = (
    "constant", "striped", "spiral", "checkerboard", "ramp", "plateaus", "hills", "noise",
)  # fmt: skip


@st.composite
def rasters(draw: st.DrawFn, largest: int = 34) -> Drawn:
    """Rasters of every kind, some one pixel wide, with holes, frames or crosses of no data; tiles
    from one pixel up; work in any order."""
    shape = draw(st.tuples(st.integers(1, largest), st.integers(1, largest)))
    if draw(st.integers(0, 5)) == 0:
        shape = (1, shape[1]) if draw(st.booleans()) else (shape[0], 1)
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    values = draw_values(draw(st.sampled_from(KINDS)), shape, random)
    if draw(st.booleans()):
        values = values.T[::-1].T if draw(st.booleans()) else values.max() - values
    valid = np.ones(shape, bool)
    match draw(st.sampled_from(["none", "none", "holes", "many", "frame", "cross", "all"])):
        case "holes":
            valid = random.random(shape) > 0.1
        case "many":
            valid = random.random(shape) > 0.45
        case "frame":
            valid[[0, -1]] = valid[:, [0, -1]] = False
        case "cross":
            valid[shape[0] // 2] = valid[:, shape[1] // 2] = False
        case "all":
            valid[:] = False
    tile = draw(st.integers(1 if valid.size < 150 else 3, 20))
    return Drawn(values, valid, tile, draw(st.sampled_from(MAPS)))
