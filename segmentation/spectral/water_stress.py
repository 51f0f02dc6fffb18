"""Water stress of vegetation in classes, from indices of near and short-wave infrared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

INDICES = ("NDMI", "MSI")
"""Those that tell water stress. MSI is short-wave over near infrared, NDMI the normalised
difference of the same two bands: one follows from the other, NDMI = (1 - MSI) / (1 + MSI)."""

CLASSES = ("bare or dry", "severe", "moderate", "slight", "none")
CUTS = (-0.2, 0.0, 0.2, 0.4)
"""Of NDMI. Sentinel Hub's page of the index has water stress from -0.2 to 0.4, soil below and
canopies without stress above, https://custom-scripts.sentinel-hub.com/sentinel-2/ndmi/, and its
script for stress cuts at 0, 0.2 and 0.4,
https://custom-scripts.sentinel-hub.com/sentinel-2/ndmi_special/. They are made for pictures of any
crop, and a thin canopy over dry soil looks like a thick one under stress."""


def stress_class(index: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The class of each value of one of `INDICES`: 1 bare or dry, 2 severe stress, to 5 none; 0
    where it is NaN. A cut belongs to the class above it."""
    if index not in INDICES:
        raise ValueError(f"{index} tells no water stress")
    with np.errstate(divide="ignore", invalid="ignore"):
        ndmi = values if index == "NDMI" else (1 - values) / (1 + values)
    found = 1 + np.searchsorted(CUTS, ndmi, side="right")
    return np.where(np.isnan(ndmi), 0, found).astype(np.uint8)
