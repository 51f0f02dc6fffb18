"""Markdown of blocks: texts are texts to whoever reads CommonMark and tables of GitHub."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.reports.blocks import (
    Aside,
    Column,
    Command,
    Heading,
    Link,
    Picture,
    Swatch,
    Table,
    Text,
    clean_text,
)
from flows.reports.markdown import render_markdown, write_code
from tests.pages import HOSTILE, PLACES, TEXTS, MarkdownReader, said, specimen, squeezed


def kinds(page: MarkdownReader) -> list[str]:
    """Elements of a page but for code and stress, which an empty text has not."""
    return [
        kind
        for kind in page.elements
        if kind.split()[0] not in ("code_inline", "strong_open", "strong_close")
    ]


@given(st.lists(TEXTS, min_size=PLACES, max_size=PLACES))
def test_every_text_comes_back_and_makes_no_element(texts: list[str]) -> None:
    page = MarkdownReader(render_markdown(specimen(texts)))
    filled = [text if squeezed(text) else "" for text in texts]
    harmless = MarkdownReader(render_markdown(specimen(["x" if text else "" for text in filled])))
    assert kinds(page) == kinds(harmless)
    assert page.addresses == harmless.addresses
    assert page.text == said(texts, between=":")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_command_is_taken_letter_by_letter(name: str) -> None:
    (fence,) = MarkdownReader(render_markdown([Command(f"one\n  {name}")])).texts
    assert fence == f"one\n  {clean_text(name)}\n"


@pytest.mark.parametrize("name", HOSTILE)
def test_the_words_of_a_picture_are_text(name: str) -> None:
    page = MarkdownReader(render_markdown([Picture("a.png", alt=name)]))
    assert page.elements == ["paragraph_open p", "inline ", "image img", "paragraph_close p"]
    assert squeezed(page.text) == squeezed(clean_text(squeezed(name)))


def test_a_table_has_its_numbers_right_and_its_colours_as_squares() -> None:
    table = Table(
        (Column("class"), Column("ha", number=True)),
        (
            ((Swatch("#3b7dd8"), "Water|land"), ("12.0", Aside("4 %"))),
            (Link("Oak", "a(b).tif"), ""),
        ),
    )
    assert render_markdown([table]).splitlines() == [
        "| class | ha |",
        "| --- | ---: |",
        r"| Water\|land | 12.0 (4 %) |",
        "| [Oak](a%28b%29.tif) |  |",
    ]
    painted = render_markdown([table], paint=lambda colour: f"data:image/png;base64,{colour[1:]}")
    assert painted.splitlines() == [
        "|  | class | ha |",
        "| --- | --- | ---: |",
        r"| ![\#3b7dd8](data:image/png;base64,3b7dd8) | Water\|land | 12.0 (4 %) |",
        "|  | [Oak](a%28b%29.tif) |  |",
    ]


def test_a_name_is_read_as_it_is_written() -> None:
    assert render_markdown([Text("valley_20240501 of 2024-05-01, 3.5 % (a: b)")]) == (
        "valley_20240501 of 2024-05-01, 3.5 % (a: b)\n"
    )


def test_headings_stand_lower_in_a_page_that_has_a_title() -> None:
    blocks = [Heading("Files"), Heading("Change", level=3)]
    assert render_markdown(blocks) == "## Files\n\n### Change\n"
    assert render_markdown(blocks, under=1) == "### Files\n\n#### Change\n"


def test_a_link_within_a_page_is_words() -> None:
    assert render_markdown([Text(Link("valley", "#valley"))]) == "valley\n"


def test_code_has_as_many_backticks_as_it_needs() -> None:
    assert write_code("a.tif") == "`a.tif`"
    assert write_code("a`b") == "``a`b``"
    assert write_code("`") == "`` ` ``"
