"""A notebook as a page: its text, its code and what the cells showed when it was run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def describe_notebook(path: Path) -> str:
    """The cells of a notebook in Markdown, with their outputs as HTML or else as text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(block for cell in cells for block in _describe(cell)) + "\n"


def _describe(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for shown in (output["data"] for output in cell["outputs"] if "data" in output):
        if html := "".join(shown.get("text/html", ())):
            lines = "\n".join(line for line in html.splitlines() if line.strip())
            yield f'<div class="notebook-output">\n{lines}\n</div>'
        else:
            yield f"```\n{''.join(shown['text/plain'])}\n```"
