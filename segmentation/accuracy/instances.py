"""How well objects are found: average precision, panoptic quality, and how much they are cut or
grown together.

Objects of a map and of its reference are matched by the pixels that they share. Blocks count those,
in whole numbers that add up to the counts of the whole; what follows needs the sums alone.

- Average precision and recall: as COCO counts them (Lin et al. 2014, arXiv:1405.0312), over IoU
  thresholds of .50 to .95, without its limit of a hundred objects.
- Panoptic quality: Kirillov et al. 2019, arXiv:1801.00868. Pixels that the reference does not know
  are left out of every area, and an object that mostly lies there is not counted as a wrong one.
- Over- and undersegmentation: Clinton et al. 2010, doi:10.14358/PERS.76.3.289, of each reference
  object and the one that shares most of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.confusion import plain_json

Integers = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

THRESHOLDS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))
"""Least IoU at which an object counts as found: COCO's."""

_RECALLS = np.linspace(0, 1, 101)
"""Where a precision curve is read."""


@dataclass(frozen=True, eq=False)
class ObjectCounts:
    """What some blocks of a map of objects and its reference hold; those of blocks add up.

    Each is a table of whole numbers: of an object its id and its pixels, of two that meet both ids
    and the pixels they share. 0 is no object on either side.
    """

    truth: Longs
    """`(n, 2)`: id and pixels of each reference object, by id."""
    found: Longs
    """`(m, 3)`: id of each object of the map, its pixels where the reference is known, and those
    where it is not."""
    shared: Longs
    """`(p, 3)`: ids of a reference object and one of the map, and the pixels of both."""
    edges: Longs
    """`(4,)`, as `count_boundaries` counts them, of all objects alike."""

    @classmethod
    def none(cls) -> Self:
        truth, found, shared = (np.zeros((0, columns), np.int64) for columns in (2, 3, 3))
        return cls(truth, found, shared, np.zeros(4, np.int64))

    @classmethod
    def of(cls, truth: Integers, found: Integers, known: Bools) -> Self:
        """Counts of one block: ids `(y, x)` on both sides, and where the reference knows whether
        there is an object. Boundaries are counted elsewhere."""
        ids = truth.astype(np.int64), found.astype(np.int64)
        of_truth = _totals(ids[0][known & (ids[0] != 0)])
        there = ids[1] != 0
        sides = np.stack([known & there, ~known & there], axis=-1)[there].astype(np.int64)
        both = known & (ids[0] != 0) & there
        return cls(
            of_truth,
            add_rows(np.column_stack([ids[1][there], sides]), 1),
            add_rows(
                np.column_stack([ids[0][both], ids[1][both], np.ones(int(both.sum()), np.int64)]), 2
            ),
            np.zeros(4, np.int64),
        )

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        return ObjectCounts(
            add_rows(np.concatenate([self.truth, other.truth]), 1),
            add_rows(np.concatenate([self.found, other.found]), 1),
            add_rows(np.concatenate([self.shared, other.shared]), 2),
            self.edges + other.edges,
        )


def _totals(ids: Longs) -> Longs:
    return np.column_stack(np.unique(ids, return_counts=True)).astype(np.int64).reshape(-1, 2)


def add_rows(rows: Longs, keys: int) -> Longs:
    """Rows whose first `keys` columns are alike become one, in ascending order, and their other
    columns are added up."""
    if not len(rows):
        return rows
    order = np.lexsort(rows[:, :keys].T[::-1])
    rows = rows[order]
    first = np.append(True, (np.diff(rows[:, :keys], axis=0) != 0).any(1))
    starts = np.flatnonzero(first)
    return np.column_stack([rows[starts, :keys], np.add.reduceat(rows[:, keys:], starts)])


@dataclass(frozen=True)
class ObjectScores:
    """How the objects of a class were found; NaN where a quotient has nothing below its line."""

    name: str
    ap: float
    """Mean of the average precision over IoU .50 to .95."""
    ap50: float
    ap75: float
    recall: float
    """Mean over IoU .50 to .95 of how many of the reference's objects were found."""
    pq: float
    """Panoptic quality: `sq` × `rq`."""
    sq: float
    """Segmentation quality: mean IoU of what was found at more than one half."""
    rq: float
    """Recognition quality: F1 of finding at more than one half."""
    over: float
    """Oversegmentation: mean share of a reference object outside the one that shares most of it."""
    under: float
    """Undersegmentation: mean share of that one outside the reference object."""
    truth: int
    """Objects of the reference."""
    found: int
    """Objects of the map."""


