"""Accuracy: Congalton's worked example, scikit-learn's numbers, and the laws of counting."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from segmentation.accuracy.confusion import Accuracy, confusion_matrix

VALUES = (3, 1, 7, 200)
ROWS = tuple((value, f"class {value}", "#000000") for value in VALUES)

rasters = arrays(np.uint8, 60, elements=st.sampled_from((0, *VALUES)))


def test_congaltons_example() -> None:
    """Table 1 of Congalton (1991): deciduous, conifer, barren, shrub; there the reference is along
    columns."""
    classified = np.array([[65, 4, 22, 24], [6, 81, 5, 8], [0, 11, 85, 19], [4, 7, 3, 90]])
    accuracy = Accuracy.from_confusion(
        classified.T, [(i, name, "#000000") for i, name in enumerate("DCBS", 1)]
    )
    assert round(accuracy.overall_accuracy, 2) == 0.74
    assert round(accuracy.kappa, 2) == 0.65
    # producer's
    assert [round(one.recall, 2) for one in accuracy.classes] == [
        0.87,
        0.79,
        0.74,
        0.64,
    ]
    # user's
    assert [round(one.precision, 2) for one in accuracy.classes] == [
        0.57,
        0.81,
        0.74,
        0.87,
    ]
    assert [one.support for one in accuracy.classes] == [75, 103, 115, 141]


@given(rasters, rasters)
def test_the_matrix_is_scikit_learns(
    truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]
) -> None:
    counted = (truth > 0) & (predicted > 0)
    expected = np.zeros((4, 4), int)
    if counted.any():
        expected = metrics.confusion_matrix(truth[counted], predicted[counted], labels=VALUES)
    assert np.array_equal(confusion_matrix(truth, predicted, VALUES), expected)


@given(rasters, rasters)
def test_every_figure_is_scikit_learns(
    truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]
) -> None:
    accuracy = Accuracy.from_confusion(confusion_matrix(truth, predicted, VALUES), ROWS)
    counted = (truth > 0) & (predicted > 0)
    t, p = truth[counted], predicted[counted]
    if not t.size:
        assert isnan(accuracy.overall_accuracy)
        assert isnan(accuracy.mean_iou)
        return
    assert accuracy.overall_accuracy == pytest.approx(metrics.accuracy_score(t, p))
    if len({*t, *p}) > 1:
        assert accuracy.kappa == pytest.approx(metrics.cohen_kappa_score(t, p))
    here: Any = {"average": None, "labels": VALUES, "zero_division": np.nan}
    for name, score in (
        ("iou", metrics.jaccard_score(t, p, average=None, labels=VALUES, zero_division=0)),
        ("f1", metrics.f1_score(t, p, **here)),
        ("precision", metrics.precision_score(t, p, **here)),
        ("recall", metrics.recall_score(t, p, **here)),
    ):
        for one, expected in zip(accuracy.classes, score, strict=True):
            found = getattr(one, name)
            if one.value not in t and one.value not in p:
                assert isnan(found)
            else:
                assert found == pytest.approx(expected, nan_ok=True)
    present = [one.iou for one in accuracy.classes if not isnan(one.iou)]
    assert accuracy.mean_iou == pytest.approx(np.mean(present))


@pytest.mark.parametrize("seed", range(3))
def test_every_figure_is_that_of_torchmetrics(seed: int) -> None:
    """Large rasters with ignored pixels; torchmetrics numbers classes from 0 and leaves out -1 of
    the truth alone."""
    import torch
    from torchmetrics.functional import classification as scores

    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (200, 300))  # 0 = no data
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 6, truth.shape))
    known = (truth > 0) & (predicted > 0)
    rows = [(value, str(value), "#000000") for value in range(1, 6)]
    accuracy = Accuracy.from_confusion(
        confusion_matrix(truth[known], predicted[known], range(1, 6)), rows
    )
    t = torch.tensor(np.where(known, truth - 1, -1).ravel())
    p = torch.tensor(np.where(known, predicted - 1, 0).ravel())
    settings: Any = {"num_classes": 5, "ignore_index": -1}
    assert np.array_equal(accuracy.matrix, scores.multiclass_confusion_matrix(p, t, **settings))
    assert accuracy.kappa == pytest.approx(
        float(scores.multiclass_cohen_kappa(p, t, **settings)), abs=1e-6
    )
    overall = scores.multiclass_accuracy(p, t, average="micro", **settings)
    assert accuracy.overall_accuracy == pytest.approx(float(overall), abs=1e-6)
    for name, score in (
        ("iou", scores.multiclass_jaccard_index),
        ("f1", scores.multiclass_f1_score),
        ("precision", scores.multiclass_precision),
        ("recall", scores.multiclass_recall),
    ):
        expected = score(p, t, average="none", **settings).numpy()
        assert [getattr(one, name) for one in accuracy.classes] == pytest.approx(
            expected.tolist(), abs=1e-6
        )


@given(rasters, rasters, st.integers(0, 60))
def test_blocks_add_up_to_the_whole(
    truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8], cut: int
) -> None:
    parts = [
        confusion_matrix(truth[part], predicted[part], VALUES)
        for part in (slice(cut), slice(cut, None))
    ]
    assert np.array_equal(sum(parts), confusion_matrix(truth, predicted, VALUES))


def test_a_map_compared_with_itself_is_right_everywhere() -> None:
    raster = np.repeat(np.array([VALUES]), 3, axis=0)
    accuracy = Accuracy.from_confusion(confusion_matrix(raster, raster, VALUES), ROWS)
    assert accuracy.overall_accuracy == accuracy.kappa == accuracy.mean_iou == 1


def test_foreign_values_may_be_zero_negative_or_large() -> None:
    truth, predicted = np.array([-9999, 0, 0, 70_000]), np.array([0, 0, 70_000, 70_000])
    assert confusion_matrix(truth, predicted, (0, 70_000)).tolist() == [[1, 1], [0, 1]]


def test_a_class_that_neither_raster_has_lowers_no_mean() -> None:
    truth, predicted = np.array([3, 3, 1, 1]), np.array([3, 3, 1, 3])
    accuracy = Accuracy.from_confusion(confusion_matrix(truth, predicted, VALUES), ROWS)
    assert accuracy.mean_iou == pytest.approx((2 / 3 + 1 / 2) / 2)
    absent = accuracy.classes[2]
    assert all(isnan(score) for score in (absent.iou, absent.f1, absent.precision, absent.recall))
    assert absent.support == 0


def test_the_dictionary_is_strict_json() -> None:
    truth = np.array([3, 3, 1, 1])
    accuracy = Accuracy.from_confusion(confusion_matrix(truth, truth, VALUES), ROWS)
    read = json.loads(json.dumps(accuracy.to_dict(), allow_nan=False))
    scores = dict.fromkeys(("iou", "f1", "precision", "recall"), 1.0)
    assert read["classes"][0] == {
        "value": 3,
        "name": "class 3",
        "support": 2,
        "colour": "#000000",
        **scores,
    }
    assert read["classes"][3]["iou"] is None
    assert read["matrix"][0] == [2, 0, 0, 0]
    assert set(read) == {"overall_accuracy", "kappa", "mean_iou", "classes", "matrix"}


def test_a_matrix_of_another_legend_is_refused() -> None:
    with pytest.raises(ValueError, match="4 classes"):
        Accuracy.from_confusion(np.zeros((3, 3), np.int64), ROWS)
