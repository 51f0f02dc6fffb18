"""Two classes by a threshold that follows what lies around each pixel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field, model_validator

from segmentation.classical.class_list import Colours, List, make_legend
from segmentation.classical.quantity import (
    COLOURS,
    GREENNESS,
    WETNESS,
    Quantity,
    formula_facts,
    measure,
    name_ends,
    quantity_bands,
)
from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.segmenter import Footprint, Prediction, Segmenter

Surroundings = npt.NDArray[np.float64]

_WIDEST_MEDIAN = 51
"""Pixels: each pixel whose window has a hole is sorted by itself."""

_SORTED = 1 << 22
"""Values sorted at once, so that no more than 32 MB are in memory for them."""


class Adaptive(Segmenter):
    """Two classes: where an index or a band is above, and where it is below, what it is around
    each pixel.

    The threshold of a pixel is the mean, the median or the Gaussian mean of a square window around
    it, less an offset, as scikit-image's threshold_local has it (of a Gaussian the deviation is a
    sixth of the window, and it is cut after four deviations). What is invalid or undefined, and
    what lies beyond the raster, is left out: means are over what is there, weighted as it would be
    in a whole window (normalised convolution, Knutsson and Westin, 1993), medians of what is there.
    A pixel where the index is undefined is below. It suits what stands out from its surroundings
    where light or ground change over a scene: paths, hedges, ditches, single trees. Inside of what
    is wider than the window there is nothing to stand out from. It has no confidence.
    """

    has_confidence: ClassVar[bool] = False
    meanings: ClassVar[Mapping[str, str]] = {
        "Vegetation, Not vegetation": f"of {', '.join(GREENNESS)}: more or less than around it",
        "Water, Land": f"of {', '.join(WETNESS)}: more or less than around it",
        "High, Low": "of any other index or band; name them with names",
    }

    kind: Literal["adaptive"] = "adaptive"

    index: Quantity = "NDVI"
    method: Annotated[
        Literal["mean", "median", "gaussian"],
        Field(title="Method", description="What of the window is the threshold."),
    ] = "mean"
    window: Annotated[
        int,
        Field(
            ge=3,
            le=255,
            json_schema_extra={"unit": "px"},
            title="Window",
            description="Length of its sides, an odd number; of a median 51 at most.",
        ),
    ] = 51
    offset: Annotated[
        float,
        Field(
            title="Offset",
            description="Taken off the threshold, in the unit of the index or band; below 0 a "
            "pixel must stand out by so much.",
        ),
    ] = 0.0
    names: Annotated[
        List,
        Field(
            title="Names",
            description="What is below and what is above, between commas; if empty, what suits "
            "the index.",
        ),
    ] = ""
    colours: Colours = ""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.window % 2 == 0:
            raise InputError(f"window={self.window} has no middle; take {self.window + 1}")
        if self.method == "median" and self.window > _WIDEST_MEDIAN:
            raise InputError(
                f"window={self.window} is wide for a median; take {_WIDEST_MEDIAN} at most, or "
                "method=mean"
            )
        _ = self.legend
        return self

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        return quantity_bands(self.index, available)

    @property
    def legend(self) -> Legend:
        above, below = name_ends(self.index)
        usual = [COLOURS.get(below, "#e3ded3"), COLOURS.get(above, "#b0503c")]
        return make_legend(self.names, self.colours, [below, above], usual)

    @property
    def footprint(self) -> Footprint:
        return Footprint(tile=1024, margin=len(self._weights) // 2)

    def bytes_per_pixel(self, threads: int) -> int:
        return 96

    def __call__(self, chip: xr.Dataset) -> Prediction:
        measured = measure(self.index, chip).astype(np.float64)
        threshold = self.threshold(measured, self.footprint.margin)
        with np.errstate(invalid="ignore"):
            higher = measured > threshold
        return Prediction((np.uint8(1) + higher) * chip["valid"].values)

    def threshold(self, measured: Surroundings, margin: int = 0) -> Surroundings:
        """What each of the values `(y, x)`, NaN = none, is held against; anything where there is
        none, and less than `margin` pixels from the edge."""
        if self.method == "median":
            return _median(measured, self.window, margin) - self.offset
        there = np.isfinite(measured)
        total = _convolve(np.where(there, measured, 0.0), self._weights)
        weight = _convolve(there.astype(np.float64), self._weights)
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        return mean - self.offset

    def identity(self) -> dict[str, Any]:
        """Settings and revision; of an index that a package brings also what it computes."""
        return {**super().identity(), **formula_facts([self.index])}

    @property
    def _weights(self) -> Surroundings:
        """Of the pixels of a row or column around its middle."""
        if self.method != "gaussian":
            return np.ones(self.window)
        sigma = (self.window - 1) / 6
        reach = int(4 * sigma + 0.5)
        weights = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
        return np.asarray(weights / weights.sum())


def _convolve(values: Surroundings, weights: Surroundings) -> Surroundings:
    """Weighted sums of a square around each value, 0 beyond; each in one order, wherever it lies.

    A running sum would be faster, but its last bits would depend on where a chip begins.
    """
    from scipy.ndimage import correlate1d

    rows = correlate1d(values, weights, axis=0, mode="constant")
    return np.asarray(correlate1d(rows, weights, axis=1, mode="constant"))


def _median(measured: Surroundings, window: int, margin: int) -> Surroundings:
    """The median of what is there in a window around each value that is there."""
    from scipy.ndimage import maximum_filter, median_filter

    there, reach = np.isfinite(measured), window // 2
    core, (height, width) = np.zeros(measured.shape, bool), measured.shape
    core[margin : height - margin, margin : width - margin] = True
    # Beyond the chip is as beyond the raster: a chip's core never sees that far.
    holes = maximum_filter(~there, window, mode="constant", cval=True)
    medians = median_filter(np.where(there, measured, 0.0), window, mode="constant")
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(measured, reach, constant_values=np.nan), (window, window)
    )
    rows, cols = np.nonzero(holes & there & core)
    step = max(1, _SORTED // window**2)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        windows = around[rows[some], cols[some]].reshape(-1, window * window)
        medians[rows[some], cols[some]] = np.nanmedian(windows, axis=1)
    return np.asarray(medians)
