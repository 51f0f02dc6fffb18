"""The notebook runs as it stands, and shows what it was kept with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.run_notebook import NOTEBOOK, run_notebook

KEPT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
MACHINE = "lw.plan"
"""Says how much memory a worker takes on this machine's cores."""


def shown(cell: dict[str, Any]) -> list[tuple[list[str], str]]:
    """The kinds of output of a cell, and its text."""
    return [
        (sorted(output.get("data", {})), "".join(output.get("data", {}).get("text/plain", "")))
        for output in cell["outputs"]
    ]


def test_the_notebook_is_small_and_names_no_folder_of_whoever_ran_it() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert "/tmp" not in text
    assert "/home" not in text


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_was_kept_with(tmp_path: Path) -> None:
    notebook = run_notebook(NOTEBOOK, tmp_path)
    for kept, made in zip(KEPT["cells"], notebook.cells, strict=True):
        if kept["cell_type"] == "code" and MACHINE not in "".join(kept["source"]):
            assert shown(made) == shown(kept)
