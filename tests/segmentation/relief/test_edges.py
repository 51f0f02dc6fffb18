"""Thin edges lie where a step is, and depend on what is said to be in reach."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.relief.edges import edge_reach, thin_edges
from segmentation.relief.gradient import gradient_heights
from tests.chance import chances
from tests.segmentation.relief.reach import measure_reach


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_a_pixel_depends_on_those_in_reach_and_no_other(rounds: int) -> None:
    reach = measure_reach(lambda values, valid: thin_edges(values, valid, rounds)[1])
    assert reach == edge_reach(rounds)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_step_leaves_one_line(transposed: bool) -> None:
    values = np.where(np.arange(20) < 9, 100, 900) * np.ones((20, 1), int)
    values = (values.T if transposed else values)[None].astype(np.int32)
    _, thin = thin_edges(values, np.ones((20, 20), bool), 1)
    inner = (thin.T if transposed else thin)[3:-3, 3:-3] > 0
    assert (inner.sum(1) == 1).all()
    assert (np.ptp(np.argwhere(inner)[:, 1]) == 0).all()


def test_a_disc_has_a_closed_thin_outline() -> None:
    y, x = np.mgrid[:60, :60]
    values = np.where(np.hypot(y - 30, x - 30) < 18, 1000, 0)[None].astype(np.int32)
    _, thin = thin_edges(values, np.ones((60, 60), bool), 2)
    edge = thin > 200
    assert np.abs(np.hypot(*(np.argwhere(edge) - 30).T) - 18).max() < 1.5
    assert 100 < edge.sum() < 160, "one pixel wide: 113 px is the circumference"


def test_of_one_band_the_strength_is_the_gradient() -> None:
    for chance in chances(5):
        values = chance.integers(0, 5000, (1, 24, 24)).astype(np.int32)
        valid = chance.random((24, 24)) > 0.1
        strength, thin = thin_edges(values, valid, 1)
        gradient = gradient_heights(values, valid, 1)
        assert np.abs(strength.astype(int) - gradient).max() <= 1
        assert ((thin == 0) | (thin == strength)).all()
        assert not thin[~valid].any()
