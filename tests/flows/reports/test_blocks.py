"""Blocks refuse what no page may hold."""

from __future__ import annotations

import pytest

from flows.reports.blocks import Column, Link, Picture, Strong, Swatch, Table, clean_line, join


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "JavaScript:x", "data:text/html,x", "file:///etc"]
)
def test_no_address_runs_anything(address: str) -> None:
    for block in (Link, Picture):
        with pytest.raises(ValueError, match="leads nowhere"):
            block("a", address) if block is Link else block(address, "a")


@pytest.mark.parametrize(
    "address", ["", "a/b.tif", "./a%3Ab", "#place", "https://h/x", "data:image/png;base64,AA=="]
)
def test_addresses_of_files_and_of_the_web_are_taken(address: str) -> None:
    assert Link("a", address).address == Picture(address, "a").address == address


@pytest.mark.parametrize(
    "colour", ["red", "#12345", "#1234567", "#12345g", "#123456;x:url(//h)", ""]
)
def test_a_colour_is_a_colour(colour: str) -> None:
    with pytest.raises(ValueError, match="is no colour"):
        Swatch(colour)


def test_every_row_of_a_table_has_all_its_cells() -> None:
    with pytest.raises(ValueError, match="has not 2 cells"):
        Table((Column("a"), Column("b")), (("1", "2"), ("3",)))


def test_a_text_is_one_line_of_what_can_be_shown() -> None:
    assert clean_line(" a\n\tb\u00a0c\0\ud800 ") == " a b c\ufffd\ufffd "


def test_pieces_are_joined_by_what_stands_between() -> None:
    assert join([]) == ()
    assert join([Strong("a"), Link("b", "c")]) == (Strong("a"), " · ", Link("b", "c"))
