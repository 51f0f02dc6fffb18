"""What a block of a map and its reference holds: counts that add up to those of the whole, whatever
the blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.boundary_f1 import Spacing, count_boundaries, reach
from segmentation.accuracy.confusion import confusion_matrix
from segmentation.accuracy.reliability import count_confidence
from tiling.classmaps.alignment import warp_to
from tiling.classmaps.raster import Groups, is_value, open_classes, read_classes, read_confidence
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.pixel_size import PixelSpacing
from tiling.grid.window import Window

MOST_CLASSES = 1024
"""More values than this are measurements, and their matrix would need more memory than it tells."""


@dataclass(frozen=True)
class Points:
    """Reference samples on the map's pixels: three arrays of one length."""

    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]

    def within(self, window: Window) -> tuple[Any, npt.NDArray[np.int64]]:
        """Index of those in an array that holds the pixels of `window`, and their values."""
        row, col = self.row - window.row, self.col - window.col
        inside = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
        return (row[inside], col[inside]), self.value[inside]


@dataclass(frozen=True)
class Comparison:
    """Which rasters are compared, on whose grid, and what is counted."""

    map: str
    reference: str
    """A class raster; unused where there are points."""
    on: Literal["map", "reference"] = "map"
    points: Points | None = None
    mask: str = ""
    mask_value: int = 1
    confidence: str = ""
    map_groups: Groups = ()
    reference_groups: Groups = ()
    unknown: int | None = None
    """The class of the map, once regrouped, that is no answer: its pixels are left out, and
    counted."""
    tolerance: float = 0.0
    """Metres within which boundaries are the same; 0 where none are compared."""
    areas: bool = False
    """Whether the map's own area of each class is wanted."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Confusion matrix, boundaries, areas and confidence of some blocks; those of blocks add up."""

    values: tuple[int, ...] = ()
    """The k classes found, ascending."""
    matrix: Any = None
    """`(k, k) int64`, true class along rows."""
    boundaries: Any = None
    """`(k, 4) int64`, see `count_boundaries`."""
    mapped: Any = None
    """`(k,) int64` units of `PixelAreas`."""
    confidence: Any = None
    """`(101, 2) int64`, see `count_confidence`."""
    unanswered: int = field(default=0, kw_only=True)
    """Pixels or points with a reference where the map is Unknown."""

    @classmethod
    def none(cls, values: Sequence[int] = ()) -> Counts:
        k = len(values)
        if k > MOST_CLASSES:
            raise InputError(
                f"map and reference hold more than {MOST_CLASSES} classes between them; are both "
                "class rasters?"
            )
        zeros = [np.zeros(shape, np.int64) for shape in ((k, k), (k, 4), (k,), (101, 2))]
        return cls(tuple(values), *zeros)

    def on(self, values: Sequence[int]) -> Counts:
        """These counts with rows for more classes, of which there is nothing."""
        wider, here = Counts.none(values), np.searchsorted(values, self.values)
        wider.matrix[np.ix_(here, here)] = self.matrix
        wider.boundaries[here] = self.boundaries
        wider.mapped[here] = self.mapped
        return replace(wider, confidence=self.confidence, unanswered=self.unanswered)

    def __add__(self, other: Counts) -> Counts:
        values = sorted({*self.values, *other.values})
        one, two = self.on(values), other.on(values)
        return Counts(
            tuple(values),
            one.matrix + two.matrix,
            one.boundaries + two.boundaries,
            one.mapped + two.mapped,
            one.confidence + two.confidence,
            unanswered=one.unanswered + two.unanswered,
        )


@dataclass(frozen=True, eq=False)
class _Block:
    """Map and reference on a block of the grid: arrays over `window`, which holds the block and
    what its boundaries are compared with."""

    core: Window
    window: Window
    found: Any
    """Classes of the map."""
    mapped: Any
    """Where the map has data and an answer, and the mask allows."""
    truth: Any
    """Classes of the reference; None where it is points."""
    both: Any
    """Where map and reference have data; None where the reference is points."""
    chosen: Any
    """Index, in an array of the block, of the pixels that are compared."""
    expected: Any
    """Classes of the reference there."""
    unanswered: int
    """Pixels or points with a reference where the map is Unknown."""

    @property
    def inside(self) -> tuple[slice, slice]:
        return self.core.within(self.window)


