"""How well a detector finds the objects of labels that it has not learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.instances import ObjectAccuracy, ObjectCounts
from segmentation.detection.find import SCORES, instances, look, normalise
from segmentation.detection.targets import ObjectSamples
from segmentation.models.card import Card

if TYPE_CHECKING:
    from torchvision.models.detection import MaskRCNN

_LEAST_SCORE = SCORES // 20
_MOST = 48
"""Chips that are judged, at most: evenly spread over all."""
_ENOUGH = 0.05
"""Share of a chip that has to belong to the part."""


class _Place(NamedTuple):
    """A chip of a piece."""

    piece: int
    rows: slice
    cols: slice


def judge(model: MaskRCNN, samples: ObjectSamples, card: Card, part: int) -> ObjectAccuracy | None:
    """How well objects are found in chips of a part, each by itself: what a chip cuts counts as it
    is on both sides. None where the part is empty."""
    places = list(_places(samples, card, part))
    if not places:
        return None
    chosen = np.unique(np.linspace(0, len(places) - 1, _MOST).round().astype(int))
    total, scores = ObjectCounts.none(), dict[int, float]()
    for place in (places[at] for at in chosen.tolist()):
        truth, found, known, sure = _look_at(model, samples, card, place, part)
        start = np.int64(len(scores))
        number = np.int64(total.truth[:, 0].max(initial=0))
        scores |= {int(start) + at: score for at, score in enumerate(sure, 1)}
        total += ObjectCounts.of(
            np.where(truth > 0, truth + number, 0), np.where(found > 0, found + start, 0), known
        )
    return ObjectAccuracy.from_counts(total, scores)


def _places(samples: ObjectSamples, card: Card, part: int) -> Iterator[_Place]:
    side = card.detector.tile + 2 * card.detector.margin
    for number, piece in enumerate(samples.samples.pieces):
        height, width = piece.shape
        for row in range(0, height, side):
            for col in range(0, width, side):
                rows, cols = slice(row, row + side), slice(col, col + side)
                if np.mean(piece.part[rows, cols] == part) >= _ENOUGH:
                    yield _Place(number, rows, cols)


def _look_at(
    model: MaskRCNN, samples: ObjectSamples, card: Card, place: _Place, part: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_], list[float]]:
    """Objects of the labels and those found `(y, x)`, where the labels are known, and the score of
    each that was found."""
    piece, at = samples.samples.pieces[place.piece], (place.rows, place.cols)
    ids = samples.ids[place.piece][at].astype(np.int64)
    known = (piece.part[at] == part) & (ids >= 0)
    pixels = normalise(samples.samples.chip(piece, *at), card)
    side = card.detector.tile + 2 * card.detector.margin
    chip = np.zeros((len(pixels), side, side), np.float32)
    chip[:, : ids.shape[0], : ids.shape[1]] = pixels
    found, scores = paint(model, chip)
    return np.where(known, ids, 0), found[: ids.shape[0], : ids.shape[1]], known, scores


def paint(
    model: MaskRCNN, chip: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], list[float]]:
    """`(y, x)` the objects of a chip, from the surest on; one of which half is taken is left
    out."""
    shape = chip.shape[1], chip.shape[2]
    painted, scores = np.zeros(shape, np.int64), list[float]()
    said = sorted(
        instances(look(model, chip), shape, _LEAST_SCORE),
        key=lambda one: (-one.score, one.row, one.col),
    )
    for one in said:
        height, width = one.pixels.shape
        under = painted[one.row : one.row + height, one.col : one.col + width]
        free = one.pixels & (under == 0)
        if 2 * free.sum() > one.pixels.sum():
            scores.append(one.score / SCORES)
            under[free] = len(scores)
    return painted, scores
