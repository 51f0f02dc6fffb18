"""Run the notebook and keep what it shows: `python -m docs.run_notebook` writes it in place."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"

TIMEOUT = 600
"""Seconds that a cell may take."""


def run_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells show, run in a folder; the first cell that fails ends it."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    scripts = str(Path(sys.executable).parent)  # where the command landweave is
    os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=TIMEOUT, resources=where, record_timing=False)
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version that ran it
    return notebook


def main() -> None:
    with TemporaryDirectory() as folder:
        notebook = run_notebook(NOTEBOOK, Path(folder))
        nbformat.write(notebook, NOTEBOOK)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
