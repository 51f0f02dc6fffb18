"""How well a map draws its boundaries: boundary F1 per class, within a tolerance in metres.

After Csurka, Larlus and Perronnin (2013), What is a good evaluation measure for semantic
segmentation?, BMVC, doi:10.5244/C.27.32; the measure itself is that of Martin, Fowlkes and Malik
(2004), doi:10.1109/TPAMI.2004.1273918. A class's boundary are its pixels beside another class; one
is found where the other raster has a boundary pixel of the same class near enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SLACK = 1.005
"""A tolerance is kept to half a percent: UTM's metre is not quite the ground's, and 20 m are two
pixels of 10 m."""

Integers = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]


class Spacing(NamedTuple):
    """Metres on the ground from a pixel to the next, for the pixels of a window: two `(y, x)
    float64`."""

    down: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]


def boundary(labels: Integers, counts: Bools) -> Bools:
    """`(y, x)`: pixels with one of another class above, below, left or right. Both must count: what
    lies beside a pixel without data, or beyond the raster, nobody knows."""
    edge = np.zeros(labels.shape, bool)
    for here, there in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        differ = (labels[here] != labels[there]) & counts[here] & counts[there]
        edge[here] |= differ
        edge[there] |= differ
    return edge


def count_boundaries(
    truth: Integers,
    predicted: Integers,
    counts: Bools,
    core: tuple[slice, slice],
    spacing: Spacing,
    values: Sequence[int],
    tolerance: float,
) -> npt.NDArray[np.int64]:
    """`(k, 4) int64` for each of `values`, ascending: the reference's boundary pixels, those the
    map has too, the map's, those the reference has too.

    Only pixels of `core` are counted, and `values` holds all classes there; arrays reach beyond it
    by one pixel more than `reach`, or to the raster's edge. Then the counts of cores that tile a
    raster add up to those of the whole.
    """
    edges = [boundary(labels, counts) for labels in (truth, predicted)]
    known = np.union1d(values, np.union1d(truth[edges[0]], predicted[edges[1]]))
    both = [
        _Points.of(labels, edge, known)
        for labels, edge in zip((truth, predicted), edges, strict=True)
    ]
    table = _count_near(both, truth.shape, core, spacing, known.size, tolerance)
    return table[np.searchsorted(known, values)]


def count_edges(
    truth: Integers,
    predicted: Integers,
    counts: Bools,
    core: tuple[slice, slice],
    spacing: Spacing,
    tolerance: float,
) -> npt.NDArray[np.int64]:
    """`(4,) int64`, as a row of `count_boundaries`, of all boundaries alike: those between any two
    labels, such as ids of objects, whichever they are."""
    alike = np.zeros(truth.shape, np.int64)
    both = [
        _Points.of(alike, boundary(labels, counts), alike[0, :1]) for labels in (truth, predicted)
    ]
    return _count_near(both, truth.shape, core, spacing, 1, tolerance)[0]


def _count_near(
    both: Sequence[_Points],
    shape: tuple[int, ...],
    core: tuple[slice, slice],
    spacing: Spacing,
    kinds: int,
    tolerance: float,
) -> npt.NDArray[np.int64]:
    """`(kinds, 4) int64`: points of the reference in the core, those the map has too, and the other
    way round."""
    height, width = shape
    inside = np.zeros((height, width), bool)
    inside[core] = True
    columns = []
    for points, others in (both, both[::-1]):
        asked = points.where(inside[points.row, points.col])
        found = _near(asked, others, (height, width), spacing, tolerance * SLACK)
        columns += [np.bincount(kind, minlength=kinds) for kind in (asked.kind, asked.kind[found])]
    return np.stack(columns, axis=1).astype(np.int64)


def reach(spacing: Spacing, tolerance: float) -> tuple[int, int]:
    """How many rows and columns beyond a window decide about its boundaries, at most."""
    rows, cols = (int(tolerance * SLACK / metres.min()) + 1 for metres in spacing)
    return rows, cols


class _Points(NamedTuple):
    """Boundary pixels, sorted by class, row and column; `kind` is the place of their class in the
    ascending values."""

    kind: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]

    @classmethod
    def of(cls, labels: Integers, edge: Bools, known: Integers) -> _Points:
        row, col = np.nonzero(edge)
        kind = np.searchsorted(known, labels[row, col])
        order = np.argsort(kind, kind="stable")  # nonzero gives rows and columns in order
        return cls(kind[order], row[order], col[order])

    def where(self, chosen: npt.NDArray[Any]) -> _Points:
        return _Points(self.kind[chosen], self.row[chosen], self.col[chosen])


def _near(
    points: _Points, others: _Points, shape: tuple[int, int], spacing: Spacing, tolerance: float
) -> npt.NDArray[np.bool_]:
    """Whether one of `others` of the same class lies within `tolerance` metres of each point, by
    the point's spacing.

    Row by row: of the sorted others the first at or after the left end of the stretch within reach
    decides.
    """
    height, width = shape
    keys = (others.kind * height + others.row) * width + others.col
    keys = np.append(keys, np.iinfo(np.int64).max)
    down, across = spacing.down[points.row, points.col], spacing.across[points.row, points.col]
    found = np.zeros(points.row.size, bool)
    furthest = int((tolerance / down).max(initial=0))
    for step in sorted(range(-furthest, furthest + 1), key=abs):
        left = tolerance**2 - (step * down) ** 2
        asked = np.flatnonzero(
            ~found & (left >= 0) & (points.row + step >= 0) & (points.row + step < height)
        )
        cols = (np.sqrt(left[asked]) / across[asked]).astype(np.int64)
        row = (points.kind[asked] * height + points.row[asked] + step) * width
        first = row + np.maximum(points.col[asked] - cols, 0)
        last = row + np.minimum(points.col[asked] + cols, width - 1)
        found[asked] = keys[np.searchsorted(keys, first)] <= last
    return found


@dataclass(frozen=True)
class ClassBoundary:
    """How well the boundary of one class is drawn; NaN where a raster has none."""

    value: int
    name: str
    f1: float
    """Harmonic mean of the two; 0 where only one of the rasters has a boundary of this class."""
    precision: float
    """How much of the map's boundary lies within the tolerance of the reference's."""
    recall: float
    """How much of the reference's boundary lies within the tolerance of the map's."""
    map_pixels: int
    reference_pixels: int


@dataclass(frozen=True)
class BoundaryAccuracy:
    """Boundary F1 of a map, counted over the whole raster."""

    tolerance_m: float
    mean_f1: float
    """Mean over the classes of which either raster has a boundary; NaN where there is none."""
    classes: tuple[ClassBoundary, ...]

    @classmethod
    def from_counts(
        cls, counts: npt.NDArray[np.int64], rows: Iterable[tuple[int, str, str]], tolerance: float
    ) -> BoundaryAccuracy:
        """The scores of what `count_boundaries` counted for the classes of `rows`, in their
        order."""
        classes = []
        for (value, name, _), (true, true_near, said, said_near) in zip(
            rows, counts.tolist(), strict=True
        ):
            recall, precision = true_near / true if true else nan, said_near / said if said else nan
            if not (true or said):
                f1 = nan
            elif not (true_near and said_near):
                f1 = 0.0
            else:
                f1 = 2 * precision * recall / (precision + recall)
            classes.append(ClassBoundary(value, name, f1, precision, recall, said, true))
        scores = [one.f1 for one in classes if not isnan(one.f1)]
        return cls(tolerance, sum(scores) / len(scores) if scores else nan, tuple(classes))
