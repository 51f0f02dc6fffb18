"""Facts about legends: the class of pixels without an answer."""

from __future__ import annotations

import pytest

from segmentation.errors import InputError
from segmentation.legend import LAND_COVER, UNKNOWN, UNKNOWN_COLOUR, LandClass, Legend


def legend_of(*values: int) -> Legend:
    return Legend(
        classes=tuple(LandClass(value=v, name=f"Class {v}", colour="#000000") for v in values)
    )


def test_unknown_comes_last_with_a_value_and_a_colour_that_no_class_has() -> None:
    legend = LAND_COVER.with_unknown()
    assert legend.classes[:-1] == LAND_COVER.classes
    assert legend.rows[-1] == (254, UNKNOWN, UNKNOWN_COLOUR)
    assert UNKNOWN_COLOUR not in {land.colour for land in LAND_COVER.each()}
    assert legend_of(1, 254, 253).with_unknown().value_of(UNKNOWN) == 252


def test_a_legend_that_has_unknown_keeps_it() -> None:
    own = Legend(classes=(LandClass(value=3, name=UNKNOWN, colour="#ffffff"),))
    assert own.with_unknown() is own
    assert own.value_of(UNKNOWN) == 3


def test_where_every_value_is_taken_there_is_no_room_for_it() -> None:
    with pytest.raises(InputError, match="none is left for Unknown; leave --unknown-below out"):
        legend_of(*range(1, 255)).with_unknown()
