"""A chip: the plain data in which pixels reach a segmenter.

A chip is an `xarray.Dataset` with

- `pixels (band, y, x)` in the file's own dtype,
- `valid (y, x) bool`: True iff every band is neither no data, masked, NaN nor infinite,
- along `band`: the common name, `scale` and `offset` (physical value = pixels × scale + offset),
  and `units`, "reflectance" (0–1) or "dn" (digital numbers of unknown meaning).

A sample, what `fit` sees, is a chip too: blocks of the scene stacked along y.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from segmentation.errors import InputError

UNITS = ("reflectance", "dn")


def values(chip: xr.Dataset, units: Sequence[str] = ()) -> xr.DataArray:
    """Physical values of a chip: `(band, y, x) float32`, NaN = invalid; in whatever units each band
    has.

    With `units`, one for each band, it raises `InputError` where a band has others.
    """
    if units:
        check_units(chip, units)
    pixels = chip["pixels"].values.astype(np.float32)
    scale, offset = (
        chip[name].values.astype(np.float32)[:, None, None] for name in ("scale", "offset")
    )
    if np.any(scale != 1):
        pixels *= scale
    if np.any(offset != 0):
        pixels += offset
    pixels[:, ~chip["valid"].values] = np.nan
    return xr.DataArray(pixels, dims=("band", "y", "x"), coords={"band": chip["band"]})


def reflectance(chip: xr.Dataset) -> xr.DataArray:
    """Reflectance of a chip: `(band, y, x) float32` in 0–1 (bright targets exceed 1), NaN =
    invalid.

    Raises `InputError` where a band holds digital numbers.
    """
    return values(chip, ["reflectance"] * chip.sizes["band"])


def check_units(chip: xr.Dataset, wanted: Sequence[str]) -> None:
    """Raises `InputError` where a band's values are not in the units wanted of it, one for each
    band."""
    found = zip(chip["band"].values, chip["units"].values, wanted, strict=True)
    odd = [(str(name), want) for name, has, want in found if has != want]
    if not odd:
        return
    names = ", ".join(name for name, _ in odd)
    if odd[0][1] == "reflectance":
        raise InputError(
            f"{names} are digital numbers, not reflectance; say how they scale, for example "
            "--scale 0.0001"
        )
    raise InputError(
        f"{names} are reflectance, and digital numbers are wanted, as the file holds them; leave "
        "--scale out"
    )
