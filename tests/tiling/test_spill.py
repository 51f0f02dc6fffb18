"""Facts about rows on disk: every bucket holds its own, whoever wrote them and in however many files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiling.spill import bucket_of, fetch, read_whole, slices, spill, write_whole


@pytest.mark.parametrize("n", [1, 2, 7])
def test_buckets_partition_the_rows(tmp_path: Path, n: int) -> None:
    keys = np.random.default_rng(0).integers(0, 2**40, 500)
    files = [
        spill(tmp_path / f"{i}.npy", np.stack([part, part + 1], axis=1), bucket_of(part, n), n)
        for i, part in enumerate(np.split(keys, [0, 3, 200]))
    ]
    found = [fetch(slices(files, bucket)) for bucket in range(n)]
    for bucket, rows in enumerate(found):
        assert (bucket_of(rows[:, 0], n) == bucket).all()
    everything = np.concatenate(found)
    np.testing.assert_array_equal(np.sort(everything[:, 0]), np.sort(keys))
    np.testing.assert_array_equal(everything[:, 1], everything[:, 0] + 1)


def test_a_bucket_without_rows_has_no_slices(tmp_path: Path) -> None:
    file = spill(tmp_path / "a.npy", np.arange(3), np.array([2, 0, 2]), 4)
    assert [len(slices([file], bucket)) for bucket in range(4)] == [1, 0, 1, 0]
    assert fetch(slices([file], 2)).tolist() == [0, 2]


def test_ids_spread_evenly_even_where_they_are_neighbours_or_in_one_column() -> None:
    for keys in (np.arange(100_000), np.arange(100_000) * 65_536):
        share = np.bincount(bucket_of(keys, 16), minlength=16) / keys.size
        assert abs(share - 1 / 16).max() < 0.005


def test_arrays_come_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    path, arrays = tmp_path / "a.npy", [np.arange(3), np.eye(2), np.empty(0, np.uint64)]
    write_whole(path, np.zeros(99))
    write_whole(path, *arrays)
    for found, expected in zip(read_whole(path, 3), arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert list(tmp_path.iterdir()) == [path]
