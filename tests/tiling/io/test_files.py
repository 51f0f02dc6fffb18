"""A file is there whole or not at all, and a full disk has a name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tiling.errors import InputError
from tiling.io.files import on_disk, own_scratch, write_bytes


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"first")
    write_bytes(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "a", b"first")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"^the disk of .* is full; make room"):
        write_bytes(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_other_failures_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no disk's fault"), on_disk(tmp_path):
        raise ValueError("no disk's fault")
    with pytest.raises(InputError, match="a person's"), on_disk(tmp_path):
        raise InputError("a person's")


def test_the_scratch_folder_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDWEAVE_SCRATCH", str(tmp_path))
    place = tmp_path / f"landweave-{os.getuid()}"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    assert own_scratch() == place
    assert place.stat().st_mode & 0o777 == 0o700
    place.rmdir()
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match="somebody else's; name a folder of your own in LANDWEAVE_SCRATCH"
    ):
        own_scratch()
