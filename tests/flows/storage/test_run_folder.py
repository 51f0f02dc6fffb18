from pathlib import Path
from typing import Any

import pytest

from flows.storage.keys import content_key
from flows.storage.remote import Remote
from flows.storage.run_folder import PartLocation, RunFolder, open_run
from tiling.errors import InputError
from tiling.io.files import write_text


def test_a_key_follows_content_and_not_order() -> None:
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 1.5})
    assert content_key({"a": [1, 2]}) != content_key({"a": [2, 1]})


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run"),
        pytest.raises(InputError, match="in use by process"),
        open_run(tmp_path / "run"),
    ):
        pass
    with open_run(tmp_path / "run"):
        pass


def test_a_run_that_did_nothing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError), open_run(tmp_path / "deep" / "run"):
        raise InputError("the scene does not exist")
    assert not (tmp_path / "deep" / "run").exists()


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with open_run(tmp_path, fresh=True):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_leftovers_of_a_crash_are_cleared(tmp_path: Path) -> None:
    with open_run(tmp_path) as folder:
        (folder.parts / ".r0000c0000.tif.123.tmp").touch()
        (folder.parts / "r0000c0000-abc.tif").touch()
        (tmp_path / ".work-x").mkdir()
        (tmp_path / ".work-x" / "mosaic.vrt").touch()
    with open_run(tmp_path) as folder:
        assert [path.name for path in folder.parts.iterdir()] == ["r0000c0000-abc.tif"]
        assert not (tmp_path / ".work-x").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"cannot write to .*file/run: Not a directory"),
        open_run(tmp_path / "file" / "run"),
    ):
        pass


def test_what_was_remembered_is_known_again(tmp_path: Path) -> None:
    key = content_key({"a": 1})
    with open_run(tmp_path) as folder:
        assert folder.load_cached("fit", key) is None
        folder.save_cached("fit", key, {"threshold": 0.25})
    with open_run(tmp_path) as folder:
        assert folder.load_cached("fit", key) == {"threshold": 0.25}
    with open_run(tmp_path, fresh=True) as folder:
        assert folder.load_cached("fit", key) is None


def test_a_text_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\ud800")
    assert (tmp_path / "a.txt").read_text() == "one"


def test_a_link_among_the_leftovers_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.tif").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".work-1").symlink_to(tmp_path / "mine")
    with open_run(tmp_path / "run"):
        pass
    assert (tmp_path / "mine" / "a.tif").exists()


class Lost:
    """A claim that another run has taken over."""

    def check(self) -> None:
        raise RuntimeError("lost")


def test_whoever_lost_the_claim_neither_begins_a_stage_nor_publishes(tmp_path: Path) -> None:
    lost: Any = Lost()
    folder = RunFolder(tmp_path, remote=Remote("s3://bucket/run"), claim=lost)
    with pytest.raises(RuntimeError, match="lost"), folder.stage("segment"):
        raise AssertionError("it began")
    with pytest.raises(RuntimeError, match="lost"):
        folder.record({})


class Store:
    """What is done to a store, in its order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.names = '["old.tif"]'
        monkeypatch.setattr(Remote, "read_bytes", lambda place: self.names.encode())
        monkeypatch.setattr(
            Remote,
            "write_bytes",
            lambda place, content: self.did.append(f"write {place.name} {content.decode()}"),
        )
        monkeypatch.setattr(
            Remote, "upload", lambda place, file: self.did.append(f"upload {place.name}")
        )
        monkeypatch.setattr(
            Remote,
            "remove",
            lambda place, names: self.did.extend(f"remove {name}" for name in sorted(names)),
        )


def test_a_part_is_on_the_store_before_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(monkeypatch)
    monkeypatch.setattr(
        "flows.storage.run_folder.write_bytes",
        lambda path, content: store.did.append(f"here {path.name}"),
    )
    PartLocation(tmp_path / "a.tif", Remote("s3://bucket/run/parts/a.tif")).write(b"")
    assert store.did == ["write a.tif ", "here a.tif"]


def test_products_are_listed_before_they_come_and_the_record_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(monkeypatch)
    (tmp_path / "classes.tif").touch()
    RunFolder(tmp_path, remote=Remote("s3://bucket/run")).record({})
    assert store.did == [
        "remove run.json",
        'write .products.json ["classes.tif", "old.tif", '
        '"run.json"]',  # whoever is killed now has listed both
        "upload classes.tif",
        "remove old.tif",
        'write .products.json ["classes.tif", "run.json"]',
        "upload run.json",
    ]