@dataclass(frozen=True)
class ObjectAccuracy:
    """How the objects of a map were found: of each class, and in the mean over the classes that the
    reference has."""

    mean: ObjectScores
    classes: tuple[ObjectScores, ...]
    boundary_f1: float
    """Of the outlines of all objects alike, within the tolerance; NaN where none was asked for."""
    tolerance_m: float
    compared: str = ""
    """What was laid over what, and how."""
    notes: tuple[str, ...] = ()
    """What a reader must know to read the figures."""

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON: null where undefined."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: plain_json(value) for name, value in facts.items() if value not in ("", ())}

    @classmethod
    def from_counts(
        cls,
        counts: ObjectCounts,
        scores: Mapping[int, float] | None = None,
        truth_classes: Mapping[int, str] | None = None,
        found_classes: Mapping[int, str] | None = None,
        tolerance: float = 0.0,
    ) -> Self:
        """What counts of the whole say.

        `scores` are those of the map's objects by id, the surest largest; of equals, and without
        any, the smallest id comes first. Objects are matched within their class, where both sides
        have classes.
        """
        truth, found, pairs = _tables(counts, scores or {}, truth_classes, found_classes)
        names = np.unique(truth.kind) if truth.kind.size else np.unique(found.kind)
        each = tuple(_scores_of(str(name), truth, found, pairs) for name in names.tolist())
        true, true_near, said, said_near = counts.edges.tolist()
        total = true + said
        f1 = nan
        if total:
            recall, precision = (
                near / all_ if all_ else 0.0
                for near, all_ in ((true_near, true), (said_near, said))
            )
            f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return cls(_mean_of(each), each, f1, tolerance)


class _Side(NamedTuple):
    """Objects of one side, by id; of the map the surest first."""

    kind: npt.NDArray[np.object_]
    pixels: Longs
    beyond: Longs
    """Pixels where the reference is not known."""


class _Pairs(NamedTuple):
    """Places of two objects of one class that share pixels, and how much."""

    truth: Longs
    found: Longs
    shared: Longs
    iou: Floats


def _tables(
    counts: ObjectCounts,
    scores: Mapping[int, float],
    truth_classes: Mapping[int, str] | None,
    found_classes: Mapping[int, str] | None,
) -> tuple[_Side, _Side, _Pairs]:
    classed = truth_classes is not None and found_classes is not None
    ids = counts.found[:, 0]
    sure = np.array([-scores.get(one, 0.0) for one in ids.tolist()])
    order = np.argsort(sure, kind="stable")
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    found_rows = counts.found[order]
    kinds = [
        np.array(
            [(of or {}).get(one, "") if classed else "objects" for one in rows[:, 0].tolist()],
            object,
        )
        for of, rows in ((truth_classes, counts.truth), (found_classes, found_rows))
    ]
    truth = _Side(kinds[0], counts.truth[:, 1], np.zeros(len(counts.truth), np.int64))
    found = _Side(kinds[1], found_rows[:, 1], found_rows[:, 2])
    one = np.searchsorted(counts.truth[:, 0], counts.shared[:, 0])
    other = place[np.searchsorted(ids, counts.shared[:, 1])]
    alike = truth.kind[one] == found.kind[other]
    one, other, shared = one[alike], other[alike], counts.shared[alike, 2]
    iou = shared / (truth.pixels[one] + found.pixels[other] - shared)
    return truth, found, _Pairs(one, other, shared, iou)


