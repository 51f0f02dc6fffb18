import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiling.grid.window import Window

windows = st.builds(
    Window, st.integers(-20, 20), st.integers(-20, 20), st.integers(0, 12), st.integers(0, 12)
)


def pixels(window: Window) -> set[tuple[int, int]]:
    return {
        (r, c)
        for r in range(window.row, window.row_stop)
        for c in range(window.col, window.col_stop)
    }


@given(windows, windows)
def test_intersection_holds_the_pixels_of_both(a: Window, b: Window) -> None:
    assert pixels(a & b) == pixels(a) & pixels(b)


@given(windows.filter(bool), windows.filter(bool))
def test_union_is_the_smallest_window_that_holds_both(a: Window, b: Window) -> None:
    both = a | b
    assert a in both
    assert b in both
    assert {both.row, both.col} == {min(a.row, b.row), min(a.col, b.col)}
    assert (both.row_stop, both.col_stop) == (
        max(a.row_stop, b.row_stop),
        max(a.col_stop, b.col_stop),
    )


@given(windows, st.integers(1, 17))
def test_blocks_partition_a_window_along_a_fixed_grid(window: Window, size: int) -> None:
    blocks = list(window.blocks(size))
    assert sorted(p for block in blocks for p in pixels(block)) == sorted(pixels(window))
    assert all(block.row // size == (block.row_stop - 1) // size for block in blocks if block)
    assert all(block.col // size == (block.col_stop - 1) // size for block in blocks if block)


def test_within_indexes_the_same_pixels() -> None:
    array = np.arange(12).reshape(3, 4)
    outer = Window(10, 20, 3, 4)
    assert array[Window(11, 22, 2, 1).within(outer)].tolist() == [[6], [10]]


def test_a_window_outside_cannot_index() -> None:
    with pytest.raises(ValueError, match="does not lie in"):
        Window(0, 0, 2, 2).within(Window(1, 0, 5, 5))


def test_sizes_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="cannot be -1"):
        Window(0, 0, -1, 1)
    with pytest.raises(ValueError, match="cannot be 1 × -1"):
        Window(0, 0, 1, -1)
