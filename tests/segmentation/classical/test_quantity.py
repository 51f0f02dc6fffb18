"""A band or an index of a chip, by a name in any case."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.classical.quantity import measure, name_ends, names_index, quantity_bands
from segmentation.errors import InputError
from tests.segmentation.chips import make_chip


def test_an_index_goes_before_a_band_unless_a_band_is_asked_for() -> None:
    chip = make_chip(np.array([[[0.1]], [[0.3]], [[9]]], np.float32), ["red", "nir", "ndvi"])
    assert measure("NDVI", chip)[0, 0] == pytest.approx(0.5)
    assert measure("band:ndvi", chip)[0, 0] == 9
    assert measure("NIR", chip)[0, 0] == np.float32(0.3)
    assert names_index("ndvi")
    assert not names_index("band:ndvi")


def test_what_is_not_there_is_said_in_one_line() -> None:
    assert quantity_bands("NDVI", ["red", "nir"]) == ("nir", "red")
    with pytest.raises(InputError, match="thing is neither an index nor a band; there are no band"):
        quantity_bands("thing", [])


def test_what_is_invalid_has_no_value() -> None:
    valid = np.array([[True, False]])
    chip = make_chip(np.ones((1, 1, 2), np.float32), ["vv"], valid=valid)
    assert np.isnan(measure("VV", chip)).tolist() == [[False, True]]


def test_ends_are_called_by_what_an_index_is_for() -> None:
    assert name_ends("evi") == ("Vegetation", "Not vegetation")
    assert name_ends("band:ndvi") == name_ends("NDBI") == ("High", "Low")