def _scores_of(name: str, truth: _Side, found: _Side, pairs: _Pairs) -> ObjectScores:
    wanted, said = truth.kind == name, found.kind == name
    # what lies wholly where the reference is not known is neither right nor wrong
    said &= found.pixels > 0
    mine = wanted[pairs.truth]
    pairs = _Pairs(*(column[mine] for column in pairs))
    number, guesses = int(wanted.sum()), np.flatnonzero(said)
    curves = [_precision_recall(pairs, guesses, number, least) for least in THRESHOLDS]
    precisions = [precision for precision, _ in curves]
    sq, rq = _panoptic(truth, found, pairs, wanted, said)
    over, under = _segmentation_errors(truth, found, pairs, number)
    return ObjectScores(
        name=name,
        ap=float(np.mean(precisions)),
        ap50=precisions[0],
        ap75=precisions[5],
        recall=float(np.mean([recall for _, recall in curves])),
        pq=sq * rq if rq else rq,
        sq=sq,
        rq=rq,
        over=over,
        under=under,
        truth=number,
        found=guesses.size,
    )


def match(pairs_truth: Longs, pairs_found: Longs, iou: Floats, least: float) -> Longs:
    """`(k, 2)`: places of a reference object and the object of the map that finds it. From the
    surest on each takes the one of highest IoU, at least `least`, that none took before."""
    good = np.flatnonzero(iou >= least)
    # by sureness, then by IoU, and of equals the last one, as COCO's loop has it
    order = good[np.lexsort((-pairs_truth[good], -iou[good], pairs_found[good]))]
    rows = np.column_stack([pairs_truth[order], pairs_found[order]])
    alone = np.ones(len(rows), bool)
    for side in rows.T:
        _, which, many = np.unique(side, return_inverse=True, return_counts=True)
        alone &= many[which] == 1
    taken, kept = [set[int](), set[int]()], np.flatnonzero(alone).tolist()
    for row in np.flatnonzero(~alone).tolist():
        one, other = rows[row].tolist()
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            kept.append(row)
    return rows[np.sort(np.array(kept, np.int64))]


def _precision_recall(
    pairs: _Pairs, guesses: Longs, number: int, least: float
) -> tuple[float, float]:
    """Average precision and recall where an IoU of `least` is found; NaN without a reference."""
    if not number:
        return nan, nan
    matched = match(pairs.truth, pairs.found, pairs.iou, least)
    right = np.isin(guesses, matched[:, 1])
    hits = np.cumsum(right)
    precision = hits / np.arange(1, hits.size + 1)
    # what the curve reaches further on counts before it too
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = hits / number
    places = np.searchsorted(recall, _RECALLS, side="left")
    read = np.append(precision, 0.0)[places]
    return float(read.mean()), float(recall[-1]) if recall.size else 0.0


def _panoptic(
    truth: _Side, found: _Side, pairs: _Pairs, wanted: Bools, said: Bools
) -> tuple[float, float]:
    """Segmentation and recognition quality. More than half of a union belongs to one pair alone."""
    good = pairs.iou > 0.5
    hits = int(good.sum())
    hit = np.zeros(found.pixels.size, bool)
    hit[pairs.found[good]] = True
    unknown = 2 * found.beyond > found.pixels + found.beyond
    wrong = int((said & ~hit & ~unknown).sum())
    below = hits + (wrong + int(wanted.sum()) - hits) / 2
    return (float(pairs.iou[good].mean()) if hits else nan), (hits / below if below else nan)


def _segmentation_errors(
    truth: _Side, found: _Side, pairs: _Pairs, number: int
) -> tuple[float, float]:
    """Over- and undersegmentation; a reference object that nothing meets is not cut but missed."""
    if not number or not pairs.truth.size:
        return nan, nan
    order = np.lexsort((pairs.found, -pairs.shared, pairs.truth))
    best = order[np.append(True, np.diff(pairs.truth[order]) != 0)]
    shared = pairs.shared[best]
    over = 1 - shared / truth.pixels[pairs.truth[best]]
    under = 1 - shared / found.pixels[pairs.found[best]]
    return float(over.mean()), float(under.mean())


def _mean_of(each: tuple[ObjectScores, ...]) -> ObjectScores:
    """The mean over classes of every figure, and the sum of their objects."""
    figures = ("ap", "ap50", "ap75", "recall", "pq", "sq", "rq", "over", "under")
    means = {}
    for figure in figures:
        values = [value for one in each if (value := getattr(one, figure)) == value]
        means[figure] = sum(values) / len(values) if values else nan
    return ObjectScores(
        "all", **means, truth=sum(c.truth for c in each), found=sum(c.found for c in each)
    )
