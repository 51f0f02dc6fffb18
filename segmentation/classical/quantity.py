"""One number for each pixel of a chip: a band of it, or an index of the catalogue."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field

from segmentation.chip import values
from segmentation.errors import InputError
from segmentation.spectral.indices import compute, find, index_bands, is_index

GREENNESS = ("NDVI", "EVI", "EVI2", "SAVI", "OSAVI", "MSAVI", "GNDVI")
WETNESS = ("NDWI", "MNDWI", "AWEInsh", "AWEIsh")
_ENDS = {
    **dict.fromkeys(GREENNESS, ("Vegetation", "Not vegetation")),
    **dict.fromkeys(WETNESS, ("Water", "Land")),
}
COLOURS = {
    "Vegetation": "#4c9a4a",
    "Not vegetation": "#d9cbb0",
    "Water": "#3b7dd8",
    "Land": "#d9cbb0",
}
_HIGH_LOW = "High", "Low"

BAND = "band:"
"""What stands before the name of a band where an index is called the same."""

Quantity = Annotated[
    str,
    Field(
        min_length=1,
        title="Index or band",
        description="An index of the catalogue, or a band (band:NAME where an index is called the "
        "same).",
    ),
]
"""The setting that names an index or a band."""


def names_index(name: str) -> bool:
    """Whether an index of the catalogue is meant, and no band."""
    return not name.startswith(BAND) and is_index(name)


def find_band(name: str, available: Iterable[str]) -> str | None:
    """The band that is meant, in any case: VV of a file whose bands are called vv."""
    name, names = name.removeprefix(BAND), list(available)
    alike = [band for band in names if band.casefold() == name.casefold()]
    return name if name in names else alike[0] if len(alike) == 1 else None


def quantity_bands(name: str, available: Collection[str]) -> tuple[str, ...]:
    """The bands that an index is computed from, or the one band itself; `InputError` where they
    are not there."""
    if names_index(name):
        return index_bands(name, available)
    if (band := find_band(name, available)) is None:
        raise InputError(
            f"{name} is neither an index nor a band; there are "
            f"{', '.join(available) or 'no bands'}, and "
            "`landweave indices` lists the indices"
        )
    return (band,)


def measure(name: str, chip: xr.Dataset) -> npt.NDArray[np.float32]:
    """An index or band of a chip: `(y, x) float32`, NaN where invalid or undefined."""
    if names_index(name):
        return compute(name, chip)
    return values(chip.sel(band=[find_band(name, map(str, chip["band"].values))])).values[0]


def formula_facts(names: Iterable[str]) -> dict[str, Any]:
    """What indices that packages bring compute, for the record; empty where there is none."""
    indices = [find(name) for name in names if names_index(name)]
    formulas = [[one.formula, one.letters, one.constants] for one in indices if one.origin]
    return {"formulas": formulas} if formulas else {}


def name_ends(index: str) -> tuple[str, str]:
    """What the classes above and below a threshold of an index or band are called."""
    return _ENDS.get(find(index).name, _HIGH_LOW) if names_index(index) else _HIGH_LOW
