"""A series in figures."""

from __future__ import annotations

import numpy as np

from segmentation.temporal.summary import summarise


def test_figures_are_those_of_the_valid_dates() -> None:
    values = np.array([[np.nan, 0.2, np.nan], [0.5, 0.1, np.nan], [0.3, 0.9, np.nan]], np.float32)
    found = summarise(values, [10, 20, 40])
    np.testing.assert_array_equal(found.first, [20, 10, np.nan])
    np.testing.assert_array_equal(found.last, [40, 40, np.nan])
    np.testing.assert_array_equal(found.minimum, np.array([0.3, 0.1, np.nan], np.float32))
    np.testing.assert_array_equal(found.maximum, np.array([0.5, 0.9, np.nan], np.float32))
    np.testing.assert_allclose(found.amplitude, [0.2, 0.8, np.nan], rtol=1e-6)
    assert found.looks.tolist() == [2, 3, 0]
