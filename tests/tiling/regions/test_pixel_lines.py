"""Lines through pixels: every link of a mask is on one line, and no cut shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiling.grid.window import Window
from tiling.regions.pixel_lines import PADDING, PixelLines, trace_lines

Pixel = tuple[int, int]


def trace(mask: np.ndarray, cell: Window | None = None) -> list[list[Pixel]]:
    """The lines of a cell of a mask, each as its pixels."""
    cell = cell or Window.of_shape(*mask.shape)
    padded = np.pad(mask, PADDING + 64)
    rows, cols = cell.pad(PADDING).shift(PADDING + 64, PADDING + 64).ranges
    return lines_of(trace_lines(padded[slice(*rows), slice(*cols)], cell))


def lines_of(found: PixelLines) -> list[list[Pixel]]:
    pixels = list(zip(found.rows.tolist(), found.cols.tolist(), strict=True))
    return [pixels[a:b] for a, b in itertools.pairwise(found.starts.tolist())]


def links_of(mask: np.ndarray) -> set[frozenset[Pixel]]:
    """Pairs of linked pixels, by a slow loop."""
    pixels = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    pairs = set()
    for r, c in pixels:
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            other = r + down, c + right
            corner = down and right and ({(r + down, c), (r, c + right)} & pixels)
            if other in pixels and other != (r, c) and not corner:
                pairs.add(frozenset([(r, c), other]))
    return pairs


def links_along(lines: list[list[Pixel]]) -> list[frozenset[Pixel]]:
    return [frozenset(pair) for line in lines for pair in itertools.pairwise(line)]


masks = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=60)
@given(masks)
def test_each_link_is_on_one_line_and_lines_end_at_ends_and_forks(mask: np.ndarray) -> None:
    lines, links = trace(mask), links_of(mask)
    along = links_along(lines)
    assert len(along) == len(set(along))
    assert set(along) == links
    degree = {pixel: sum(pixel in link for link in links) for link in links for pixel in link}
    for line in lines:
        assert all(degree[pixel] == 2 for pixel in line[1:-1])
        assert line[0] == line[-1] or (degree[line[0]] != 2 and degree[line[-1]] != 2)


@settings(max_examples=40)
@given(masks, st.integers(1, 7))
def test_cells_share_the_links_of_the_whole(mask: np.ndarray, side: int) -> None:
    cells = Window.of_shape(*mask.shape).blocks(side)
    along = [link for cell in cells for link in links_along(trace(mask, cell))]
    assert len(along) == len(set(along))
    assert set(along) == links_of(mask)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ("###", [[(0, 0), (0, 1), (0, 2)]]),
        ("#..|.#.|..#", [[(0, 0), (1, 1), (2, 2)]]),
        (".#.|#.#|.#.", [[(0, 1), (1, 0), (2, 1), (1, 2), (0, 1)]]),
        ("#", []),
    ],
)
def test_a_stroke_a_slope_a_ring_and_a_dot(drawn: str, expected: list[list[Pixel]]) -> None:
    mask = np.array([[sign == "#" for sign in row] for row in drawn.split("|")])
    assert trace(mask) == expected
