"""What a page says: headings, text, tables, figures and warnings as small values, whoever draws
them.

A page is a plain function from facts to blocks. `html.py` and `markdown.py` draw every block; what
a person or a file supplies is text to both, whatever it looks like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPACES = re.compile(r"\s+")

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that no page can hold, or that none shows."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

_OPENED = re.compile(r"https?://|data:image/png;base64,")
"""Schemes of addresses that a page may lead to; any other address is relative."""

_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


def clean_line(text: str) -> str:
    """A text in one line, as a page shows it: any run of white space is one space.

    >>> clean_line("Oak |\\n  beech")
    'Oak | beech'
    """
    return clean_text(_SPACES.sub(" ", text))


def clean_text(text: str) -> str:
    """A text of which each character that cannot be shown is `\ufffd`; lines stay."""
    return _UNPRINTABLE.sub("\ufffd", text)


def check_address(address: str) -> None:
    """Raise `ValueError` where an address is neither relative nor one of the web: it would run
    something."""
    if _SCHEME.match(address) and not _OPENED.match(address):
        raise ValueError(
            f"a page leads nowhere by {address[:40]!r}; give a relative address or one of http"
        )


# ------------------------------------------------------------------------------------ within a line


@dataclass(frozen=True)
class Part:
    """Something in a line of text that is more than characters."""

    @property
    def kind(self) -> str:
        """The word by which templates know it."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Strong(Part):
    """Words that stand out."""

    text: str


@dataclass(frozen=True)
class Aside(Part):
    """A smaller figure after another, such as a percent after hectares."""

    text: str


@dataclass(frozen=True)
class Code(Part):
    """A path, a name of a file or a setting, as it is typed."""

    text: str


@dataclass(frozen=True)
class Link(Part):
    """Words that lead to an address; with an empty address they are words."""

    text: str
    address: str
    code: bool = False
    """Whether the words are the name of a file."""

    def __post_init__(self) -> None:
        check_address(self.address)


@dataclass(frozen=True)
class Swatch(Part):
    """A small square of a class's colour."""

    colour: str
    """Such as `#3b7dd8`."""

    def __post_init__(self) -> None:
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError(f"{self.colour!r} is no colour like #3b7dd8")


Words = str | Part | tuple[str | Part, ...]
"""A line of text."""


# ------------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True)
class Block(Part):
    """A part of a page that stands on lines of its own."""


@dataclass(frozen=True)
class Heading(Block):
    words: Words
    level: int = 2


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    words: Words
    small: bool = False


@dataclass(frozen=True)
class Notice(Block):
    """What a person should know before they trust a page."""

    words: Words
    label: str = "Warning"


@dataclass(frozen=True)
class Figures(Block):
    """The few numbers that a page is about: each a value with its label."""

    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts(Block):
    """Facts about a thing, each a name with what is true."""

    facts: tuple[tuple[str, Words], ...]


@dataclass(frozen=True)
class Column:
    """The head of a column of a table; numbers stand at its right."""

    words: Words
    number: bool = False
    whole: bool = False
    """Whether its cells keep to one line, as days do."""


@dataclass(frozen=True)
class Table(Block):
    columns: tuple[Column, ...]
    rows: tuple[tuple[Words, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of this table has not {len(self.columns)} cells")


@dataclass(frozen=True)
class Picture(Block):
    """A PNG by its address."""

    address: str
    alt: str
    """What the picture shows, for those who do not see it."""
    caption: Words = ()
    anchor: str = ""
    """A name by which a link within the page leads here."""

    def __post_init__(self) -> None:
        check_address(self.address)


@dataclass(frozen=True)
class Command(Block):
    """Lines to copy, letter by letter."""

    text: str


def words_of(words: Words) -> tuple[str | Part, ...]:
    """The pieces of a line."""
    return words if isinstance(words, tuple) else (words,)


def join(parts: list[Part], between: str = " · ") -> tuple[str | Part, ...]:
    """Pieces in one line, with something between each two."""
    return tuple(piece for part in parts for piece in (between, part))[1:]
