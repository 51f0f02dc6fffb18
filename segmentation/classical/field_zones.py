"""Zones inside one field, from weak to strong: clusters of its pixels by an index on several dates.

Values are whole numbers and so are all sums: neither the order of the pixels nor how they were
gathered changes a bit of k-means. A mixture is fitted by scikit-learn on pixels in one order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from segmentation.classical.cluster_fits import one_thread
from segmentation.classical.clustering import mixture_logs

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ZoneMethod = Literal["kmeans", "gaussian-mixture"]

STEPS = 1024
"""Whole numbers in a standard deviation of a date."""
LARGEST = 1 << 13
"""Beyond which a scaled value is cut off: eight deviations."""
ROUNDS = 300
"""Rounds of k-means at most."""


@dataclass(frozen=True, eq=False)
class Zones:
    """The zones of a field: how its values are scaled, and where the clusters lie."""

    mean: Floats
    """`(date,)`"""
    scale: Floats
    """`(date,)` by which a value becomes a scaled one; 0 where a date shows one value."""
    centres: Floats
    """`(zone, date)` in scaled values, from weak to strong."""
    weights: Floats | None = None
    """Of a mixture: `(zone,)`, the share of each."""
    precisions: Floats | None = None
    """Of a mixture: `(zone, date, date)`, the upper Cholesky factor of each precision."""

    def apply(self, values: npt.NDArray[np.integer]) -> Integers:
        """`(date, pixel)` values as scaled whole numbers."""
        scaled = np.rint((values - self.mean[:, None]) * self.scale[:, None])
        return np.clip(scaled, -LARGEST, LARGEST).astype(np.int64)

    def assign(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """`(pixel,)` the zone, from 1, of each pixel of `(date, pixel)`; each follows from itself
        alone."""
        points = self.apply(values)
        if self.weights is None or self.precisions is None:
            return (1 + _nearest(points, self.centres)).astype(np.uint8)
        scaled = points / STEPS
        logs = mixture_logs(self.centres / STEPS, self.weights, self.precisions, scaled)
        return (1 + logs.argmax(axis=0)).astype(np.uint8)


def fit_zones(
    values: npt.NDArray[np.integer], k: int, method: ZoneMethod = "kmeans", sign: int = 1
) -> Zones:
    """The zones of pixels `(date, pixel)`; at most k, fewer where the pixels differ too little.

    Every date weighs alike: its values are scaled by their mean and deviation. Centres start as the
    means of k slices of equal size, cut by the mean of a pixel's scaled values, and move by Lloyd
    (1982), doi:10.1109/TIT.1982.1056489, until none does. Zones come in the order of the mean of
    their values, from the least, with a sign of -1 from the greatest.
    """
    mean, scale = _scaling(values)
    whole = Zones(mean, scale, np.zeros((1, len(values))))
    points = whole.apply(values)
    centres = _lloyd(points, _start(points, k))
    centres = centres[_order(centres, whole, sign)]
    if method == "kmeans" or len(centres) < 2:
        return Zones(mean, scale, centres)
    return _fit_mixture(points, Zones(mean, scale, centres), sign)


def _scaling(values: npt.NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Mean and scale of each date, from exact sums."""
    n, means, scales = values.shape[1], [], []
    for row in values:
        total, squares = int(row.sum(dtype=np.int64)), int((row.astype(np.int64) ** 2).sum())
        variance = (n * squares - total * total) / n**2
        means.append(total / n)
        scales.append(STEPS / variance**0.5 if variance > 0 else 0.0)
    return np.array(means), np.array(scales)


def _start(points: Integers, k: int) -> Floats:
    """`(zone, date)` means of slices of about equal size; pixels of one sum stay together."""
    sums = points.sum(axis=0)
    cuts = np.sort(sums)[[part * sums.size // k for part in range(1, k)]]
    return _means(points, np.searchsorted(cuts, sums, side="right"), np.zeros((k, len(points))))


def _means(points: Integers, zone: npt.NDArray[np.intp], before: Floats) -> Floats:
    """The mean of each zone; of one without pixels what it was."""
    k = len(before)
    count = np.bincount(zone, minlength=k)
    # sums of whole numbers below 2⁵³: exact in any order
    sums = np.stack([np.bincount(zone, row, k) for row in points], axis=1)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], before)


def _lloyd(points: Integers, centres: Floats) -> Floats:
    """Centres that no round of k-means moves any more, without those that no pixel is nearest
    to."""
    zone = _nearest(points, centres)
    for _ in range(ROUNDS):
        centres = _means(points, zone, centres)
        again = _nearest(points, centres)
        if np.array_equal(again, zone):
            break
        zone = again
    return centres[np.unique(zone)]


def _nearest(points: Integers, centres: Floats) -> npt.NDArray[np.intp]:
    squares = np.zeros((len(centres), points.shape[1]))
    for total, centre in zip(squares, centres, strict=True):
        for values, middle in zip(points, centre, strict=True):
            total += (values - middle) ** 2
    return squares.argmin(axis=0)


def _order(centres: Floats, whole: Zones, sign: int) -> npt.NDArray[np.intp]:
    """The zones by the mean of their values over all dates, the weakest first."""
    spread = np.divide(1, whole.scale, out=np.zeros_like(whole.scale), where=whole.scale > 0)
    return np.argsort(sign * (centres * spread).sum(axis=1), kind="stable")


def _fit_mixture(points: Integers, start: Zones, sign: int) -> Zones:
    """A mixture from the centres of k-means, of the same number of zones."""
    from sklearn.mixture import GaussianMixture

    shown = start.scale > 0
    model = GaussianMixture(
        len(start.centres), max_iter=200, random_state=0, means_init=start.centres[:, shown] / STEPS
    )
    with one_thread():
        model.fit(np.ascontiguousarray(points[shown].T) / STEPS)
    k, dates = start.centres.shape
    centres, precisions = np.zeros((k, dates)), np.broadcast_to(np.eye(dates), (k, dates, dates))
    centres[:, shown], precisions = model.means_ * STEPS, precisions.copy()
    precisions[np.ix_(np.arange(k), shown, shown)] = model.precisions_cholesky_
    order = _order(centres, start, sign)
    weights = model.weights_[order]
    return Zones(start.mean, start.scale, centres[order], weights, precisions[order])
