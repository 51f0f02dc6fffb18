"""The built site: nothing in it leads nowhere, nothing asks another host, and what is made from
code is all there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.build import build
from docs.commands import describe_commands
from docs.links import find_faults
from flows.cli import COMMANDS
from landweave import HOMES, segmenters
from tests.conftest import Run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site") / "site"
    assert build(site) == [], "every link leads somewhere, and no other host is asked"
    return site


@pytest.mark.slow
def test_the_site_has_a_page_for_each_file_and_the_code_it_describes(site: Path) -> None:
    pages = {page.relative_to(site).with_suffix(".md").as_posix() for page in site.rglob("*.html")}
    root = Path(__file__).resolve().parents[2]
    assert {page.relative_to(root).as_posix() for page in root.glob("docs/*.md")} <= pages
    assert 'id="landweave-segment"' in (site / "docs" / "commands.html").read_text()
    assert 'class="notebook-output"' in (site / "docs" / "notebook.html").read_text()
    contracts = (site / "docs" / "contracts.html").read_text()
    assert 'id="segmentation.segmenter.Segmenter.footprint"' in contracts
    reference = (site / "docs" / "python.html").read_text()
    names = {**HOMES, **segmenters.HOMES}
    assert [name for name, home in names.items() if f'id="{home}.{name}"' not in reference] == []
    assert not list(site.rglob("*.py"))


def test_the_reference_names_every_command_and_option_as_help_does(landweave: Run) -> None:
    reference = describe_commands()
    for command in (command for commands in COMMANDS.values() for command in commands):
        _, printed, _ = landweave(command.__name__, "--help")
        section = reference.partition(f"### landweave {command.__name__}\n")[2].partition("\n### ")[
            0
        ]
        options = re.findall(r"^  (-.*?)(?:  |$)", printed, re.MULTILINE)
        assert options
        for option in options:
            assert f"| <code>{option.replace(chr(124), '&#124;')}</code> |" in section


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="gone.html">', "page.html: gone.html leads to no file"),
        ('<a href="other.html#gone">', "page.html: other.html#gone leads to no heading"),
        ('<a href="#gone">', "page.html: #gone leads to no heading"),
        ('<img src="gone.png">', "page.html: gone.png leads to no file"),
        (
            '<img src="https://host.example/a.png">',
            "page.html: loads https://host.example/a.png, from another host",
        ),
        (
            '<script src="//host.example/a.js">',
            "page.html: loads //host.example/a.js, from another host",
        ),
        ('<pre class="mermaid">', "page.html: loads https:mermaid, from another host"),
    ],
)
def test_a_link_to_nowhere_and_a_request_to_another_host_are_faults(
    tmp_path: Path, html: str, fault: str
) -> None:
    (tmp_path / "other.html").write_text('<h1 id="here"><a href="page.html">')
    (tmp_path / "page.html").write_text(
        f'<a href="other.html#here"><a href="https://host.example"><img src="data:,">{html}'
    )
    assert find_faults(tmp_path) == [fault]