Layer = Callable[[str], Any]
"""Opens a raster, by its path, on the grid of a comparison."""


def count(comparison: Comparison, core: Window) -> Counts:
    """Counts of one block of the grid: the confusion matrix, boundaries, confidence."""
    with ExitStack() as stack:
        grid = stack.enter_context(
            open_classes(comparison.map if comparison.on == "map" else comparison.reference)
        )

        def layer(path: str) -> Any:
            return stack.enter_context(warp_to(stack.enter_context(open_classes(path)), grid))

        spacing = PixelSpacing(geobox_of(grid))
        block = _read_block(comparison, core, spacing, layer)
        if block is None:
            return Counts.none()
        tally, right = _count_classes(comparison, block, spacing)
        if comparison.confidence and right.size:
            percent = read_confidence(layer(comparison.confidence), core)[block.chosen]
            tally = replace(tally, confidence=count_confidence(percent, right))
        return tally


def _read_block(
    comparison: Comparison, core: Window, spacing: PixelSpacing, layer: Layer
) -> _Block | None:
    """Map and reference in a block of the grid; None where the reference has nothing there and no
    areas are wanted."""
    window = _reach_boundaries(core, spacing, comparison.tolerance)
    inside = core.within(window)
    truth: Any = None
    both: Any = None
    if comparison.points is None:
        truth, both = read_classes(layer(comparison.reference), window, comparison.reference_groups)
        if not (both[inside].any() or comparison.areas):
            return None
    found, mapped, unknown = _read_map(comparison, layer, window)
    if comparison.points is None:
        unanswered = np.count_nonzero((both & unknown)[inside])
        both &= mapped
        chosen: Any = both[inside]
        expected = truth[inside][chosen]
    else:
        places, values = comparison.points.within(core)
        unanswered = np.count_nonzero(unknown[inside][places])
        on_map = mapped[inside][places]
        chosen, expected = tuple(place[on_map] for place in places), values[on_map]
    return _Block(core, window, found, mapped, truth, both, chosen, expected, int(unanswered))


def _read_map(
    comparison: Comparison, layer: Layer, window: Window
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Classes `(y, x)` of the map, regrouped, where they hold, and where they are no answer."""
    found, mapped = read_classes(layer(comparison.map), window, comparison.map_groups)
    if comparison.mask:
        mapped &= is_value(layer(comparison.mask), window, comparison.mask_value)
    if comparison.unknown is None:
        return found, mapped, np.zeros_like(mapped)
    unknown = mapped & (found == comparison.unknown)
    return found, mapped & ~unknown, unknown


def _count_classes(
    comparison: Comparison, block: _Block, spacing: PixelSpacing
) -> tuple[Counts, npt.NDArray[np.bool_]]:
    """Confusion, boundaries and areas of a block, and whether the map is right at each pixel that
    is compared."""
    inside, expected = block.inside, block.expected
    predicted = block.found[inside][block.chosen]
    held = block.found[inside][block.mapped[inside]] if comparison.areas else predicted
    values = np.union1d(expected, held).tolist()
    tally = replace(Counts.none(values), unanswered=block.unanswered)
    if expected.size:
        tally = replace(tally, matrix=confusion_matrix(expected, predicted, values))
    if comparison.tolerance and expected.size:
        apart = Spacing(*spacing.read(block.window))
        tally = replace(
            tally,
            boundaries=count_boundaries(
                block.truth, block.found, block.both, inside, apart, values, comparison.tolerance
            ),
        )
    if comparison.areas and values:
        units = PixelAreas(spacing.geobox).read(block.core)[block.mapped[inside]]
        tally = replace(tally, mapped=sum_by(np.searchsorted(values, held), units, len(values)))
    return tally, expected == predicted


def _reach_boundaries(core: Window, spacing: PixelSpacing, tolerance: float) -> Window:
    """The block with all pixels around it that a boundary in it may be compared with."""
    if not tolerance:
        return core
    rows, cols = reach(Spacing(*spacing.read(core)), tolerance)
    # and one, because what a boundary is depends on the pixel beyond
    sides = core.shift(-rows - 1, -cols - 1) | core.shift(rows + 1, cols + 1)
    return sides & Window.of_shape(*spacing.geobox.shape)
