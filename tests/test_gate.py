"""The judge is judged: a skip nobody listed fails a run that allows none, and a seed draws the same
again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TESTS = """
import pytest
from hypothesis import given, strategies as st

{skip}
def test_skipped():
    pytest.skip({reason!r})

@given(st.integers())
def test_chance(number):
    with open("drawn", "a") as file:
        print(number, file=file)
"""


def ended(
    folder: Path, reason: str, skip: str = "", seed: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """What pytest says of a test that is skipped and one that is not."""
    (folder / "test_a.py").write_text(TESTS.format(reason=reason, skip=skip))
    (folder / "drawn").unlink(missing_ok=True)
    told = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LANDWEAVE_", "PYTEST_"))
    }
    told |= {"PYTHONPATH": str(ROOT), **environment}
    if seed:
        told["LANDWEAVE_SEED"] = seed
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.gate",
        "-p",
        "no:cacheprovider",
        "test_a.py",
    ]
    return subprocess.run(
        command, cwd=folder, env=told, capture_output=True, text=True, timeout=280
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", 'pytest.skip("no such program", allow_module_level=True)'])
def test_a_skip_that_is_not_on_the_list_fails_a_run_that_allows_none(
    tmp_path: Path, how: str
) -> None:
    assert ended(tmp_path, "no such program", how).returncode in (0, 5)
    judged = ended(tmp_path, "no such program", how, LANDWEAVE_NO_SKIPS="1")
    assert judged.returncode == 5 if how else judged.returncode == 1
    assert "skipped, and not on the list" in judged.stdout
    assert "test_a.py" in judged.stdout.partition("not on the list")[2]
    assert "no such program" in judged.stdout.partition("not on the list")[2]


def test_a_skip_on_the_list_does_not(tmp_path: Path) -> None:
    judged = ended(tmp_path, "it tries other inputs each time: set a time", LANDWEAVE_NO_SKIPS="1")
    assert judged.returncode == 0, judged.stdout
    assert "not on the list" not in judged.stdout


@pytest.mark.slow
def test_a_seed_draws_the_same_again_also_where_ci_is_set(tmp_path: Path) -> None:
    def drawn(seed: str, **environment: str) -> str:
        said = ended(tmp_path, "", seed=seed, **environment).stdout
        assert f"LANDWEAVE_SEED={seed}" in said
        return (tmp_path / "drawn").read_text()

    first = drawn("1")
    assert drawn("1", CI="1") == first
    assert drawn("2", CI="1") != first
