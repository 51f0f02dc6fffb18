"""Where the built pages lead: every link to a page, a heading or a file that is there, and to no
other host unasked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

_LOADED = {
    ("link", "href"),
    *((tag, "src") for tag in ("script", "img", "iframe", "source", "video", "audio", "embed")),
}
"""What a browser asks for without being asked to."""

_IMPORT = re.compile(r"""@import\s+["']https?:|url\(\s*["']?https?:""")
"""What a style sheet loads from elsewhere."""

_FETCHING = {"mermaid", "glightbox"}
"""Classes of elements for which the theme's script asks another host."""


class _Page(HTMLParser):
    """The anchors of a page, and what it links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                (self.loads if (tag, name) in _LOADED else self.links).append(value)
            elif name == "class" and value and _FETCHING & {*value.split()}:
                self.loads.append(f"https:{value}")


def find_faults(site: Path) -> list[str]:
    """Links of a built site that lead nowhere, and what it loads from other hosts: a line each."""
    site = site.resolve()
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    faults = [
        f"{file.relative_to(site)}: {fault}"
        for file, page in pages.items()
        if file.name != "404.html"  # shown at any address, so its links begin at the root
        for fault in _faults_of(file, page, pages)
    ]
    return faults + [
        f"{file.relative_to(site)}: loads from another host"
        for file in sorted(site.rglob("*.css"))
        if _IMPORT.search(file.read_text(encoding="utf-8"))
    ]


def _faults_of(file: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    yield from (f"loads {load}, from another host" for load in page.loads if _is_elsewhere(load))
    for link in {*page.links, *page.loads}:
        if _is_elsewhere(link) or link.startswith("data:"):
            continue
        name, anchor = urldefrag(unquote(link))
        target = (file.parent / name).resolve() if name else file
        if target.is_dir():
            target /= "index.html"
        if not target.exists():
            yield f"{link} leads to no file"
        elif anchor and target in pages and anchor not in pages[target].anchors:
            yield f"{link} leads to no heading"


def _is_elsewhere(link: str) -> bool:
    scheme = re.match(r"([a-z][a-z0-9+.-]*):", link)
    return link.startswith("//") or (scheme is not None and scheme[1] != "data")
