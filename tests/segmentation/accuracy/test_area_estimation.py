"""Areas estimated from a sample: the worked example of Olofsson et al., and the laws of the
estimator."""

from __future__ import annotations

from math import isnan

import numpy as np
import numpy.typing as npt
import pytest

from segmentation.accuracy.area_estimation import AreaEstimates
from segmentation.accuracy.confusion import confusion_matrix

HECTARE = 10_000.0


def rows(k: int) -> list[tuple[int, str, str]]:
    return [(value, f"class {value}", "#000000") for value in range(1, k + 1)]


def test_the_example_of_good_practices() -> None:
    """Olofsson et al. (2014), tables 8 and 9 and section 5.2: deforestation, forest gain, stable
    forest, non-forest.

    The paper prints half widths of 0.23 and 0.01 for the producer's accuracies of forest gain and
    non-forest, where its own eq. 7 gives 0.25 and 0.02: those are tested.
    """
    by_map = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 900.0
    found = AreaEstimates.from_confusion(by_map.T, mapped, rows(4))
    assert [round(one.area_m2 / HECTARE) for one in found.classes] == [
        21_158,
        11_686,
        285_770,
        581_386,
    ]
    assert [round(one.area_margin_m2 / HECTARE) for one in found.classes] == [
        6_158,
        3_756,
        15_510,
        16_282,
    ]
    assert [round(one.users, 2) for one in found.classes] == [0.88, 0.73, 0.93, 0.96]
    assert [round(one.users_margin, 2) for one in found.classes] == [0.07, 0.10, 0.04, 0.02]
    assert [round(one.producers, 2) for one in found.classes] == [0.75, 0.85, 0.93, 0.96]
    assert [round(one.producers_margin, 2) for one in found.classes] == [0.21, 0.25, 0.03, 0.02]
    assert (round(found.overall_accuracy, 2), round(found.overall_margin, 2)) == (0.95, 0.02)
    assert found.covered == 1
    assert [one.samples for one in found.classes] == [75, 75, 165, 325]


def draw(seed: int, n: int) -> tuple[AreaEstimates, npt.NDArray[np.float64]]:
    """Estimates from `n` random pixels per class of a map, and how much of each class there truly
    is."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([1, 2, 3], [30_000, 50_000, 20_000])
    wrong = np.random.default_rng(0).random(truth.size) < 0.2
    predicted = np.where(wrong, np.random.default_rng(1).integers(1, 4, truth.size), truth)
    sample = np.concatenate(
        [rng.choice(np.flatnonzero(predicted == value), n) for value in (1, 2, 3)]
    )
    mapped = np.bincount(predicted)[1:].astype(float)
    matrix = confusion_matrix(truth[sample], predicted[sample], (1, 2, 3))
    return AreaEstimates.from_confusion(matrix, mapped, rows(3)), np.bincount(truth)[1:].astype(
        float
    )


def test_intervals_hold_what_they_promise() -> None:
    """Of 300 samples about 95 % give an interval that holds the true area, and their mean is it: no
    bias."""
    drawn = [draw(seed, 100) for seed in range(300)]
    truth = drawn[0][1]
    areas = np.array([[one.area_m2 for one in found.classes] for found, _ in drawn])
    margins = np.array([[one.area_margin_m2 for one in found.classes] for found, _ in drawn])
    held = (np.abs(areas - truth) <= margins).mean(0)
    assert (held > 0.91).all()
    assert (held < 0.99).all()
    assert areas.mean(0) == pytest.approx(truth, rel=0.01)


def test_estimated_areas_add_up_to_the_map() -> None:
    found, truth = draw(7, 50)
    assert sum(one.area_m2 for one in found.classes) == pytest.approx(truth.sum())
    assert sum(one.mapped_m2 for one in found.classes) == pytest.approx(truth.sum())


def test_a_class_without_samples_is_left_out_and_told() -> None:
    matrix = np.array([[8, 2, 0], [1, 9, 1], [0, 0, 0]])
    found = AreaEstimates.from_confusion(matrix, np.array([50.0, 40.0, 10.0]), rows(3))
    assert found.covered == pytest.approx(0.9)
    assert sum(one.area_m2 for one in found.classes) == pytest.approx(90)
    assert isnan(found.classes[2].users)
    assert isnan(found.classes[2].users_margin)


def test_a_class_that_the_map_lacks_has_an_area_all_the_same() -> None:
    found = AreaEstimates.from_confusion(
        np.array([[8, 0], [2, 0]]), np.array([100.0, 0.0]), rows(2)
    )
    assert [one.area_m2 for one in found.classes] == pytest.approx([80, 20])
    assert found.classes[1].producers == 0


def test_no_sample_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="two reference samples"):
        AreaEstimates.from_confusion(np.array([[1, 0], [0, 1]]), np.array([5.0, 5.0]), rows(2))
