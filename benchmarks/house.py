"""The house in figures: how deep imports go, where they run in circles, how large wings, files and
functions are.

    python -m benchmarks.house  each bar with its value; ends with 1 where one is missed
    python -m benchmarks.house --list     and which files and functions miss it

A wing is a folder of a package, and a folder inside a wing is one of its own; a chain is told in
folders, a circle also in files at the root. All imports count, also those inside functions and for
type checkers only. It is read from the sources:
nothing is imported.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGES = ("tiling", "segmentation", "flows", "landweave")
LONGEST_CHAIN = 8
MOST_FILES = 13
MOST_LINES = 400
LONG_FUNCTION, LONG_FUNCTIONS = 50, 0.005
PARTICIPLES = 0.03

IRREGULAR = frozenset(
    {
        "begun",
        "bound",
        "brought",
        "built",
        "burnt",
        "caught",
        "chosen",
        "done",
        "drawn",
        "driven",
        "fallen",
        "fed",
        "felt",
        "found",
        "given",
        "gone",
        "grown",
        "heard",
        "held",
        "hidden",
        "kept",
        "known",
        "laid",
        "learnt",
        "left",
        "lost",
        "made",
        "meant",
        "met",
        "said",
        "seen",
        "sent",
        "shown",
        "standing",
        "taken",
        "taught",
        "told",
        "thrown",
        "understood",
        "withdrawn",
        "won",
        "worn",
        "written",
    }
)
"""Participles that do not end in -ed. What is a verb as well, such as cut, put, read or set, is no
fault."""
VERBS = frozenset({"embed", "feed", "need", "seed", "speed"})

Graph = Mapping[str, set[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name what misses a bar")
    listed = parser.parse_args().list
    missed = 0
    for what, value, bar, names in bars(Path(__file__).resolve().parents[1]):
        missed += value > bar
        shown = [f"{x:.2%}" if isinstance(x, float) else str(x) for x in (value, bar)]
        verdict = "MISSED" if value > bar else "ok    "
        print(f"{verdict}  {what}: {shown[0]} (at most {shown[1]})")
        for name in names if listed and value > bar else ():
            print(f"          {name}")
    sys.exit(bool(missed))


def bars(root: Path) -> Iterable[tuple[str, float, float, list[str]]]:
    """Each measure with its value, its bar, and the names that miss it."""
    paths = [p for package in PACKAGES for p in sorted((root / package).rglob("*.py"))]
    trees = {
        module_of(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
    }
    lines = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines())
        for path in paths
    }
    wing_of = {module_of(path.relative_to(root)): wing_at(path.relative_to(root)) for path in paths}
    files = {name: imports_of(tree, trees.keys()) - {name} for name, tree in trees.items()}
    wings: dict[str, set[str]] = defaultdict(set)
    for name, targets in files.items():
        wings[wing_of[name]] |= {wing_of[t] for t in targets} - {wing_of[name]}
    for package in PACKAGES:
        folders = {
            wing_of[name]
            for name in trees
            if name.startswith(f"{package}.") and name.count(".") > 1
        }
        inside = {wing: wings[wing] & folders for wing in folders}
        chain = longest_chain(inside)
        yield (
            f"{package}: longest chain of imports between wings",
            len(chain),
            LONGEST_CHAIN,
            [" > ".join(chain)],
        )
    for kind, graph in (("wings", wings), ("files", files)):
        rings = circles(graph)
        yield f"circles of {kind}", len(rings), 0, [" - ".join(ring) for ring in rings]
    members: dict[str, int] = defaultdict(int)
    for name in trees:
        if name.count(".") > 1 and name != wing_of[name]:
            members[wing_of[name]] += 1
    yield (
        "files of the largest wing",
        max(members.values(), default=0),
        MOST_FILES,
        sorted(f"{wing}: {n}" for wing, n in members.items() if n > MOST_FILES),
    )
    yield (
        "files at the root of a package",
        max(flat(paths, root / p) for p in PACKAGES),
        MOST_FILES,
        [f"{p}: {flat(paths, root / p)}" for p in PACKAGES],
    )
    yield (
        "lines of the longest file",
        max(lines.values()),
        MOST_LINES,
        sorted(f"{name}: {n}" for name, n in lines.items() if n > MOST_LINES),
    )
    functions = [
        (name, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [f"{name}.{what}: {n}" for name, what, n in functions if n > LONG_FUNCTION]
    yield f"functions over {LONG_FUNCTION} lines", len(long) / len(functions), LONG_FUNCTIONS, long
    tops = [
        (n, s.name)
        for n, tree in trees.items()
        for s in tree.body
        if isinstance(s, ast.FunctionDef)
    ]
    odd = [f"{name}.{what}" for name, what in tops if is_participle(what)]
    yield "functions that are called by a participle", len(odd) / len(tops), PARTICIPLES, odd


def flat(paths: Iterable[Path], package: Path) -> int:
    """Files that stand in a package beside its wings."""
    return sum(path.parent == package and path.name != "__init__.py" for path in paths)


def module_of(path: Path) -> str:
    """The dotted name of a file's module."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def wing_at(path: Path) -> str:
    """The dotted name of the folder that a file stands in; of one at the root of a package its own
    module."""
    return ".".join(path.parent.parts) if len(path.parts) > 2 else module_of(path)


def imports_of(tree: ast.Module, modules: Iterable[str]) -> set[str]:
    """Modules of ours that a file names in any import of it."""
    known, found = set(modules), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known or {node.module}
            if inner - known and inner & known:
                found.add(node.module)
    return found & known


def is_participle(name: str) -> bool:
    first = name.strip("_").split("_")[0]
    return first not in VERBS and (first in IRREGULAR or (first.endswith("ed") and len(first) > 3))


def circles(graph: Graph) -> list[list[str]]:
    """Sets of nodes that reach each other, by Tarjan's algorithm."""
    numbers: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    rings: list[list[str]] = []

    def visit(node: str) -> None:
        numbers[node] = low[node] = len(numbers)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in numbers:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], numbers[target])
        if low[node] == numbers[node]:
            at = stack.index(node)
            ring = stack[at:]
            del stack[at:]
            if len(ring) > 1:
                rings.append(sorted(ring))

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return rings


def longest_chain(graph: Graph) -> list[str]:
    """Nodes of which each imports the next; of a circle only what lies outside it counts once
    more."""
    longest: dict[str, list[str]] = {}

    def below(node: str, above: frozenset[str]) -> list[str]:
        if node not in longest:
            chains = [
                below(t, above | {node}) for t in sorted(graph.get(node, ())) if t not in above
            ]
            longest[node] = [node, *max(chains, key=len, default=[])]
        return longest[node]

    return max((below(node, frozenset()) for node in sorted(graph)), key=len, default=[])


if __name__ == "__main__":
    main()
