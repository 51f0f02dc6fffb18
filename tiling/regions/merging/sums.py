"""What is added up over regions to compare them: whole numbers, so the order has no say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.regions.components import OUTSIDE, Ids, Labels
from tiling.regions.exact_sums import find_starts, sum_exactly, sum_runs
from tiling.regions.merging.borders import Borders, Numbers
from tiling.regions.passes import Values

UNIT = 10_000
"""A contrast of one: differences of one standard deviation, where weights are one over the
variance."""
MOST = 1 << 22
"""Greatest contrast: sums over borders of up to 2³¹ sides are exact in float64."""


class RegionSums(NamedTuple):
    """Sums over regions, or over what of them lies in one tile."""

    pixels: Numbers
    """`(n,)`."""
    size: Numbers
    """`(n,)` units of area, or pixels again."""
    total: Numbers
    """`(band, n)` sum of values."""

    @classmethod
    def of_pixels(
        cls, rank: Labels, values: Values, units: npt.NDArray[np.int64] | None, n: int
    ) -> RegionSums:
        """Of the regions 0 … n - 1 whose number `(y, x)` each pixel has, or `OUTSIDE`; `values` are
        `(band, y, x)`, `units` `(y, x)` of area."""
        start = find_starts(rank)
        region = rank.ravel()[start]
        inside = region != OUTSIDE
        region = region[inside]

        def add_up(pixels: npt.NDArray[np.integer]) -> Numbers:
            return sum_exactly(region, sum_runs(start, pixels)[inside], n)

        length = np.diff(start, append=rank.size)[inside]
        pixels = sum_exactly(region, length, n)
        total = [add_up(band) for band in values]
        size = pixels if units is None else add_up(units)
        return cls(pixels, size, np.array(total, np.int64).reshape(len(values), n))

    @property
    def columns(self) -> tuple[Numbers, ...]:
        """All there is, as flat arrays for a file; `of_columns` reads them."""
        return self.pixels, self.size, self.total.ravel()

    @classmethod
    def of_columns(cls, columns: Sequence[Numbers], bands: int) -> RegionSums:
        """The sums that had these `columns`."""
        pixels, size, total = columns
        return cls(pixels, size, total.reshape(bands, pixels.size))

    def where(self, chosen: npt.NDArray[np.generic]) -> RegionSums:
        """The sums of some of the regions."""
        return RegionSums(self.pixels[chosen], self.size[chosen], self.total[:, chosen])

    def merge(self, group: npt.NDArray[np.integer], n: int) -> RegionSums:
        """The sums of groups 0 … n - 1."""
        rows = np.stack([self.pixels, self.size, *self.total])
        merged = np.zeros((len(rows), n), np.int64)
        for row, into in zip(rows, merged, strict=True):
            np.add.at(into, group, row)
        return RegionSums(merged[0], merged[1], merged[2:])

    def replace(self, at: npt.NDArray[np.integer], others: RegionSums) -> RegionSums:
        """These sums, but those of the regions `at` from elsewhere."""
        pixels, size, total = self.pixels.copy(), self.size.copy(), self.total.copy()
        pixels[at], size[at], total[:, at] = others
        return RegionSums(pixels, size, total)

    def compare(self, borders: Borders, weights: Sequence[float]) -> Borders:
        """The borders with the contrast of the regions on either side: ⌊10⁴ Σ w (μ - μ')²⌋ over
        bands, at most 2²², for each side of a pixel."""
        mean = self.total / self.pixels
        contrast = np.zeros(borders.one.size)
        for weight, band in zip(weights, mean, strict=True):
            difference = band[borders.one] - band[borders.other]
            contrast = contrast + UNIT * weight * (difference * difference)
        whole = np.floor(np.minimum(contrast, MOST)).astype(np.int64)
        return borders._replace(contrast=whole * borders.length)


class RegionTable(NamedTuple):
    """Sums of regions by id."""

    ids: Ids
    """Ascending."""
    sums: RegionSums
