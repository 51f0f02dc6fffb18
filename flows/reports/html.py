"""A page as HTML: one file that asks no other host for anything, by light and by dark, on a desk
and on a phone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from flows.reports.blocks import Block, clean_line, clean_text, words_of

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

_IN_ADDRESSES = "%/?:#[]@!$&'*+,;=~"


def render_html(title: str, blocks: Iterable[Block]) -> str:
    """The whole page: its title, and the blocks below. Whatever they hold is text."""
    return open_templates().get_template("page.html").render(title=title, blocks=tuple(blocks))


def render_fragment(title: str, blocks: Iterable[Block]) -> str:
    """A part of somebody else's page, such as the output of a cell of a notebook, in the colours
    that page has."""
    return open_templates().get_template("fragment.html").render(title=title, blocks=tuple(blocks))


def address_of(address: str) -> str:
    """An address as it may stand in a page, with no character that ends it; what is quoted stays as
    it is."""
    return quote(address.encode("utf-8", "replace"), safe=_IN_ADDRESSES)


@cache
def open_templates() -> Environment:
    """The templates of pages, read once; what a template lacks is an error, what it holds is
    escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {
        "clean_line": clean_line,
        "clean_text": clean_text,
        "words": words_of,
        "address": address_of,
    }
    return templates
