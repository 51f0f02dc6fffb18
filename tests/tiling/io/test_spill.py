"""Facts about rows on disk: every bucket holds its own, whoever wrote them and in however many
files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from tiling.io.spill import (
    bucket_of,
    bucket_starts,
    by_bucket,
    fetch,
    load_arrays,
    map_array,
    read_together,
    save_arrays,
    spill,
    write_together,
)


@pytest.mark.parametrize("capacity", [1, 2, 60, 1000])
def test_buckets_partition_the_rows(tmp_path: Path, capacity: int) -> None:
    keys = np.random.default_rng(0).integers(0, 2**40, 500)
    cuts = bucket_starts(np.sort(keys), np.ones(500, np.int64), capacity)
    files = [
        spill(tmp_path / f"{i}.npy", np.stack([part, part + 1], axis=1), bucket_of(part, cuts))
        for i, part in enumerate(np.split(keys, [0, 3, 200]))
    ]
    found = {bucket: fetch(parts) for bucket, parts in by_bucket(files).items()}
    for bucket, rows in found.items():
        assert (bucket_of(rows[:, 0], cuts) == bucket).all()
        assert len(rows) <= capacity
    everything = np.concatenate(list(found.values()))
    np.testing.assert_array_equal(np.sort(everything[:, 0]), np.sort(keys))
    np.testing.assert_array_equal(everything[:, 1], everything[:, 0] + 1)


def test_a_bucket_without_rows_has_no_slices(tmp_path: Path) -> None:
    parts = by_bucket([spill(tmp_path / "a.npy", np.arange(3), np.array([2, 0, 2]))])
    assert sorted(parts) == [0, 2]
    assert fetch(parts[2]).tolist() == [0, 2]
    assert not by_bucket([spill(tmp_path / "b.npy", np.arange(0), np.arange(0))])


def test_buckets_are_few_and_none_holds_more_than_its_capacity_and_its_heaviest_key() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        keys = np.unique(rng.integers(0, 10**6, 300))
        weights = rng.integers(0, 20, keys.size) ** 3
        held = bucket_of(keys, bucket_starts(keys, weights, 5000))
        assert (np.diff(held) >= 0).all()
        for bucket in np.unique(held):
            inside = weights[held == bucket]
            assert inside.sum() <= 5000 + inside.max()
        assert held[-1] <= weights.sum() // 5000


def test_arrays_come_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    path, arrays = tmp_path / "a.npy", [np.arange(3), np.eye(2), np.empty(0, np.uint64)]
    save_arrays(path, np.zeros(99))
    save_arrays(path, *arrays)
    for found, expected in zip(load_arrays(path, 3), arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert list(tmp_path.iterdir()) == [path]


def test_small_arrays_lie_together_and_come_back_one_by_one(tmp_path: Path) -> None:
    arrays = [
        np.arange(3, dtype=np.uint8),
        np.empty(0, np.int32),
        np.array([-(2**40)]),
        np.array([True, False]),
    ]
    write_together(tmp_path / "a.npy", arrays)
    found = read_together(tmp_path / "a.npy")
    assert [array.tolist() for array in found] == [[0, 1, 2], [], [-(2**40)], [1, 0]]
    assert len({id(array.base) for array in found}) == 1, "parts of one"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npy"]


def test_what_could_not_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    save_arrays(path, np.arange(3))
    with pytest.raises(AttributeError):
        save_arrays(path, np.zeros(9), np.array([lambda: 0], object))  # nobody can write that
    np.testing.assert_array_equal(load_arrays(path, 1)[0], np.arange(3))


def test_a_mapped_array_has_room_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file would end the process where its disk is full, without a word."""
    array = map_array(tmp_path / "whole.npy", np.int64, (3, 1 << 16))
    assert not array.any()
    assert (tmp_path / "whole.npy").stat().st_blocks * 512 >= array.nbytes

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        map_array(tmp_path / "full.npy", np.int64, (3, 4))
