"""How many clusters there are, in which order they stand and how they look."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import values
from segmentation.spectral.indices import band_for

Matrix = npt.NDArray[np.float64]
Figures = tuple[tuple[int, float], ...]

_TRIED_ON = 1 << 15
"""Pixels that each number of clusters is tried on: every n-th of those that are fitted."""

_COMPARED = 1 << 11
"""Pixels whose distances to each other a silhouette needs."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order wherever a fit runs, and no word of fits that go on to the last round."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def thin(points: Matrix, most: int) -> Matrix:
    """Every n-th of the points `(pixel, feature)`, so that no more than `most` are left."""
    return points[:: max(1, -(-len(points) // most))]


def try_counts(make: Callable[[int], Any], points: Matrix, most: int, judge: str) -> Figures:
    """What speaks for each number of clusters up to `most`.

    elbow: the sum of squared distances to centres, from one cluster on; silhouette: the mean of
    Rousseeuw (1987), doi:10.1016/0377-0427(87)90125-7, from two on; bic: Schwarz (1978),
    doi:10.1214/aos/1176344136.
    """
    from sklearn.metrics import silhouette_score

    points = np.ascontiguousarray(thin(points, _TRIED_ON))
    few = thin(points, _COMPARED)
    figures = []
    for count in range(2 if judge == "silhouette" else 1, most + 1):
        estimator = make(count).fit(points)
        if judge == "elbow":
            figures.append((count, float(estimator.inertia_)))
        elif judge == "bic":
            figures.append((count, float(estimator.bic(points))))
        else:
            labels = estimator.predict(few)
            parted = 1 < len(np.unique(labels)) < len(few)
            figures.append((count, float(silhouette_score(few, labels)) if parted else -1.0))
    return tuple(figures)


def choose_count(figures: Figures, judge: str) -> int:
    """The number of clusters, two at least, that the figures speak for.

    The elbow is where the curve is furthest below the line between its ends, as in Satopää et al.
    (2011), doi:10.1109/ICDCSW.2011.20.

    >>> choose_count(((1, 100.0), (2, 60.0), (3, 20.0), (4, 15.0), (5, 10.0)), "elbow")
    3
    >>> choose_count(((2, 0.4), (3, 0.7), (4, 0.6)), "silhouette")
    3
    >>> choose_count(((1, 900.0), (2, 700.0), (3, 720.0)), "bic")
    2
    """
    if judge == "silhouette":
        return max(figures, key=lambda one: (one[1], -one[0]))[0]
    if judge == "bic":
        return min(figures[1:], key=lambda one: (one[1], one[0]))[0]
    (first, top), (last, bottom) = figures[0], figures[-1]
    line = [top + (bottom - top) * (count - first) / (last - first) for count, _ in figures]
    below = [on_line - figure for on_line, (_, figure) in zip(line, figures, strict=True)]
    return max(range(1, len(figures)), key=lambda at: (below[at], -at)) + first


def mean_spectra(sample: xr.Dataset, pixels: slice, labels: npt.NDArray[Any], count: int) -> Matrix:
    """`(cluster, band)`: mean of each band over the pixels of each cluster; the scene's mean where
    a cluster has none."""
    bands = values(sample).values[:, sample["valid"].values][:, pixels].astype(np.float64)
    return np.array(
        [
            (bands[:, labels == one] if np.any(labels == one) else bands).mean(axis=1)
            for one in range(count)
        ]
    )


def rank_clusters(spectra: Matrix, names: Sequence[str], centres: Matrix) -> list[int]:
    """Clusters from the least green up where red and near infrared are there, else from the darkest
    up; by their centres where two are alike."""
    red, nir = (band_for(name, names) for name in ("red", "nir"))
    if red is None or nir is None:
        measure = spectra.mean(axis=1)
    else:
        low, high = (spectra[:, names.index(band)] for band in (red, nir))
        total = high + low
        measure = np.divide(high - low, total, out=np.zeros_like(total), where=total != 0)
    return sorted(range(len(measure)), key=lambda at: (measure[at], *centres[at]))


def true_colours(spectra: Matrix, names: Sequence[str], sample: xr.Dataset) -> tuple[str, ...]:
    """What clusters look like from above, stretched from the darkest to the brightest fiftieth of
    the scene; where red, green and blue are not all there, colours that are easy to tell apart."""
    trio = ("red", "green", "blue")
    if not set(trio) <= set(names):
        return tuple(_hue(number) for number in range(len(spectra)))
    at = [names.index(name) for name in trio]
    seen = values(sample).values[at][:, sample["valid"].values].astype(np.float64)
    low, high = np.percentile(seen, (2, 98), axis=1)
    share = (spectra[:, at] - low) / np.where(high > low, high - low, 1)
    levels = np.rint(255 * np.clip(share, 0, 1)).astype(int)
    return tuple("#" + "".join(f"{level:02x}" for level in row) for row in levels)


def _hue(number: int) -> str:
    """A colour whose hue lies the golden angle from the one before."""
    rgb = colorsys.hsv_to_rgb(number * 0.381966 % 1, 0.55, 0.9 if number % 2 else 0.7)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
