"""Chips for tests, as `tiling` would make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr


def make_chip(
    arrays: npt.ArrayLike | Sequence[npt.ArrayLike],
    names: Sequence[str],
    scale: float = 1.0,
    offset: float = 0.0,
    units: str = "reflectance",
    valid: npt.NDArray[np.bool_] | None = None,
) -> xr.Dataset:
    """A chip of bands `names` with pixels `arrays (band, y, x)` in their own dtype; all valid that
    are finite."""
    pixels: npt.NDArray[Any] = np.stack([np.asarray(array) for array in arrays])
    there = np.all(np.isfinite(pixels), axis=0)
    count = len(names)
    return xr.Dataset(
        {
            "pixels": (("band", "y", "x"), pixels),
            "valid": (("y", "x"), there if valid is None else valid),
        },
        coords={
            "band": list(names),
            "scale": ("band", [scale] * count),
            "offset": ("band", [offset] * count),
            "units": ("band", [units] * count),
        },
    )


def of_spectra(spectra: Sequence[Sequence[float]], names: Sequence[str]) -> xr.Dataset:
    """A chip of one row of reflectance, a pixel for each spectrum."""
    return make_chip(np.array(spectra, np.float32).T[:, None, :], names)
