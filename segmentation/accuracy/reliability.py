"""Does confidence mean what it says? Expected calibration error and the bins of a reliability
diagram.

After Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, ICML,
arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

BINS = 15
"""As in the paper."""


def count_confidence(
    percent: npt.NDArray[np.uint8], right: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """`(101, 2) int64`: how many pixels of each percent of confidence are wrong and right; above
    100 none is counted.

    Counts of blocks add up to those of the whole, and hold all that any number of bins needs.
    """
    told = percent <= 100
    return (
        np.bincount(2 * percent[told].astype(np.int64) + right[told], minlength=202)
        .reshape(101, 2)
        .astype(np.int64)
    )


@dataclass(frozen=True)
class ReliabilityBin:
    """The pixels whose confidence is above `low` and at most `high`, 0–1; the first bin also has
    those of 0."""

    low: float
    high: float
    pixels: int
    confidence: float
    """Mean of theirs, 0–1; NaN without pixels."""
    accuracy: float
    """Part of them that is right; NaN without pixels."""


@dataclass(frozen=True)
class Reliability:
    """How far confidence and the part that is right lie apart."""

    expected_calibration_error: float
    """Mean distance over the bins, weighted by their pixels; 0 where 80 % sure means 80 % right.
    NaN without pixels."""
    maximum_calibration_error: float
    """The largest distance of a bin that has pixels."""
    mean_confidence: float
    accuracy: float
    pixels: int
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64], bins: int = BINS) -> Reliability:
        """The reliability by the counts of `count_confidence`.

        Its `bins` intervals are of equal width, open below and closed above.
        """
        percents = np.arange(101)
        # integers: 20 % lies on an edge of fifteenths
        of = np.maximum(-(-percents * bins // 100) - 1, 0)
        wrong_and_right = counts.sum(1)
        pixels, right, sure = (
            np.bincount(of, weights, bins)
            for weights in (wrong_and_right, counts[:, 1], wrong_and_right * percents)
        )
        total = int(pixels.sum())
        there = pixels > 0
        confidence, accuracy = (
            np.divide(sums, pixels, out=np.full(bins, nan), where=there)
            for sums in (sure / 100, right)
        )
        gaps = np.abs(confidence - accuracy)[there]
        return cls(
            expected_calibration_error=float((gaps * pixels[there]).sum() / total)
            if total
            else nan,
            maximum_calibration_error=float(gaps.max()) if total else nan,
            mean_confidence=float(sure.sum() / 100 / total) if total else nan,
            accuracy=float(right.sum() / total) if total else nan,
            pixels=total,
            bins=tuple(
                ReliabilityBin(
                    b / bins,
                    (b + 1) / bins,
                    int(pixels[b]),
                    float(confidence[b]),
                    float(accuracy[b]),
                )
                for b in range(bins)
            ),
        )
