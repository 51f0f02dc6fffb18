"""The facts of regions, and what follows from them: means, spreads, shapes.

What follows is computed for some regions at a time, from whole numbers: sums of squares minus
squares of sums are exact, so a spread is right even where the mean is large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.pixel_area import PixelAreas
from tiling.io.spill import map_array
from tiling.regions.facts.columns import WORD, Layout, Numbers
from tiling.regions.facts.sides import UNIT, measure_sides

Reals: TypeAlias = npt.NDArray[np.float64]

ROWS = 1 << 16
"""Regions that are described at a time."""


@dataclass(frozen=True)
class RegionFacts:
    """Facts of the regions 1 … n, in a file."""

    path: Path
    n: int
    layout: Layout
    areas: PixelAreas

    @classmethod
    def create(cls, path: Path, n: int, layout: Layout, areas: PixelAreas) -> RegionFacts:
        """Facts of no pixels yet."""
        columns = map_array(path, np.int64, (n, layout.width + 4))
        columns[:, layout.width :] = np.iinfo(np.int64).min
        columns.flush()
        return cls(path, n, layout, areas)

    def open(self, mode: Literal["r", "r+"] = "r") -> tuple[Numbers, Numbers]:
        """`(n, columns)` sums and `(n, 4)` extremes, mapped from the file."""
        columns: Any = np.load(self.path, mmap_mode=mode if self.n else None)
        return columns[:, : self.layout.width], columns[:, self.layout.width :]

    def read(self, start: int, stop: int) -> FactRows:
        """The facts of the regions `start` + 1 … `stop`."""
        sums, reach = self.open()
        rows = np.s_[start:stop]
        return FactRows(np.array(sums[rows]), np.array(reach[rows]), self.layout, self.areas)

    def __iter__(self) -> Iterator[FactRows]:
        """All regions in the order of their numbers, some at a time."""
        for start in range(0, self.n, ROWS):
            yield self.read(start, min(self.n, start + ROWS))


@dataclass(frozen=True)
class FactRows:
    """Facts of some regions: each column is `(n,)`, those of bands `(band, n)`."""

    sums: Numbers
    reach: Numbers
    layout: Layout
    areas: PixelAreas

    def counts(self, name: str) -> Numbers:
        """A sum of one word, by its name in `columns.COUNTS`."""
        return self.sums[:, self.layout.at(name).start]

    @property
    def pixels(self) -> Numbers:
        return self.counts("pixels")

    @property
    def area(self) -> Reals:
        """Square metres on the ellipsoid."""
        return self.counts("area").astype(np.float64) * self.areas.unit

    @property
    def perimeter(self) -> Reals:
        """Metres along the sides of pixels, holes' too."""
        return self.counts("perimeter").astype(np.float64) * UNIT

    @property
    def box(self) -> Numbers:
        """`(4, n)` first row and column, last row and column + 1."""
        return np.stack([-self.reach[:, 0], -self.reach[:, 1], self.reach[:, 2], self.reach[:, 3]])

    @property
    def centroid(self) -> Reals:
        """`(2, n)` row and column of the centre; 0.5, 0.5 is the middle of the first pixel."""
        sums = np.stack([self.counts("row"), self.counts("col")])
        return (sums / self.pixels + 0.5).astype(np.float64)

    @property
    def mean(self) -> Reals:
        """`(band, n)`."""
        return (self.sums[:, self.layout.at("total")].T / self.pixels).astype(np.float64)

    @property
    def std(self) -> Reals:
        """Of the population, as numpy's."""
        total, squares = self.sums[:, self.layout.at("total")].T, self.words("square")
        return np.sqrt([self._covary(s, t, t) for s, t in zip(squares, total, strict=True)])

    @property
    def texture(self) -> Reals:
        """Root of the mean squared difference between neighbouring pixels of the region; 0 where it
        has no two."""
        step = self.words("step")
        pairs = np.maximum(self.counts("pairs"), 1)
        return np.sqrt((step / pairs.astype(object)).astype(np.float64))

    @property
    def compactness(self) -> Reals:
        """4πA / P² (Polsby & Popper 1991): π/4 for a square, less for what is long or ragged."""
        return 4 * math.pi * self.area / self.perimeter**2

    @property
    def elongation(self) -> Reals:
        """How much longer the region is than wide: the ratio of the axes of the ellipse with its
        second moments, at least 1."""
        long, short, _ = self.axes
        return np.sqrt(long / short)

    @property
    def orientation(self) -> Reals:
        """Direction of the longer axis, in degrees clockwise from the raster's up, from 0 to below
        180; 0 where no axis is longer."""
        return self.axes[2]

    @property
    def axes(self) -> tuple[Reals, Reals, Reals]:
        """Variances along the longer and the shorter axis in m², and the direction of the longer
        one.

        A pixel counts as a rectangle: by itself it has a twelfth of the square of its side.
        """
        row, col = self.counts("row"), self.counts("col")
        yy, yx, xx = (self.words(name)[0] for name in ("row_row", "row_col", "col_col"))
        high, wide = self._pixel_sides()
        down = (self._covary(yy, row, row) + 1 / 12) * high * high
        across = (self._covary(xx, col, col) + 1 / 12) * wide * wide
        both = self._covary(yx, row, col) * high * wide
        spread = np.sqrt((down - across) ** 2 + 4 * both * both)
        long, short = (down + across + spread) / 2, (down + across - spread) / 2
        # Where a region is long, the difference of large numbers is taken from their product.
        short = np.where(long > 0, np.maximum(short, (down * across - both * both) / long), short)
        turn = np.degrees(0.5 * np.arctan2(-2 * both, down - across)) % 180
        return long, short, np.where(turn < 180, turn, 0.0)

    def _pixel_sides(self) -> tuple[Reals, Reals]:
        """Height and width of a pixel in the middle row of each region, in metres."""
        row = np.minimum((self.centroid[0]).astype(np.int64), self.areas.geobox.shape[0] - 1)
        distinct, of = np.unique(row, return_inverse=True)
        lengths = measure_sides(self.areas.geobox, 0, self.areas.geobox.shape[0])
        across = (lengths.across[distinct] + lengths.across[distinct + 1]) / 2
        return lengths.down[distinct][of] * UNIT, across[of] * UNIT

    def words(self, name: str) -> npt.NDArray[Any]:
        """`(k, n)` sums of two words, as Python's whole numbers, which have no end."""
        words = self.sums[:, self.layout.at(name)].T.astype(object)
        return (words[0::2] << WORD) + words[1::2]

    def _covary(self, products: npt.NDArray[Any], one: Numbers, other: Numbers) -> Reals:
        """`Σ ab / n - Σa Σb / n²`, rounded once."""
        n = self.pixels.astype(object)
        exact = n * products - one.astype(object) * other.astype(object)
        return (exact / (n * n)).astype(np.float64)
