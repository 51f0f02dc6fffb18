"""The page "How the house is built" says of every wing what the wing says of itself, and names
functions that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
LAYERS = {
    contract["containers"][0]: [layer.split(" : ") for layer in contract["layers"]]
    for contract in CONTRACTS
    if contract["name"].startswith("the wings of")
}
STEPS = re.findall(r"\| `([\w/]+\.py)` `(\w+)` \|", PAGE)


def describe_wing(room: str, wing: str) -> str:
    """The row of a wing, or of a file beside wings: the first paragraph of its docstring."""
    package, file = (ROOT / room / name for name in (f"{wing}/__init__.py", f"{wing}.py"))
    text = (
        ast.get_docstring(
            ast.parse((package if package.exists() else file).read_text(encoding="utf-8"))
        )
        or ""
    )
    name = wing if package.exists() else file.name
    return f"| `{room}/{name}` | {' '.join(text.split(chr(10) * 2)[0].split())} |"


@pytest.mark.parametrize("room", LAYERS)
def test_the_page_shows_the_layers_that_lint_checks_and_what_each_wing_says_of_itself(
    room: str,
) -> None:
    section = PAGE.partition(f"\n## {room}\n")[2].partition("\n## ")[0]
    layers = "\n".join(" · ".join(layer) for layer in LAYERS[room])
    rows = "\n".join(describe_wing(room, wing) for layer in LAYERS[room] for wing in layer)
    assert section.strip() == f"```\n{layers}\n```\n\n| | |\n|---|---|\n{rows}"


@pytest.mark.parametrize(("file", "function"), STEPS)
def test_a_step_on_the_way_of_a_scene_is_a_function_of_that_file(file: str, function: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_way_of_a_scene_has_every_stage_of_the_pipeline() -> None:
    functions = {function for file, function in STEPS if file == "flows/run/pipeline.py"}
    assert functions == {"run", "publish"}
    tree = ast.parse((ROOT / "flows" / "run" / "pipeline.py").read_text(encoding="utf-8"))
    stages = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "stage"
        and isinstance(node.args[0], ast.Constant)
    }
    assert stages == set(re.findall(r"\| \*\*(\w+)\*\*", PAGE))
