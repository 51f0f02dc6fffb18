"""Thresholds that make regions of a size that a person can say: tried out on a sample."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.regions.passes import Flags, Values
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import Criterion
from tiling.regions.watershed.drowning import flood_relief

Heights: TypeAlias = npt.NDArray[np.uint32]

MOST_PIXELS = 2**20
"""Of a sample that are flooded: a dozen times."""

_HIGHEST = 2**60
"""No region of a sample is that large by any measure."""

_CLOSE = 0.02
"""A number of regions this close, as a share, is close enough."""


def choose_threshold(
    reliefs: Iterable[tuple[Heights, Flags]],
    size: float,
    criterion: Callable[[int], Criterion],
) -> int:
    """The threshold of a criterion below which regions drown, so that those left of reliefs of one
    width have `size` pixels on average, or a little more or less."""
    heights, valid = _stack(reliefs)
    wanted = max(1.0, valid.sum() / size)

    def count(threshold: int) -> int:
        return count_regions(heights, valid, criterion(threshold))

    low, high = 1, 2
    while count(high) > wanted and high < _HIGHEST:
        low, high = high, 4 * high
    while high - low > max(1, low // 64):
        # Geometric: thresholds span many powers of ten.
        middle = min(max(math.isqrt(low * high), low + 1), high - 1)
        regions = count(middle)
        if abs(regions - wanted) <= _CLOSE * wanted:
            return middle
        low, high = (middle, high) if regions > wanted else (low, middle)
    return high


def count_regions(heights: Heights, valid: Flags, criterion: Criterion) -> int:
    """How many regions are left of a relief `(y, x)` in memory."""
    with tempfile.TemporaryDirectory() as folder:
        relief = Relief(_Arrays(heights, valid), valid.shape, Path(folder))
        labels = flood_relief(relief, criterion, tile=max(valid.shape))
        return int(labels.read(Window.of_shape(*valid.shape)).ids.size)


@dataclass(frozen=True, eq=False)
class _Arrays:
    """Reads windows of arrays; what lies past them is not valid."""

    heights: Heights
    valid: Flags

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        whole = Window.of_shape(*self.valid.shape)
        heights, valid = np.zeros((1, *window.shape), np.uint32), np.zeros(window.shape, bool)
        inside = window & whole
        heights[0][inside.within(window)] = self.heights[inside.within(whole)]
        valid[inside.within(window)] = self.valid[inside.within(whole)]
        return heights, valid


def _stack(reliefs: Iterable[tuple[Heights, Flags]]) -> tuple[Heights, Flags]:
    """Some of the reliefs, evenly spread, one below the other with a row of nothing between
    them."""
    every = list(reliefs)
    step = max(1, -(-sum(valid.size for _, valid in every) // MOST_PIXELS))
    heights, valids = zip(*every[::step], strict=True)
    below = ((0, 1), (0, 0))
    return (
        np.concatenate([np.pad(one, below) for one in heights]),
        np.concatenate([np.pad(one, below) for one in valids]),
    )
