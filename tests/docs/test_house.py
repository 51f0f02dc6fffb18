"""The page "How the house is built" has every wing, and names functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs.rooms import describe_room, layers_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
STEPS = re.findall(r"\| `([\w/]+\.py)` `(\w+)` \|", PAGE)


@pytest.mark.parametrize("room", ["tiling", "segmentation", "flows"])
def test_a_room_shows_every_wing_and_what_it_says_of_itself(room: str) -> None:
    text = describe_room(room)
    wings = {file.parent.name for file in (ROOT / room).glob("*/__init__.py")}
    inner = {
        f"{file.parent.parent.name}/{file.parent.name}"
        for file in (ROOT / room).glob("*/*/__init__.py")
    }
    described = dict(re.findall(rf"^\| `{room}/([\w/]+)` \| (.+) \|$", text, re.MULTILINE))
    assert described.keys() == wings | inner
    drawing = text.partition("```\n")[2].partition("\n```")[0]
    assert wings <= {wing for layer in drawing.splitlines() for wing in layer.split(" · ")}


def test_the_layers_of_tiling_begin_with_outlines_and_end_with_the_ground() -> None:
    wings = [wing for layer in layers_of("tiling") for wing in layer]
    assert wings[:2] == ["footprints", "polygons"]
    assert wings.index("scene") < wings.index("io") < wings.index("grid")


@pytest.mark.parametrize(("file", "function"), STEPS)
def test_a_step_on_the_way_of_a_scene_is_a_function_of_that_file(file: str, function: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_way_of_a_scene_has_every_stage_of_the_pipeline() -> None:
    functions = {function for file, function in STEPS if file == "flows/run/pipeline.py"}
    assert functions == {"run", "make_windows", "make_mask", "publish"}
    tree = ast.parse((ROOT / "flows" / "run" / "pipeline.py").read_text(encoding="utf-8"))
    stages = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "stage"
        and isinstance(node.args[0], ast.Constant)
    }
    assert stages == set(re.findall(r"\| \*\*(\w+)\*\*", PAGE))
