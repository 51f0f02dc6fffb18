"""Pages of blocks for tests: one with a text in every place, names that want to be markup, and what
a page says."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from flows.reports.blocks import (
    Block,
    Code,
    Column,
    Command,
    Facts,
    Figures,
    Heading,
    Link,
    Notice,
    Picture,
    Strong,
    Swatch,
    Table,
    Text,
    clean_text,
)

HOSTILE = (
    "<script>alert(1)</script>", "a|b", "](http://evil.example)", "![x](y)", "two\nlines", "`code`",
    "``", "\\", "\\|",
    "**bold**", "_it_ __is__", "# head", "- item", "1. first", "1) first", "> quote", "===", "---",
    "&lt;&amp;&#60;",
    "<!-- -->", "</style></title>", '"><img src=x onerror=alert(1)>', "'", "\u202eRTL\u2066",
    "שלום", "~~gone~~",
    "~~~", "```", "http://evil.example", "www.evil.example", "me@evil.example", "[^1]: note",
    "[a]: http://b", "|---|",
    "\u00a0", "{{ 7 * 7 }}", "{% raw %}", "\0", "\ud800", "a\\", "  indented", "\tcode", "\r\n",
    "+", "=", "<b", "&",
)  # fmt: skip
"""Names that end a cell, a link, a string or a page, or begin something, where they are not
escaped."""

TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(codec=None), max_size=12),
    st.text("\\`*_[]()<>|~#@&:!-+=.1w/ \n\ta", max_size=12),
    st.lists(st.sampled_from(HOSTILE), min_size=2, max_size=3).map("".join),
)

PLACES = 16
"""Texts in `specimen`."""


def specimen(texts: Sequence[str]) -> list[Block]:
    """A page with a text in every place that takes one."""
    word = iter(texts)
    cell, path, link, file = next(word), next(word), next(word), next(word)
    return [
        Heading(next(word)),
        Text(next(word)),
        Text(("x ", Strong(next(word)), " x ", Code(next(word)), " x ", Link(next(word), "c d"))),
        Notice(next(word), label=next(word)),
        Figures(((next(word), next(word)),)),
        Facts(((next(word), next(word)),)),
        Table(
            (Column(next(word)), Column("n", number=True)),
            (
                ((Swatch("#3b7dd8"), cell), Code(path)),
                (Link(link, "a"), Link(file, "b", code=True)),
            ),
        ),
        Picture("p.png", "", caption="p"),
        Command("one\n  two"),
    ]


def said(texts: Sequence[str], *, between: str) -> str:
    """All text of `specimen`, without white space; `between` stands after the name of a fact."""
    t = [squeezed(clean_text(squeezed(text))) for text in texts]
    lines = (
        t[4],
        t[5],
        f"x{t[6]}x{t[7]}x{t[8]}",
        f"{t[10]}:{t[9]}",
        t[11],
        t[12],
        t[13],
        between,
        t[14],
        t[15],
        "n",
    )
    return "".join([*lines, *t[:4], "pone", "two"])


class Reader(HTMLParser):
    """What a browser makes of a page: elements with the names of their attributes, and the text of
    each."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(" ".join([tag, *sorted(name for name, _ in attrs)]))
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"] and data.strip():
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.elements.append(f"!{decl}")

    @property
    def text(self) -> str:
        """All text, without white space."""
        return squeezed("".join(self.texts))


class MarkdownReader:
    """What a reader of Markdown with tables makes of a page: kinds of elements, and their text."""

    def __init__(self, page: str) -> None:
        reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
        self.elements: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self._read(reader.parse(page))

    def _read(self, tokens: list[Token]) -> None:
        for token in tokens:
            if token.type not in ("text", "text_special"):
                self.elements.append(f"{token.type} {token.tag}")
            self.addresses += [
                str(value) for name, value in token.attrs.items() if name in ("href", "src")
            ]
            if token.children is not None:
                self._read(token.children)
            else:
                self.texts.append(token.content)

    @property
    def text(self) -> str:
        """All text, without white space."""
        return squeezed("".join(self.texts))


def squeezed(text: str) -> str:
    """A text without white space: pages set their own."""
    return "".join(text.split())
