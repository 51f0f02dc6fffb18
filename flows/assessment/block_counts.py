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


def count(comparison: Comparison, core: Window) -> Counts:
    """Counts of one block of the grid: the confusion matrix, boundaries, confidence."""
    with ExitStack() as stack:
        grid = stack.enter_context(
            open_classes(comparison.map if comparison.on == "map" else comparison.reference)
        )

        def layer(path: str) -> Any:
            return stack.enter_context(warp_to(stack.enter_context(open_classes(path)), grid))

        spacing = PixelSpacing(geobox_of(grid))
        window = _reach_boundaries(core, spacing, comparison.tolerance)
        inside = core.within(window)
        if comparison.points is None:
            truth, counts = read_classes(
                layer(comparison.reference), window, comparison.reference_groups
            )
            if not (counts[inside].any() or comparison.areas):
                return Counts.none()
        found, mapped, unknown = _read_map(comparison, layer, window)
        if comparison.points is None:
            unanswered = np.count_nonzero((counts & unknown)[inside])
            counts &= mapped
            chosen: Any = counts[inside]
            expected = truth[inside][chosen]
        else:
            chosen, expected = comparison.points.within(core)
            unanswered = np.count_nonzero(unknown[inside][chosen])
            there = mapped[inside][chosen]
            chosen, expected = tuple(places[there] for places in chosen), expected[there]
        predicted = found[inside][chosen]
        held = found[inside][mapped[inside]] if comparison.areas else predicted
        values = np.union1d(expected, held).tolist()
        tally = replace(Counts.none(values), unanswered=int(unanswered))
        if expected.size:
            tally = replace(tally, matrix=confusion_matrix(expected, predicted, values))
        if comparison.tolerance and expected.size:
            apart = Spacing(*spacing.read(window))
            tally = replace(
                tally,
                boundaries=count_boundaries(
                    truth, found, counts, inside, apart, values, comparison.tolerance
                ),
            )
        if comparison.areas and values:
            units = PixelAreas(spacing.geobox).read(core)[mapped[inside]]
            tally = replace(tally, mapped=sum_by(np.searchsorted(values, held), units, len(values)))
        if comparison.confidence and expected.size:
            percent = read_confidence(layer(comparison.confidence), core)[chosen]
            tally = replace(tally, confidence=count_confidence(percent, expected == predicted))
        return tally


def _read_map(
    comparison: Comparison, layer: Callable[[str], Any], window: Window
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Classes `(y, x)` of the map, regrouped, where they hold, and where they are no answer."""
    found, mapped = read_classes(layer(comparison.map), window, comparison.map_groups)
    if comparison.mask:
        mapped &= is_value(layer(comparison.mask), window, comparison.mask_value)
    if comparison.unknown is None:
        return found, mapped, np.zeros_like(mapped)
    unknown = mapped & (found == comparison.unknown)
    return found, mapped & ~unknown, unknown


def _reach_boundaries(core: Window, spacing: PixelSpacing, tolerance: float) -> Window:
    """The block with all pixels around it that a boundary in it may be compared with."""
    if not tolerance:
        return core
    rows, cols = reach(Spacing(*spacing.read(core)), tolerance)
    # and one, because what a boundary is depends on the pixel beyond
    sides = core.shift(-rows - 1, -cols - 1) | core.shift(rows + 1, cols + 1)
    return sides & Window.of_shape(*spacing.geobox.shape)
