"""Lists of names, numbers and colours, as a person writes them."""

from __future__ import annotations

import doctest

import pytest
from pydantic import TypeAdapter

from segmentation.classical import class_list
from segmentation.classical.class_list import List, make_legend, numbers_of
from segmentation.errors import InputError


def test_the_examples_are_true() -> None:
    result = doctest.testmod(class_list)
    assert result.attempted > 2
    assert not result.failed


def test_a_list_of_yaml_is_the_text_a_person_writes() -> None:
    read = TypeAdapter(List).validate_python
    assert [read(value) for value in ("a,b", ["a", "b"], [0.2, 1], 0.5)] == [
        "a,b",
        "a, b",
        "0.2, 1",
        "0.5",
    ]


def test_numbers_rise() -> None:
    assert numbers_of("x", "-1, 0.5,2e3") == (-1, 0.5, 2000)
    assert numbers_of("x", "") == ()
    for text in ("1,1", "2,1"):
        with pytest.raises(InputError, match="must rise"):
            numbers_of("x", text)
    for text in ("nan", "inf", "1;2"):
        with pytest.raises(InputError, match="are no numbers"):
            numbers_of("x", text)


def test_what_a_person_does_not_name_is_called_as_usual() -> None:
    assert make_legend("", "", ["A", "B"], ["#000000", "#ffffff"]).rows == (
        (1, "A", "#000000"),
        (2, "B", "#ffffff"),
    )
