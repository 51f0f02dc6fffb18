"""What methods that weigh several bands see of a pixel: bands and indices, brought to one scale."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import BaseModel, ConfigDict

from segmentation.classical.class_list import words_of
from segmentation.classical.quantity import BAND, measure, quantity_bands
from segmentation.errors import InputError

Matrix = npt.NDArray[np.float64]


class Scaling(BaseModel):
    """What brings features to one scale: those of the sample have mean 0 and deviation 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[str, ...]
    """Indices, and bands as `band:NAME`."""
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def apply(self, raw: Matrix) -> Matrix:
        """`(feature, …)` in one scale; what is undefined becomes the mean of the scene."""
        shape = (len(self.features), *[1] * (raw.ndim - 1))
        scaled = raw - np.reshape(self.means, shape)
        scaled /= np.reshape(self.deviations, shape)
        return np.nan_to_num(scaled, copy=False, nan=0.0)

    def undo(self, scaled: Matrix) -> Matrix:
        """`(feature, …)` in the units of bands and indices."""
        shape = (len(self.features), *[1] * (scaled.ndim - 1))
        return scaled * np.reshape(self.deviations, shape) + np.reshape(self.means, shape)


def feature_bands(features: str, available: Collection[str]) -> tuple[str, ...]:
    """The bands to read for features between commas; all there are where none is named.

    `InputError` where one is neither an index nor a band, or there is no band at all.
    """
    if not available:
        raise InputError("there are no bands; name the scene's with --bands")
    listed = words_of(features)
    read = [band for name in listed for band in quantity_bands(name, available)]
    return tuple(dict.fromkeys(read or available))


def feature_names(features: str, bands: Sequence[str]) -> tuple[str, ...]:
    """Features one by one: those between commas, or else every band."""
    return tuple(words_of(features)) or tuple(BAND + band for band in bands)


def read_features(names: Sequence[str], chip: xr.Dataset) -> npt.NDArray[np.float32]:
    """`(feature, y, x) float32`, NaN where a pixel is invalid or an index undefined."""
    return np.stack([measure(name, chip) for name in names])


def fit_scaling(names: Sequence[str], raw: Matrix) -> Scaling:
    """The scaling of the values `(feature, pixel)` of a sample; a constant feature weighs
    nothing."""
    means, deviations = [], []
    for values in raw:
        finite = values[np.isfinite(values)]
        means.append(float(finite.mean()) if finite.size else 0.0)
        deviations.append((float(finite.std()) if finite.size else 0.0) or 1.0)
    return Scaling(features=tuple(names), means=tuple(means), deviations=tuple(deviations))
