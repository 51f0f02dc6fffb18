"""Build the documentation site: `python -m docs.build` writes `site/`, which needs no server and
asks no other host.

The pages are laid out as they lie in the repository, so that links between them are the same on a
code host and here. A comment in a page, such as `<!-- commands -->`, stands where text made from
the code goes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docs import commands, rooms
from docs.links import find_faults
from docs.notebook import describe_notebook

ROOT = Path(__file__).resolve().parent.parent

PAGES = ("*.md", "LICENSE", "prefect.yaml", "docs/**/*", "deploy/**/*", "benchmarks/*.md")
"""What the site shows or links to."""

FOLDERS = ("deploy/kubernetes", "deploy/slurm")
"""Folders that pages link to, which a code host lists."""

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""What colours the words of zensical in a terminal."""

_MARK = re.compile(r"^<!-- (\w+) ?(.*?) -->$", re.MULTILINE)


def describe_module(name: str, *members: str) -> str:
    """The reference of a module's public names, or of these, from their docstrings."""
    if members:
        return "\n".join(_directive(f"{name}.{member}", {}) for member in members)
    return _directive(name, {"show_root_heading": False, "show_root_toc_entry": False})


def describe_package(name: str, title: str = "Classes") -> str:
    """The reference of a package that loads names when they are used, each from where it stands;
    its classes stand under a title."""
    homes: Mapping[str, str] = import_module(name).HOMES
    texts = {
        member: _directive(f"{home}.{member}", {"heading": member, "toc_label": member})
        for member, home in homes.items()
    }
    functions = "\n".join(text for member, text in texts.items() if member[0].islower())
    classes = "\n".join(text for member, text in texts.items() if member[0].isupper())
    parts = {"Functions": functions, title: classes}
    return "\n".join(f"## {heading}\n\n{part}" for heading, part in parts.items() if part)


def _directive(name: str, options: Mapping[str, Any]) -> str:
    """Text for mkdocstrings, in whose place it puts the reference of `name`."""
    return f"::: {name}\n    options: {json.dumps(options)}\n"


FILLERS: Mapping[str, Callable[..., str]] = {
    "commands": commands.describe_commands,
    "module": describe_module,
    "package": describe_package,
    "room": rooms.describe_room,
}
"""What makes the text that goes where a page says `<!-- name arguments -->`."""


def fill_in(page: str) -> str:
    """A page with the text made from the code in the place of its marks."""

    def made(mark: re.Match[str]) -> str:
        name, arguments = mark.groups()
        return FILLERS[name](*arguments.split()) if name in FILLERS else mark[0]

    return _MARK.sub(made, page)


def list_folder(folder: Path) -> str:
    """A page that lists the files of a folder, as a code host shows it."""
    names = sorted(file.name for file in folder.iterdir())
    return f"# {folder.name}/\n\n" + "\n".join(f"- [{name}]({name})" for name in names) + "\n"


def lay_out(root: Path, pages: Path) -> None:
    """Copy what the site shows from `root` to the folder `pages`, with what is made from the
    code."""
    files = {file for pattern in PAGES for file in root.glob(pattern) if file.is_file()}
    for file in files:
        copy = pages / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".md":
            text = fill_in(file.read_text(encoding="utf-8"))
            copy.write_text(text.replace(".ipynb)", ".md)"), encoding="utf-8")
        elif file.suffix == ".ipynb":
            copy.with_suffix(".md").write_text(describe_notebook(file), encoding="utf-8")
        elif file.suffix != ".py":
            shutil.copy(file, copy)
    for folder in FOLDERS:
        (pages / folder / "index.md").write_text(list_folder(root / folder), encoding="utf-8")


def build(site: Path) -> list[str]:
    """Make the site in the folder `site`, in place of what was there; what is wrong with it, a line
    each."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        lay_out(ROOT, folder / "pages")
        shutil.copy(ROOT / "docs" / "zensical.toml", folder)
        command = [
            sys.executable,
            "-m",
            "zensical",
            "build",
            "--strict",
            "--config-file",
            str(folder / "zensical.toml"),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            said = _COLOUR.sub("", done.stdout + done.stderr)
            warnings, _, aborted = said.partition("Traceback")
            return (warnings if "--strict flag" in aborted else said).splitlines()
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(folder / "site", site)
    return find_faults(site)


def main() -> int:
    """Build `site/`; 1 if anything in it leads nowhere."""
    faults = build(ROOT / "site")
    print(
        "\n".join(faults)
        if faults
        else "site/index.html: every link leads somewhere, and no other host is asked"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
