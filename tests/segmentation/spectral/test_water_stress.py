"""Water stress: the classes of NDMI, and the same ones of MSI."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.spectral.water_stress import CUTS, stress_class
from tests.chance import chances


def test_classes_of_ndmi() -> None:
    values = np.array([-0.5, -0.2, -0.1, 0.1, 0.3, 0.4, 0.8, np.nan])
    assert stress_class("NDMI", values).tolist() == [1, 2, 2, 3, 4, 5, 5, 0]


def test_msi_of_the_same_bands_gives_the_same_class() -> None:
    (rng,) = chances(1)
    nir, swir = rng.uniform(0.02, 0.6, (2, 5000))
    ndmi = (nir - swir) / (nir + swir)
    clear = np.abs(ndmi[:, None] - CUTS).min(axis=1) > 1e-9
    one, other = stress_class("NDMI", ndmi), stress_class("MSI", swir / nir)
    np.testing.assert_array_equal(one[clear], other[clear])
    assert {*one} == {1, 2, 3, 4, 5}


def test_another_index_tells_nothing() -> None:
    with pytest.raises(ValueError, match="NDVI tells no water stress"):
        stress_class("NDVI", np.zeros(1))
