"""Sums of whole numbers are exact where float64 is not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiling.regions.exact_sums import find_starts, sum_exactly, sum_runs

numbers = st.integers(-(2**48) + 1, 2**48 - 1)


@given(st.lists(st.tuples(st.integers(0, 3), numbers), max_size=80))
def test_sums_are_those_of_pythons_whole_numbers(rows: list[tuple[int, int]]) -> None:
    groups, values = (np.array([row[at] for row in rows], np.int64) for at in (0, 1))
    expected = [sum(value for group, value in rows if group == one) for one in range(4)]
    assert sum_exactly(groups, values, 4).tolist() == expected


def test_many_large_numbers_add_up_where_float64_ends() -> None:
    values = np.full(10**5, 2**47 + 1)
    groups = np.arange(values.size) % 2
    assert sum_exactly(groups, values, 2).tolist() == [5 * 10**4 * (2**47 + 1)] * 2
    in_floats = np.bincount(groups, values, 2).astype(np.int64)
    assert in_floats[0] != 5 * 10**4 * (2**47 + 1)


def test_runs_end_with_their_rows() -> None:
    rank = np.array([[1, 1, 2], [2, 2, 2]])
    start = find_starts(rank)
    assert start.tolist() == [0, 2, 3]
    assert sum_runs(start, np.array([[1, 2, 3], [4, 5, 200]], np.uint8)).tolist() == [3, 3, 209]
    assert sum_runs(np.zeros(0, np.intp), np.zeros((0, 3), int)).tolist() == []
