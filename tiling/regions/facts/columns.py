"""What is added up over the pixels of a region: whole numbers, in one or two words.

Sums of squares of a large region pass 2⁶³. They have two words then: the value is `high · 2³² +
low`. Both add up by themselves over tiles, in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.regions.exact_sums import find_starts, sum_exactly, sum_runs
from tiling.regions.facts.sides import SideLengths
from tiling.regions.passes import Values

Numbers: TypeAlias = npt.NDArray[np.int64]

WORD = 32
LARGEST = 1 << 30
"""Values lie between this and its negative."""
LONGEST = 1 << 24
"""Rows and columns of a raster, at most: moments of a tile stay below 2⁶³."""

COUNTS = ("pixels", "area", "sides", "perimeter", "row", "col", "pairs")
"""Sums of one word: pixels, units of area, sides of pixels along outlines, their length in units of
`sides.UNIT`, row and column numbers, pairs of neighbouring pixels within the region."""
MOMENTS = ("row_row", "row_col", "col_col")
"""Sums of two words over products of row and column numbers."""
OF_BANDS = ("total", "square", "step")
"""Sums for each band: of values in one word; of their squares, and of the squared differences of
the pairs, in two."""


class Layout(NamedTuple):
    """Which column of a table holds what."""

    bands: int

    @property
    def width(self) -> int:
        """Columns."""
        return len(COUNTS) + 2 * len(MOMENTS) + 5 * self.bands

    def at(self, name: str) -> slice:
        """The columns of a sum: one or two, or as many for each band."""
        if name in COUNTS:
            return slice(COUNTS.index(name), COUNTS.index(name) + 1)
        start = len(COUNTS)
        if name in MOMENTS:
            start += 2 * MOMENTS.index(name)
            return slice(start, start + 2)
        start += 2 * len(MOMENTS)
        words = self.bands * np.cumsum([0, 1, 2, 2])
        of = OF_BANDS.index(name)
        return slice(start + int(words[of]), start + int(words[of + 1]))


class TileFacts(NamedTuple):
    """Of the regions in a tile, what lies in it."""

    numbers: Numbers
    """`(n,)` ascending."""
    sums: Numbers
    """`(n, columns)` of a `Layout`."""
    reach: Numbers
    """`(n, 4)` minus the first row and column, last row and column + 1: the greatest counts."""


def add_up(
    numbers: npt.NDArray[np.integer],
    values: Values,
    units: npt.NDArray[np.int64],
    lengths: SideLengths,
    window: Window,
) -> TileFacts:
    """The facts of a tile, from `(y + 2, x + 2)` numbers of its regions, 0 for none, and
    `(band, y + 2, x + 2)` values, both with one pixel more on each side; `units` `(y, x)` are of
    area. Raises `InputError` for values from 2³⁰."""
    core = numbers[1:-1, 1:-1]
    start = find_starts(core)
    of_run = core.ravel()[start]
    inside = of_run != 0
    there, region = np.unique(of_run[inside], return_inverse=True)
    n, layout = there.size, Layout(len(values))
    sums = np.zeros((n, layout.width), np.int64)

    def add(name: str, *columns: Numbers) -> None:
        sums[:, layout.at(name)] = np.stack(columns, axis=1)

    def over_pixels(pixels: npt.NDArray[np.integer]) -> Numbers:
        return sum_exactly(region, sum_runs(start, pixels)[inside], n)

    length = np.diff(start, append=core.size)[inside]
    row, col = np.divmod(start[inside], max(1, window.width))
    add("pixels", sum_exactly(region, length, n))
    add("area", over_pixels(units))
    ends = [core != beyond for beyond in _neighbours(numbers)]
    add("sides", over_pixels(np.sum(ends, axis=0, dtype=np.uint8)))
    upper, lower = lengths.across[:-1, None], lengths.across[1:, None]
    outline = ends[0] * upper + ends[1] * lower
    outline += (ends[2].astype(np.int64) + ends[3]) * lengths.down[:, None]
    add("perimeter", over_pixels(outline))
    for name, columns in _moments(row, col, length, region, n, window).items():
        add(name, *columns)
    for name, columns in _of_bands(numbers, values, over_pixels).items():
        add(name, *columns)
    reach = np.full((n, 4), np.iinfo(np.int64).min)
    last = window.row + row + 1, window.col + col + length
    for at, edge in enumerate((-window.row - row, -window.col - col, *last)):
        np.maximum.at(reach[:, at], region, edge)
    return TileFacts(there.astype(np.int64), sums, reach)


def _neighbours(pixels: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], ...]:
    """Those above, below, left and right of the inner pixels of `(y + 2, x + 2)`."""
    return pixels[:-2, 1:-1], pixels[2:, 1:-1], pixels[1:-1, :-2], pixels[1:-1, 2:]


def _moments(
    row: Numbers, col: Numbers, length: Numbers, region: Numbers, n: int, window: Window
) -> dict[str, tuple[Numbers, ...]]:
    """Sums of row and column numbers in the raster and of their products, from runs by their place
    in the tile: `Σ (r + y)(c + x) = Σ xy + r Σ x + c Σ y + r c n`, with the last term in two words
    where it may be large."""

    def over_runs(sums: Numbers) -> Numbers:
        return sum_exactly(region, sums, n)

    last, pixels = length - 1, over_runs(length)
    along = length * col + length * last // 2
    y, x = over_runs(length * row), over_runs(along)
    square = length * col * col + col * length * last + length * last * (2 * length - 1) // 6
    yy, xy, xx = (over_runs(s) for s in (length * row * row, row * along, square))
    top, left = window.row, window.col
    return {
        "row": (y + top * pixels,),
        "col": (x + left * pixels,),
        "row_row": _add_product(yy + 2 * top * y, pixels, top * top),
        "row_col": _add_product(xy + top * x + left * y, pixels, top * left),
        "col_col": _add_product(xx + 2 * left * x, pixels, left * left),
    }


def _add_product(sums: Numbers, pixels: Numbers, factor: int) -> tuple[Numbers, Numbers]:
    """Two words of `sums + pixels · factor`, factor below 2⁴⁸."""
    high, low = divmod(factor, 1 << WORD)
    low_sum = sums + pixels * low
    return pixels * high + (low_sum >> WORD), low_sum & ((1 << WORD) - 1)


def _of_bands(
    numbers: npt.NDArray[np.integer], values: Values, over_pixels: Callable[[Numbers], Numbers]
) -> dict[str, tuple[Numbers, ...]]:
    """Sums of values, of their squares and of squared differences between neighbours, each band's
    words one after the other, and the pairs of neighbours; a pair is counted at its upper or left
    pixel."""
    core = np.s_[1:-1, 1:-1]
    below, beside = (numbers[core] == beyond for beyond in _neighbours(numbers)[1::2])
    total: list[Numbers] = []
    square: list[Numbers] = []
    step: list[Numbers] = []
    for band in values:
        if band.size and max(-int(band.min()), int(band.max())) >= LARGEST:
            raise InputError(f"values of {band.max()} are too large to add up; they end at 2³⁰")
        whole = band.astype(np.int64)
        here = whole[core]
        _, down, _, right = _neighbours(whole)
        total.append(over_pixels(here))
        square += _in_words(here * here, over_pixels)
        rise, run = (here - down) * below, (here - right) * beside
        step += _in_words(rise * rise, over_pixels, run * run)
    pairs = over_pixels(below.astype(np.uint8) + beside)
    return {"total": (*total,), "square": (*square,), "step": (*step,), "pairs": (pairs,)}


def _in_words(
    pixels: Numbers, over_pixels: Callable[[Numbers], Numbers], more: Numbers | None = None
) -> tuple[Numbers, Numbers]:
    """Two words of the sums of numbers below 2⁶², and of more of them where given."""
    mask, parts = (1 << WORD) - 1, [pixels] if more is None else [pixels, more]
    most = sum(int(part.max(initial=0)) for part in parts)
    if most < (1 << 62) // max(1, pixels.size):
        sums = over_pixels(np.sum(parts, axis=0) if more is not None else pixels)
        return sums >> WORD, sums & mask
    high = over_pixels(np.sum([part >> WORD for part in parts], axis=0))
    low = over_pixels(np.sum([part & mask for part in parts], axis=0))
    return high + (low >> WORD), low & mask
