"""A chip: the plain data in which pixels reach a segmenter.

A chip is an `xarray.Dataset` with

- `pixels (band, y, x)` in the file's own dtype,
- `valid (y, x) bool`: True iff every band is neither no data, masked, NaN nor infinite,
- along `band`: the common name, `scale` and `offset` (physical value = pixels × scale + offset), and `units`,
  "reflectance" (0–1) or "dn" (digital numbers of unknown meaning).

A sample, what `fit` sees, is a chip too: blocks of the scene stacked along y.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from segmentation.errors import Mistake

UNITS = ("reflectance", "dn")


def values(chip: xr.Dataset) -> xr.DataArray:
    """Physical values of a chip: `(band, y, x) float32`, NaN = invalid; in whatever units each band has."""
    pixels = chip["pixels"].values.astype(np.float32)
    scale, offset = (chip[name].values.astype(np.float32)[:, None, None] for name in ("scale", "offset"))
    if np.any(scale != 1):
        pixels *= scale
    if np.any(offset != 0):
        pixels += offset
    pixels[:, ~chip["valid"].values] = np.nan
    return xr.DataArray(pixels, dims=("band", "y", "x"), coords={"band": chip["band"]})


def reflectance(chip: xr.Dataset) -> xr.DataArray:
    """Reflectance of a chip: `(band, y, x) float32` in 0–1 (bright targets exceed 1), NaN = invalid.

    Raises `Mistake` where a band holds digital numbers.
    """
    raw = [str(name) for name, unit in zip(chip["band"].values, chip["units"].values, strict=True) if unit == "dn"]
    if raw:
        raise Mistake(
            f"{', '.join(raw)} are digital numbers, not reflectance; say how they scale, for example --scale 0.0001"
        )
    return values(chip)
