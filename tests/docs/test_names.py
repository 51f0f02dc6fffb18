"""Whatever a page names of the code, a module, a function or a file, is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for pattern in ("*.md", "docs/*.md", "*/README.md")
    for page in ROOT.glob(pattern)
    if page.name != "CHANGELOG.md"  # tells of what was
]
DOTTED = re.compile(r"(?<![\w/-])(?:tiling|segmentation|flows)(?:\.(?!png\b)\w+)+")
IMPORT = re.compile(r"^from ((?:tiling|segmentation|flows)[\w.]*) import (.+)$", re.MULTILINE)
FILE = re.compile(
    r"(?<![\w./-])(?:tiling|segmentation|flows|landweave|tests|docs|benchmarks|deploy)"
    r"(?:/[\w.-]+)+\.\w+"
)


def resolves(name: str) -> bool:
    """True where a dotted name is a module, or a name at the top of one."""
    *parents, last = name.split(".")
    whole, outer = ROOT.joinpath(*parents, last), ROOT.joinpath(*parents)
    if whole.is_dir() or whole.with_suffix(".py").exists():
        return True
    file = outer / "__init__.py" if outer.is_dir() else outer.with_suffix(".py")
    if not file.exists():
        return False
    statements = ast.parse(file.read_text(encoding="utf-8")).body
    assigned = {
        node.id for one in statements for node in ast.walk(one) if isinstance(node, ast.Name)
    }
    return last in assigned | {getattr(statement, "name", None) for statement in statements}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_of_the_code_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    imports = [
        f"{module}.{name}" for module, names in IMPORT.findall(text) for name in names.split(", ")
    ]
    assert [name for name in (*DOTTED.findall(text), *imports) if not resolves(name)] == []
    assert [name for name in FILE.findall(text) if not (ROOT / name).exists()] == []
