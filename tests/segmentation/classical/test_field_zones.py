"""Zones inside a field: scikit-learn's clusters from the same start, from weak to strong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from segmentation.classical import field_zones
from segmentation.classical.field_zones import STEPS, Zones, fit_zones
from tests.chance import chances


def draw_field(rng: np.random.Generator, dates: int = 3) -> npt.NDArray[Any]:
    """`(date, pixel)`: three kinds of pixels, some stronger on one date and weaker on another."""
    kinds = rng.integers(3000, 8000, (3, dates))
    sizes = rng.integers(50, 400, 3)
    mixed = np.repeat(kinds, sizes, axis=0) + rng.normal(0, 600, (sizes.sum(), dates))
    return np.rint(mixed).astype(np.int32).T


def test_zones_are_scikit_learns_from_the_same_start() -> None:
    for rng in chances(8):
        values, k = draw_field(rng), int(rng.integers(2, 6))
        zones = fit_zones(values, k)
        points = zones.apply(values)
        start = field_zones._start(points, k)
        known = KMeans(k, init=start, n_init=1, max_iter=300, tol=0).fit(points.T.astype(float))
        assert len(zones.centres) == k
        found = zones.assign(values)
        assert adjusted_rand_score(found, known.labels_) == pytest.approx(1, abs=0.02)
        centres = known.cluster_centers_
        for centre in zones.centres:
            assert np.abs(centres - centre).max(axis=1).min() < 20  # of 1024 in a deviation


def test_a_mixture_is_scikit_learns_from_the_same_means() -> None:
    for rng in chances(3):
        values = draw_field(rng)
        start, zones = fit_zones(values, 3), fit_zones(values, 3, "gaussian-mixture")
        points = zones.apply(values).T / STEPS
        known = GaussianMixture(
            3, max_iter=200, random_state=0, means_init=start.centres / STEPS
        ).fit(points)
        assert adjusted_rand_score(zones.assign(values), known.predict(points)) > 0.999


def test_zones_go_from_weak_to_strong_and_the_other_way_round() -> None:
    (rng,) = chances(1)
    values = draw_field(rng)
    for sign in (1, -1):
        zones = fit_zones(values, 4, sign=sign)
        found = zones.assign(values)
        means = [values[:, found == zone].mean() for zone in range(1, 5)]
        assert (np.diff(means) * sign > 0).all()


def test_no_order_of_the_pixels_changes_a_bit_and_each_pixel_follows_from_itself() -> None:
    for rng in chances(5):
        values = draw_field(rng, dates=5)
        order = rng.permutation(values.shape[1])
        whole, turned = fit_zones(values, 3), fit_zones(values[:, order], 3)
        for name in ("mean", "scale", "centres"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(turned, name))
        for zones in (whole, fit_zones(values, 3, "gaussian-mixture")):
            found = zones.assign(values)
            for cut in (1, 7, 64):
                parts = [zones.assign(values[:, at : at + cut]) for at in range(0, 200, cut)]
                np.testing.assert_array_equal(np.concatenate(parts)[:200], found[:200])


@pytest.mark.parametrize("method", ["kmeans", "gaussian-mixture"])
def test_a_field_that_differs_too_little_has_fewer_zones(method: field_zones.ZoneMethod) -> None:
    flat = np.full((2, 50), 5000)
    assert len(fit_zones(flat, 3, method).centres) == 1
    assert (fit_zones(flat, 3, method).assign(flat) == 1).all()
    halves = np.stack([np.repeat([4000, 6000], 25), np.full(50, 100)])
    zones = fit_zones(halves, 4, method)
    assert len(zones.centres) == 2
    assert zones.assign(halves).tolist() == [1] * 25 + [2] * 25


def test_far_values_are_cut_off_and_the_least_distance_decides() -> None:
    zones = Zones(np.array([0.0]), np.array([1.0]), np.array([[0.0], [100.0]]))
    assert zones.assign(np.array([[-(2**31) + 1, 0, 49, 50, 51, 2**31 - 1]])).tolist() == [
        *(1, 1, 1, 1, 2, 2)
    ]
