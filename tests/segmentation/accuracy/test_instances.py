"""Scores of objects are those of COCO's own program and of the papers, whatever the blocks."""

from __future__ import annotations

import contextlib
import io
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchmetrics.detection import PanopticQuality

from segmentation.accuracy.instances import ObjectAccuracy, ObjectCounts, ObjectScores
from tests.chance import SEED

Ids = npt.NDArray[np.int64]


def discs(rng: np.random.Generator, count: int, length: int = 96) -> list[Ids]:
    """Two rasters of discs, the second ones a little elsewhere, some lost and some more."""
    rows, columns = np.mgrid[:length, :length]
    rasters = [np.zeros((length, length), np.int64) for _ in range(2)]
    for number in range(1, count + 1):
        row, column, radius = rng.uniform(0, length), rng.uniform(0, length), rng.uniform(2, 12)
        for raster in rasters:
            if rng.random() < 0.85:
                inside = np.hypot(rows - row, columns - column) < radius
                raster[inside] = number * 7
            row, column, radius = row + rng.normal(), column + rng.normal(), radius + rng.normal()
    return rasters


def count(truth: Ids, found: Ids, known: npt.NDArray[np.bool_] | None = None) -> ObjectCounts:
    return ObjectCounts.of(truth, found, np.ones(truth.shape, bool) if known is None else known)


def coco(
    truth: Ids, found: Ids, scores: dict[int, float], kinds: list[dict[int, int]]
) -> dict[int, tuple[float, float, float, float]]:
    """AP, AP50, AP75 and recall of each class by pycocotools."""
    from pycocotools import mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(raster: Ids, of: dict[int, int]) -> list[dict[str, Any]]:
        told = []
        for one in np.unique(raster[raster > 0]).tolist():
            inside = np.asfortranarray(raster == one)
            told.append(
                {
                    "id": one,
                    "image_id": 1,
                    "category_id": of[one],
                    "segmentation": mask.encode(inside.astype(np.uint8)),
                    "area": int(inside.sum()),
                    "iscrowd": 0,
                    "score": scores.get(one, 0.0),
                }
            )
        return told

    with contextlib.redirect_stdout(io.StringIO()):
        sides = COCO(), COCO()
        classes = sorted({*kinds[0].values(), *kinds[1].values()})
        for side, raster, of in zip(sides, (truth, found), kinds, strict=True):
            side.dataset = {
                "images": [{"id": 1, "height": truth.shape[0], "width": truth.shape[1]}],
                "categories": [{"id": value} for value in classes],
                "annotations": rows(raster, of),
            }
            side.createIndex()
        judged = COCOeval(*sides, "segm")
        judged.params.maxDets = [10**6]
        judged.evaluate()
        judged.accumulate()
    precision, recall = judged.eval["precision"], judged.eval["recall"]
    return {
        value: (
            float(precision[:, :, k, 0, 0].mean()),
            float(precision[0, :, k, 0, 0].mean()),
            float(precision[5, :, k, 0, 0].mean()),
            float(recall[:, k, 0, 0].mean()),
        )
        for k, value in enumerate(classes)
    }


def figures(scores: ObjectScores) -> tuple[float, float, float, float]:
    return scores.ap, scores.ap50, scores.ap75, scores.recall


@pytest.mark.parametrize("number", range(6))
def test_average_precision_and_recall_are_cocos(number: int) -> None:
    rng = np.random.default_rng([SEED, number])
    truth, found = discs(rng, 30)
    ids = sorted({*np.unique(truth).tolist(), *np.unique(found).tolist()} - {0})
    # few scores, so that many are alike
    scores = {one: float(rng.integers(0, 6)) / 5 for one in ids}
    kinds = [{one: int(rng.integers(1, 3)) for one in ids} for _ in range(2)]
    kinds[1] = {
        one: value if rng.random() < 0.2 else kinds[0][one] for one, value in kinds[1].items()
    }
    named = [{one: str(value) for one, value in of.items()} for of in kinds]
    judged = ObjectAccuracy.from_counts(count(truth, found), scores, *named)
    expected = coco(truth, found, scores, kinds)
    assert {one.name for one in judged.classes} <= {str(value) for value in expected}
    for one in judged.classes:
        assert figures(one) == pytest.approx(expected[int(one.name)], abs=1e-12), one.name


