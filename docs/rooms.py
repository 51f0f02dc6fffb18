"""The wings of a room, ordered as the contracts of `make lint` have them, in their own words."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def layers_of(room: str) -> list[list[str]]:
    """The wings of a room, the uppermost layer first: each imports from those below its own."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [
        layer.split(" : ")
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == [room]
        for layer in contract["layers"]
    ]


def describe_room(room: str) -> str:
    """The layers of a room as a drawing, then what each wing and each wing inside it is, in
    Markdown."""
    layers = layers_of(room)
    drawing = "\n".join(" · ".join(layer) for layer in layers)
    wings = [name for layer in layers for wing in layer for name in (wing, *_inner(room, wing))]
    rows = "\n".join(_row(room, wing) for wing in wings)
    return f"```\n{drawing}\n```\n\n| | |\n|---|---|\n{rows}"


def _inner(room: str, wing: str) -> list[str]:
    """The wings inside a wing."""
    inside = sorted((ROOT / room / wing).glob("*/__init__.py"))
    return [f"{wing}/{package.parent.name}" for package in inside]


def _row(room: str, wing: str) -> str:
    """The first paragraph of the docstring of a wing, or of a file that stands beside wings."""
    package = ROOT / room / wing / "__init__.py"
    file = package if package.exists() else ROOT / room / f"{wing}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    name = wing if file == package else file.name
    return f"| `{room}/{name}` | {' '.join(text.split(2 * chr(10))[0].split())} |"
