"""HTML of blocks: texts are texts, nothing is fetched, numbers stand right."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from flows.reports.blocks import Column, Command, Link, Picture, Swatch, Table, Text, clean_text
from flows.reports.html import open_templates, render_html
from tests.pages import HOSTILE, PLACES, TEXTS, Reader, said, specimen, squeezed

HARMLESS = Reader(render_html("x", specimen(["x"] * PLACES)))


@given(TEXTS, st.lists(TEXTS, min_size=PLACES, max_size=PLACES))
def test_every_text_comes_back_and_makes_no_element(title: str, texts: list[str]) -> None:
    page = Reader(render_html(title, specimen(texts)))
    assert page.elements == HARMLESS.elements
    assert page.addresses == HARMLESS.addresses
    assert page.text == squeezed(clean_text(squeezed(title))) * 2 + said(texts, between="")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_command_and_the_words_of_a_picture_are_text(name: str) -> None:
    page = render_html("x", [Command(f"one\n  {name}\n"), Picture("a.png", alt=name)])
    assert (
        Reader(page).elements
        == Reader(render_html("x", [Command("x"), Picture("a.png", alt="x")])).elements
    )
    assert f"one\n  {clean_text(name)}\n".replace("\r", "") in "".join(Reader(page).texts)


def test_a_page_asks_no_other_host_and_runs_nothing() -> None:
    page = render_html("x", specimen(["x"] * PLACES))
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|\son\w+=", page)


def test_numbers_stand_right_and_heads_are_heads() -> None:
    page = render_html(
        "x", [Table((Column("class"), Column("ha", number=True)), (("Water", "1.0"),))]
    )
    assert '<th scope="col">class</th><th scope="col" class="number">ha</th>' in page
    assert '<td>Water</td><td class="number">1.0</td>' in page


def test_a_page_shows_the_colour_of_a_class() -> None:
    assert 'style="background:#3b7dd8"' in render_html("x", [Text((Swatch("#3b7dd8"), "Water"))])


def test_a_link_keeps_to_its_place_whatever_is_in_it() -> None:
    page = Reader(
        render_html("x", [Text((Link("a", 'a b"><script>/%20é?x=1&y=2'), Link("b", "")))])
    )
    assert page.addresses == ["a%20b%22%3E%3Cscript%3E/%20%C3%A9?x=1&y=2"]


def test_a_template_that_lacks_something_fails() -> None:
    with pytest.raises(UndefinedError):
        open_templates().from_string("{{ something }}").render()
