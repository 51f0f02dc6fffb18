"""Forests of decision trees on a chip: from a pixel's bands, their ratios and what lies within a
few pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from segmentation.forests.estimators import Shares, predict_proba
from segmentation.forests.pixel_features import compute, margin_of, parse_features
from segmentation.forests.skops_file import load_forest
from segmentation.models.bundle import Bundle, load
from segmentation.models.card import Card
from segmentation.models.trained import BundleFolder, TrainedSegmenter
from segmentation.segmenter import Footprint, Measure, Prediction

_STRIP = 128
"""Rows whose features are in memory at once, in each thread."""


class Forest(TrainedSegmenter):
    """Trained trees: from few labels, in little time, pixel by pixel with a little of what is
    around."""

    kind: Literal["forest"] = "forest"
    bundle: BundleFolder
    measures: Annotated[
        tuple[Measure, ...], Field(description="Filled in from the products asked for.")
    ] = ()

    @property
    def footprint(self) -> Footprint:
        return Footprint(
            tile=1024, margin=margin_of(parse_features(self.loaded_bundle.card.forest.features))
        )

    def bytes_per_pixel(self, threads: int) -> int:
        return bytes_per_pixel(self.loaded_bundle.card, threads)

    @property
    def bytes_kept(self) -> int:
        return 2 + sum(len(self.legend) if name == "probabilities" else 1 for name in self.measures)

    def with_measures(self, measures: Sequence[Measure]) -> Self:
        return self.model_copy(update={"measures": tuple(measures)})

    def fit(self, sample: xr.Dataset | None) -> Self:
        fitted = super().fit(sample)
        load_trees(self.loaded_bundle)  # what is wrong with them is said before the work starts
        return fitted

    def runtime_facts(self) -> dict[str, str]:
        import sklearn

        return {"numpy": np.__version__, "sklearn": sklearn.__version__}

    def __call__(self, chip: xr.Dataset) -> Prediction:
        card = self.loaded_bundle.card
        shares = probabilities(load_trees(self.loaded_bundle), card, chip)
        index = shares.argmax(0)
        labels = np.array(card.legend.values, np.uint8)[index]
        return Prediction(
            labels=np.where(chip["valid"].values, labels, np.uint8(0)),
            confidence=_percent(shares.max(0)),
            measures={name: _percent(_MEASURES[name](shares)) for name in self.measures},
        )


def _entropy(shares: Shares) -> Shares:
    """`(1, y, x)`: 0 where one class is certain, 1 where all are equally likely."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(0, keepdims=True) / np.float32(np.log(max(2, len(shares))))


def _lead(shares: Shares) -> Shares:
    """`(1, y, x)`: the likeliest class less the second."""
    if len(shares) == 1:
        return shares
    two = np.partition(shares, -2, axis=0)[-2:]
    return two[1:] - two[:1]


_MEASURES: Mapping[Measure, Callable[[Shares], Shares]] = {
    "probabilities": lambda shares: shares,
    "entropy": _entropy,
    "margin": _lead,
}


def _percent(shares: Shares) -> npt.NDArray[np.uint8]:
    return np.rint(100 * np.clip(shares, 0, 1)).astype(np.uint8)


def threads() -> int:
    """Strips at once: what the worker was given, else all cores. Changes no result."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that ask the trees; within each, OpenMP has one, as the strips share out the cores
    already."""
    from threadpoolctl import threadpool_limits

    return ThreadPoolExecutor(
        threads(), "forest", initializer=threadpool_limits, initargs=(1, "openmp")
    )


def probabilities(trees: Any, card: Card, chip: xr.Dataset) -> Shares:
    """`(class, y, x) float32` in the legend's order, 0 where a pixel is not valid; at most one per
    pixel in sum.

    A pixel's follow from what its features see, whatever else the chip holds and however many
    threads there are.
    """
    features, valid = parse_features(card.forest.features), chip["valid"].values
    shares = np.zeros((len(card.legend), *valid.shape), np.float32)
    margin, height = margin_of(features), valid.shape[0]

    def strip(top: int) -> None:
        bottom = min(top + _STRIP, height)
        if not valid[top:bottom].any():
            return
        above = max(0, top - margin)
        seen = compute(
            chip.isel(y=slice(above, min(bottom + margin, height))), features, card.bands
        )
        here = valid[top:bottom]
        pixels = seen[:, top - above : bottom - above][:, here].T
        shares[:, top:bottom][:, here] = predict_proba(
            trees, pixels, len(card.legend), card.forest.temperature
        ).T

    for _ in _pool().map(strip, range(0, height, _STRIP)):
        pass
    return shares


def bytes_per_pixel(card: Card, threads: int) -> int:
    """What a pixel of a chip takes: bands, features and trees of the strips in work, and what is
    known of each class."""
    features = len(card.forest.features)
    return 24 * len(card.bands) + 12 * len(card.legend) + threads * 10 * (features + 12)


def load_trees(bundle: Bundle) -> Any:
    """The trees of a bundle, once per process and content; `InputError` where they are not
    sound."""
    return _load_trees(bundle.digest, bundle.folder)


@cache
def _load_trees(digest: str, folder: Path) -> Any:
    return load_forest(load(folder))
