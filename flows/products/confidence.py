"""How sure a map is of each class, from a sample of its pixels."""

from __future__ import annotations

from pathlib import Path

from flows.reports.quicklook import LONGEST
from segmentation.legend import Legend
from tiling.classmaps.raster import NO_CONFIDENCE
from tiling.io.datasets import open_dataset

FEWEST = 10
"""Pixels of a class in the sample, below which nothing is said of it."""


def sample_confidence(classes: Path, confidence: Path | None, legend: Legend) -> dict[str, float]:
    """Mean confidence, 0-100, of the classes of a map, from at most 900 x 900 of its pixels; empty
    without a raster.

    Both rasters are read at the pixels of a picture, so that a large map costs no more than a small
    one.
    """
    if confidence is None:
        return {}
    samples = []
    for path in (classes, confidence):
        with open_dataset(str(path)) as source:
            shrink = max(1.0, max(source.shape) / LONGEST)
            height, width = (max(1, round(length / shrink)) for length in source.shape)
            samples.append(source.read(1, out_shape=(height, width)))
    labels, percents = samples
    means = {}
    for value, name, _ in legend.rows:
        of_class = percents[(labels == value) & (percents != NO_CONFIDENCE)]
        if of_class.size >= FEWEST:
            means[name] = round(float(of_class.mean(dtype="float64")), 1)
    return means
