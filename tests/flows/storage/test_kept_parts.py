"""Parts that outlive a kill, and go when the product is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.storage.kept_parts import keep_parts, make_missing, part_path
from tests.killed import Killed
from tiling.errors import InputError
from tiling.grid.window import Window


def test_parts_stay_where_a_run_is_killed_and_go_when_one_ends_well(tmp_path: Path) -> None:
    place = tmp_path / ".parts"

    def die(folder: Path) -> None:
        (folder / "part.npy").write_text("done")
        (folder / "tmpab12").write_text("half")
        raise Killed

    with pytest.raises(Killed), keep_parts(place, tmp_path / "c.tif") as folder:
        die(folder)
    with keep_parts(place, tmp_path / "c.tif") as folder:
        assert {path.name for path in folder.iterdir()} == {"part.npy", ".lock"}
    assert not place.exists()


def test_what_fails_before_its_first_part_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Killed), keep_parts(tmp_path / ".parts", tmp_path / "c.tif"):
        raise Killed
    assert not (tmp_path / ".parts").exists()


def test_a_second_process_is_told_that_the_product_is_in_the_making(tmp_path: Path) -> None:
    place, product = tmp_path / ".parts", tmp_path / "c.tif"
    with (
        keep_parts(place, product),
        pytest.raises(InputError, match=r"c\.tif is in use by process"),
        keep_parts(place, product),
    ):
        pass


def test_only_what_is_not_there_is_made_and_all_come_in_their_order(tmp_path: Path) -> None:
    parts = [(number, tmp_path / str(number)) for number in range(5)]
    for number in (1, 3):
        parts[number][1].write_text("before")
    made = []

    def make(part: tuple[int, Path]) -> None:
        made.append(part[0])
        part[1].write_text("now")

    files: Iterator[Path] = make_missing(make, parts, map)
    assert [file.read_text() for file in files] == ["now", "before", "now", "before", "now"]
    assert made == [0, 2, 4]


def test_a_part_is_named_by_its_key_and_its_window(tmp_path: Path) -> None:
    names = {
        part_path(tmp_path, key, window)
        for key in ("one", "other")
        for window in (Window(0, 0, 8, 8), Window(0, 0, 8, 9), Window(0, 8, 8, 8))
    }
    assert len(names) == 6