def test_two_objects_of_equal_overlap_are_matched_as_coco_matches_them() -> None:
    """Each covers half of the reference's only object: one finds it, the surer one."""
    truth = np.repeat([[3, 3, 0, 0]], 2, axis=0)
    found = np.array([[1, 1, 0, 0], [2, 2, 0, 0]])
    for scores in ({1: 0.9, 2: 0.1}, {1: 0.1, 2: 0.9}, {}):
        judged = ObjectAccuracy.from_counts(count(truth, found), scores).mean
        told = coco(truth, found, scores, [{3: 1}, {1: 1, 2: 1}])[1]
        assert figures(judged) == pytest.approx(told, abs=1e-12)
        assert judged.ap50 == 1


def test_panoptic_quality_is_that_of_the_paper() -> None:
    """Two found (IoU 1 and 3/5), one missed, one invented: PQ = (1 + .6) / (2 + ½ + ½)."""
    truth = np.array([[1, 1, 0, 2, 2, 2, 2, 0, 3, 0]])
    found = np.array([[5, 5, 0, 0, 6, 6, 6, 6, 0, 7]])
    judged = ObjectAccuracy.from_counts(count(truth, found)).mean
    assert (judged.sq, judged.rq, judged.pq) == pytest.approx((0.8, 2 / 3, 1.6 / 3))
    assert (judged.truth, judged.found) == (3, 3)
    # of 2 a quarter lies outside 6, of 6 a quarter outside 2; 3 is missed and not cut
    assert (judged.over, judged.under) == pytest.approx((0.125, 0.125))


def test_panoptic_quality_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(SEED)
    truth, found = discs(rng, 30)
    judged = ObjectAccuracy.from_counts(count(truth, found)).mean
    metric = PanopticQuality(things={1}, stuffs={0}, return_per_class=True, return_sq_and_rq=True)
    told = metric(
        *(torch.from_numpy(np.stack([raster > 0, raster], -1)[None]) for raster in (found, truth))
    )
    assert (judged.pq, judged.sq, judged.rq) == pytest.approx(told[0].tolist(), abs=1e-6)


def test_what_the_reference_does_not_know_is_neither_right_nor_wrong() -> None:
    truth = np.array([[1, 1, 0, 0, 0, 0]])
    found = np.array([[5, 5, 5, 6, 6, 6]])
    known = np.array([[1, 1, 0, 1, 0, 0]], bool)
    judged = ObjectAccuracy.from_counts(count(truth, found, known)).mean
    # 5 is seen where it is known alone; 6 lies mostly elsewhere, but not for COCO
    assert (judged.pq, judged.ap50, judged.found) == (1, 1, 2)


def test_one_half_is_not_found_for_panoptic_quality_but_is_for_average_precision() -> None:
    judged = ObjectAccuracy.from_counts(count(np.array([[1, 1]]), np.array([[1, 0]]))).mean
    assert (judged.ap50, judged.rq, judged.ap75) == (1, 0, 0)
    assert judged.pq == 0


def test_without_objects_there_is_no_figure() -> None:
    nothing = np.zeros((2, 2), np.int64)
    judged = ObjectAccuracy.from_counts(count(nothing, nothing)).mean
    assert isnan(judged.ap)
    assert isnan(judged.pq)
    missed = ObjectAccuracy.from_counts(count(np.ones((2, 2), np.int64), nothing)).mean
    assert (missed.ap, missed.recall, missed.pq, missed.truth) == (0, 0, 0, 1)
    invented = ObjectAccuracy.from_counts(count(nothing, np.ones((2, 2), np.int64))).mean
    assert isnan(invented.ap)
    assert invented.pq == 0


@pytest.mark.parametrize("side", [7, 32])
def test_counts_of_blocks_add_up_in_any_order(side: int) -> None:
    rng = np.random.default_rng([SEED, side])
    truth, found = discs(rng, 20)
    known = rng.random(truth.shape) < 0.9
    whole = count(truth, found, known)
    corners = [(row, column) for row in range(0, 96, side) for column in range(0, 96, side)]
    total = ObjectCounts.none()
    for place in rng.permutation(len(corners)).tolist():
        row, column = corners[place]
        here = slice(row, row + side), slice(column, column + side)
        total = total + count(truth[here], found[here], known[here])
    for one, other in zip(
        (whole.truth, whole.found, whole.shared),
        (total.truth, total.found, total.shared),
        strict=True,
    ):
        assert np.array_equal(one, other)
