"""Classes as a person lists them: names and colours between commas, from the lowest class up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from segmentation.errors import InputError
from segmentation.legend import LandClass, Legend


def _join(value: Any) -> Any:
    """A list or a number, as YAML reads them, as the text that a person wrote."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value) if isinstance(value, int | float) else value


List = Annotated[str, BeforeValidator(_join)]
"""A setting that is a list between commas; a list of YAML does as well."""

Colours = Annotated[
    List,
    Field(
        title="Colours",
        description="As many, between commas, such as d9cbb0,4c9a4a; if empty, what suits the "
        "index.",
    ),
]
"""The setting that gives each class of an index or a band its colour."""

_COLOUR = re.compile("#?([0-9a-fA-F]{6})")


def words_of(text: str) -> list[str]:
    """What stands between commas.

    >>> words_of("Water, Wet land,Dry")
    ['Water', 'Wet land', 'Dry']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers_of(setting: str, text: str) -> tuple[float, ...]:
    """Numbers between commas, each greater than the one before; `InputError` where they are not."""
    try:
        numbers = tuple(float(word) for word in words_of(text))
    except ValueError as error:
        raise InputError(f"{setting}={text} are no numbers; write for example 0.2,0.5") from error
    if not all(map(isfinite, numbers)):
        raise InputError(f"{setting}={text} are no numbers; write for example 0.2,0.5")
    if any(not low < high for low, high in pairwise(numbers)):
        raise InputError(f"{setting}={text} must rise from one to the next, for example 0.2,0.5")
    return numbers


def ramp(low: str, high: str, count: int) -> list[str]:
    """Colours from one to another in even steps.

    >>> ramp("#000000", "#ff8000", 3)
    ['#000000', '#804000', '#ff8000']
    >>> ramp("#000000", "#646464", 2)
    ['#000000', '#646464']
    """
    ends = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (low, high)]
    steps = [step / max(1, count - 1) for step in range(count)]
    return [
        "#" + "".join(f"{round(a + (b - a) * step):02x}" for a, b in zip(*ends, strict=True))
        for step in steps
    ]


def make_legend(
    names: str, colours: str, usual_names: Sequence[str], usual_colours: Sequence[str]
) -> Legend:
    """A legend of classes 1, 2, …: the names and colours a person listed, or else the usual ones.

    `InputError` where there are more or fewer than classes, a name stands twice, or a colour is
    none.
    """
    count = len(usual_names)
    chosen = [words_of(names) or list(usual_names), words_of(colours) or list(usual_colours)]
    for what, listed in zip(("names", "colours"), chosen, strict=True):
        if len(listed) != count:
            raise InputError(
                f"{what} has {len(listed)} entries for {count} classes; list one for each class, "
                "from the lowest up"
            )
    if len(set(chosen[0])) != count:
        raise InputError(f"names={names} says a name twice; give each class its own")
    for colour in chosen[1]:
        if not _COLOUR.fullmatch(colour):
            raise InputError(f"colours: {colour} is no colour; write for example 3b7dd8 or #3b7dd8")
    return Legend(
        classes=tuple(
            LandClass(value=value, name=name, colour="#" + colour.removeprefix("#").lower())
            for value, (name, colour) in enumerate(zip(*chosen, strict=True), start=1)
        )
    )
