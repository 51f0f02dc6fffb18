"""What several processes do not share out between them stays together."""

from __future__ import annotations

import re
from pathlib import Path

from tests.server import WORKER, free_port
from tests.sharing import TOGETHER, group_of

ROOT = Path(__file__).resolve().parents[1]


def test_a_group_names_files_that_are_there_each_once() -> None:
    files = [file for several in TOGETHER.values() for file in several]
    assert len(files) == len(set(files))
    assert all((ROOT / file).is_file() for file in files)


def test_whoever_asks_for_the_one_server_stands_in_its_group() -> None:
    takes, makes = (
        re.compile(r"[(\s]address: str"),
        re.compile(r'^def address\(|"address"', re.MULTILINE),
    )
    texts = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in (ROOT / "tests" / "flows").rglob("test_*.py")
    }
    tests = {
        file
        for file, text in texts.items()
        if any(map(takes.search, re.findall(r"^def test_.*?->", text, re.MULTILINE | re.DOTALL)))
        and not makes.search(text)
    }
    assert tests == {*TOGETHER["server"], *TOGETHER["second server"]}


def test_a_test_that_shares_nothing_is_its_own_group() -> None:
    one, other = (f"tests/test_odd_files.py::test_{name}[a@b]" for name in "ab")
    assert (group_of(one), group_of(other)) == (one, other)


def test_no_port_is_given_twice_and_each_process_has_its_own() -> None:
    ports = [free_port() for _ in range(3)]
    assert len(set(ports)) == 3
    assert {(port - 20_000) // 1_000 for port in ports} == {WORKER % 10}
