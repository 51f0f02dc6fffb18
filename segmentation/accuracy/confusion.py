"""How good a map is: from a confusion matrix to overall accuracy, kappa, IoU, F1, user's and
producer's accuracy.

What other measures say of the same map (`boundaries`, `reliability`, `estimation`) hangs on the
same value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isnan, nan
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.area_estimation import AreaEstimates
from segmentation.accuracy.boundary_f1 import BoundaryAccuracy
from segmentation.accuracy.reliability import Reliability

Integers = npt.NDArray[np.integer[Any]]


def confusion_matrix(
    truth: Integers, predicted: Integers, values: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Counts `(k, k) int64` of pixels, by true class along rows and predicted class along columns.

    `values` are the k classes, in the matrix's order; a pixel counts where both rasters hold one of
    them. Matrices of blocks add up to the matrix of the whole.
    """
    known = np.asarray(values)
    order = np.argsort(known)

    def place(raster: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
        found = order[np.minimum(np.searchsorted(known, raster, sorter=order), len(known) - 1)]
        return found, known[found] == raster

    (rows, row_counts), (columns, column_counts) = (
        place(np.ravel(truth)),
        place(np.ravel(predicted)),
    )
    counts = row_counts & column_counts
    cells = rows[counts] * len(known) + columns[counts]
    return (
        np.bincount(cells, minlength=len(known) ** 2)
        .reshape(len(known), len(known))
        .astype(np.int64)
    )


@dataclass(frozen=True)
class ClassAccuracy:
    """How one class fared; NaN where a quotient has nothing below its line."""

    value: int
    name: str
    iou: float
    """Intersection over union, Jaccard."""
    f1: float
    """Harmonic mean of precision and recall, Dice."""
    precision: float
    """User's accuracy: how much of what the map calls so is so."""
    recall: float
    """Producer's accuracy: how much of what is so the map calls so."""
    support: int
    """Pixels that truly are of this class."""
    colour: str = ""
    """What the legend draws it in, "#rrggbb"."""


@dataclass(frozen=True)
class Accuracy:
    """What a confusion matrix says of a map, after Congalton (1991),
    doi:10.1016/0034-4257(91)90048-B."""

    overall_accuracy: float
    kappa: float
    """Cohen's: agreement beyond what chance would give; NaN where chance alone agrees wholly."""
    mean_iou: float
    """Mean over the classes that either raster has."""
    classes: tuple[ClassAccuracy, ...]
    matrix: tuple[tuple[int, ...], ...]
    """The counts themselves, true class along rows."""
    boundaries: BoundaryAccuracy | None = None
    """How well boundaries are drawn, where both sides are rasters or polygons."""
    reliability: Reliability | None = None
    """Whether confidence means what it says, where the map has one."""
    areas: AreaEstimates | None = None
    """Areas and accuracies of the whole map, where the reference is a sample of it."""
    compared: str = ""
    """What was laid over what, and how."""
    doubts: tuple[str, ...] = ()
    """What may make every figure wrong, such as classes that were matched by their bare numbers."""
    notes: tuple[str, ...] = ()
    """What a reader must know to read the figures."""

    @classmethod
    def from_confusion(
        cls, matrix: npt.NDArray[np.int64], rows: Iterable[tuple[int, str, str]]
    ) -> Accuracy:
        """The accuracy of a matrix whose classes are `rows` `(value, name, colour)` of a legend, in
        its order."""
        names = list(rows)
        if matrix.shape != (len(names), len(names)):
            raise ValueError(
                f"a confusion matrix of {matrix.shape} is not one of {len(names)} classes"
            )
        total = int(matrix.sum())
        right = [int(count) for count in np.diagonal(matrix)]
        true = [int(count) for count in matrix.sum(axis=1)]
        said = [int(count) for count in matrix.sum(axis=0)]
        chance = _ratio(sum(t * s for t, s in zip(true, said, strict=True)), total * total)
        overall = _ratio(sum(right), total)
        classes = tuple(
            ClassAccuracy(
                value=value,
                name=name,
                iou=_ratio(r, t + s - r),
                f1=_ratio(2 * r, t + s),
                precision=_ratio(r, s),
                recall=_ratio(r, t),
                support=t,
                colour=colour,
            )
            for (value, name, colour), r, t, s in zip(names, right, true, said, strict=True)
        )
        present = [one.iou for one in classes if not isnan(one.iou)]
        return cls(
            overall_accuracy=overall,
            kappa=_ratio(overall - chance, 1 - chance),
            mean_iou=_ratio(sum(present), len(present)),
            classes=classes,
            matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        )

    def to_dict(self) -> dict[str, Any]:
        """The accuracy as plain JSON: null where undefined, no key where not measured."""
        facts: dict[str, Any] = {
            "overall_accuracy": self.overall_accuracy,
            "kappa": self.kappa,
            "mean_iou": self.mean_iou,
            "classes": self.classes,
            "matrix": self.matrix,
            "boundaries": self.boundaries,
            "reliability": self.reliability,
            "areas": self.areas,
            "compared": self.compared,
            "doubts": self.doubts,
            "notes": self.notes,
        }
        return {
            name: plain_json(value) for name, value in facts.items() if value not in (None, "", ())
        }


def _ratio(above: float, below: float) -> float:
    return above / below if below else nan


def plain_json(value: Any) -> Any:
    """Values, tuples and dataclasses as JSON has them."""
    if is_dataclass(value):
        return {field.name: plain_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain_json(one) for one in value]
    return None if isinstance(value, float) and isnan(value) else value
