"""Boundary F1: brute force, drawn boundaries whose answer is known, and cores that add up to the
whole."""

from __future__ import annotations

from math import isnan

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.accuracy.boundary_f1 import (
    SLACK,
    BoundaryAccuracy,
    Spacing,
    boundary,
    count_boundaries,
    reach,
)

VALUES = (1, 2, 5)
Rasters = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.bool_], Spacing]


def evenly(shape: tuple[int, int], down: float = 10, across: float = 10) -> Spacing:
    return Spacing(np.full(shape, down), np.full(shape, across))


def patches(seed: int, height: int = 23, width: int = 31) -> Rasters:
    """Two patchy rasters that differ here and there, with holes, on pixels that change their size
    from row to row."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.choice(VALUES, (8, 11)), np.ones((3, 3), int))[:height, :width].astype(
        np.uint8
    )
    moved = np.roll(truth, rng.integers(-2, 3, 2), (0, 1))
    predicted = np.where(
        rng.random(truth.shape) < 0.1, rng.choice(VALUES, truth.shape), moved
    ).astype(np.uint8)
    counts = rng.random(truth.shape) < 0.95
    down = np.broadcast_to(np.linspace(8, 12, height)[:, None], truth.shape)
    across = np.broadcast_to(np.linspace(3, 20, height)[:, None], truth.shape)
    return truth, predicted, counts, Spacing(down, across)


def brute_force(rasters: Rasters, tolerance: float) -> list[list[int]]:
    """Every boundary pixel of a class against every one of the same class in the other raster."""
    truth, predicted, counts, spacing = rasters
    height, width = truth.shape

    def of_class(labels: npt.NDArray[np.uint8], value: int) -> list[tuple[int, int]]:
        found = []
        for row, col in zip(*np.nonzero((labels == value) & counts), strict=True):
            for r, c in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                if 0 <= r < height and 0 <= c < width and counts[r, c] and labels[r, c] != value:
                    found.append((row, col))
                    break
        return found

    def near(points: list[tuple[int, int]], others: list[tuple[int, int]]) -> int:
        return sum(
            any(
                np.hypot((row - r) * spacing.down[row, col], (col - c) * spacing.across[row, col])
                <= tolerance * SLACK
                for r, c in others
            )
            for row, col in points
        )

    rows = []
    for value in VALUES:
        true, said = of_class(truth, value), of_class(predicted, value)
        rows.append([len(true), near(true, said), len(said), near(said, true)])
    return rows


@pytest.mark.parametrize("tolerance", [5, 10, 26, 61])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_brute_force(seed: int, tolerance: float) -> None:
    rasters = patches(seed)
    whole = slice(None), slice(None)
    truth, predicted, counts, spacing = rasters
    found = count_boundaries(truth, predicted, counts, whole, spacing, VALUES, tolerance)
    assert found.tolist() == brute_force(rasters, tolerance)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.floats(1, 70))
def test_cores_add_up_to_the_whole(seed: int, size: int, tolerance: float) -> None:
    """Each core sees no more around it than `reach` says, and other values than the rest."""
    truth, predicted, counts, spacing = patches(seed)
    height, width = truth.shape
    total = np.zeros((len(VALUES), 4), np.int64)
    for row in range(0, height, size):
        for col in range(0, width, size):
            core = slice(row, min(row + size, height)), slice(col, min(col + size, width))
            rows, cols = reach(Spacing(*(metres[core] for metres in spacing)), tolerance)
            top, left = max(0, row - rows - 1), max(0, col - cols - 1)
            window = slice(top, core[0].stop + rows + 1), slice(left, core[1].stop + cols + 1)
            inside = slice(row - top, core[0].stop - top), slice(col - left, core[1].stop - left)
            here = np.unique(
                np.concatenate([truth[core].ravel(), predicted[core].ravel()])
            ).tolist()
            part = count_boundaries(
                truth[window], predicted[window], counts[window], inside,
                Spacing(*(metres[window] for metres in spacing)), here, tolerance,
            )  # fmt: skip
            total[np.searchsorted(VALUES, here)] += part
    whole = count_boundaries(
        truth, predicted, counts, (slice(None), slice(None)), spacing, VALUES, tolerance
    )
    assert np.array_equal(total, whole)


def scores(
    truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8], tolerance: float
) -> BoundaryAccuracy:
    whole, counts = (slice(None), slice(None)), truth > 0
    values = [int(v) for v in np.unique([truth, predicted]) if v]
    found = count_boundaries(
        truth, predicted, counts, whole, evenly(truth.shape), values, tolerance
    )
    return BoundaryAccuracy.from_counts(
        found, [(value, str(value), "") for value in values], tolerance
    )


def halves(at: int) -> npt.NDArray[np.uint8]:
    """Class 1 left of column `at`, class 2 from there on."""
    return np.where(np.arange(20) < at, 1, 2)[None].repeat(12, axis=0).astype(np.uint8)


@pytest.mark.parametrize(("tolerance", "expected"), [(10, 0), (19.8, 0), (20, 1), (35, 1)])
def test_a_boundary_two_pixels_off_is_found_within_two_pixels(
    tolerance: float, expected: float
) -> None:
    found = scores(halves(8), halves(10), tolerance)
    assert found.mean_f1 == expected
    assert [one.map_pixels for one in found.classes] == [12, 12]


def test_a_map_compared_with_itself_is_right_at_every_tolerance() -> None:
    truth = patches(0)[0]
    assert scores(truth, truth, 0.1).mean_f1 == 1


def test_a_class_that_only_the_map_has_scores_nothing() -> None:
    predicted = halves(8)
    predicted[3:6, 12:15] = 7
    found = scores(halves(8), predicted, 10)
    assert found.classes[2].f1 == found.classes[2].precision == 0
    assert isnan(found.classes[2].recall)
    assert found.mean_f1 == pytest.approx((1 + found.classes[1].f1) / 3)
    assert found.classes[1].precision < 1  # around the hole


def test_nobody_knows_what_lies_beside_no_data() -> None:
    """The edge of the raster and of its holes are no boundaries."""
    labels = np.ones((9, 9), np.uint8)
    labels[:, 5:] = 2
    counts = np.ones((9, 9), bool)
    counts[:, 4] = False
    assert not boundary(labels, counts).any()
    assert np.array_equal(np.flatnonzero(boundary(labels, np.ones((9, 9), bool)).any(0)), [4, 5])


def test_where_nothing_has_a_boundary_there_is_no_score() -> None:
    assert isnan(scores(np.ones((5, 5), np.uint8), np.ones((5, 5), np.uint8), 10).mean_f1)
