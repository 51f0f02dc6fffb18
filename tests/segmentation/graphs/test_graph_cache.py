"""Graphs on disk: what is found is what was kept, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.graphs import graph_cache
from segmentation.graphs.graph_cache import _pack, _unpack, keep_parts, load_parts, lone_maker

FACTS = {"bundle": "ab", "shape": [1, 3, 64, 64]}
PARTS = {"xml": b"<net/>\n", "bin": bytes(range(256))}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(graph_cache.SETTING, str(tmp_path / "graphs"))
    return tmp_path / "graphs"


def test_what_was_kept_is_found_for_the_same_facts_alone(folder: Path) -> None:
    assert load_parts(FACTS) is None
    keep_parts(FACTS, PARTS)
    assert load_parts({"shape": [1, 3, 64, 64], "bundle": "ab"}) == PARTS
    for other in ({**FACTS, "bundle": "ac"}, {**FACTS, "shape": [1, 3, 64, 65]}, {}):
        assert load_parts(other) is None
    assert [file.suffix for file in folder.iterdir()] == [".graph"]


@pytest.mark.slow
@settings(max_examples=50)
@given(st.dictionaries(st.text(), st.binary()), st.data())
def test_a_damaged_file_is_none(parts: dict[str, bytes], data: st.DataObject) -> None:
    packed = _pack(FACTS, parts)
    assert _unpack(packed, FACTS) == parts
    at = data.draw(st.integers(0, len(packed) - 1))
    changed = packed[at] ^ data.draw(st.integers(1, 255))
    assert _unpack(packed[:at] + bytes([changed]) + packed[at + 1 :], FACTS) is None
    assert _unpack(packed[:at], FACTS) is None


def test_a_file_of_other_facts_under_its_name_is_none(folder: Path) -> None:
    keep_parts(FACTS, PARTS)
    (file,) = folder.iterdir()
    file.write_bytes(_pack({**FACTS, "bundle": "ac"}, PARTS))
    assert load_parts(FACTS) is None
    file.write_bytes(b"")
    assert load_parts(FACTS) is None


def test_nothing_is_kept_where_nothing_shall_or_can_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.joinpath("file").touch()
    for said in (graph_cache.OFF, str(folder.parent / "file" / "graphs")):
        monkeypatch.setenv(graph_cache.SETTING, said)
        keep_parts(FACTS, PARTS)
        assert load_parts(FACTS) is None
        with lone_maker():
            pass
    assert not folder.exists()


def test_what_was_not_used_for_longest_makes_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = len(_pack({"number": 0}, PARTS))
    monkeypatch.setattr(graph_cache, "MOST_BYTES", 3 * each)
    for number in range(3):
        keep_parts({"number": number}, PARTS)
        file = graph_cache._file(folder, {"number": number})
        os.utime(file, (time.time() - 100 + number,) * 2)
    left = folder / ".new.left"
    left.touch()
    os.utime(left, (0, 0))
    assert load_parts({"number": 0}) == PARTS  # used last now
    keep_parts({"number": 3}, PARTS)
    assert [number for number in range(4) if load_parts({"number": number})] == [0, 2, 3]
    assert not left.exists()
    keep_parts({"number": 4}, {"xml": bytes(4 * each)})
    assert load_parts({"number": 4}) is None


def _hold(ready: Any, go: Any) -> None:
    with lone_maker():
        ready.set()
        go.wait(20)


def test_one_process_makes_while_others_wait_for_a_while(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(ready, go))
    process.start()
    assert ready.wait(20)
    monkeypatch.setattr(graph_cache, "PATIENCE", 0.2)
    began = time.monotonic()
    with lone_maker():
        assert time.monotonic() - began >= 0.2
    go.set()
    process.join()
    monkeypatch.setattr(graph_cache, "PATIENCE", 60)
    with lone_maker():
        assert time.monotonic() - began < 30
