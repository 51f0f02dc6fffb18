"""Facts about outlines: rings close, however the pixels are cut into windows and whoever walks the
lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features

from tests.tiling.rasters import label
from tiling.grid.window import Window
from tiling.polygons.outlines import (
    CLOSED,
    Lines,
    Rings,
    connect,
    find_lines,
    find_vertices,
    ragged_index,
)
from tiling.regions.components import OUTSIDE

Array = npt.NDArray[Any]

rasters = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.integers(0, 2),
    fill=st.nothing(),
)


def whole(classes: Array) -> tuple[Lines, Array]:
    """The lines of a raster seen at once, and its labels with a frame of nothing."""
    around = np.pad(label(classes)[0], 1, constant_values=OUTSIDE)
    return find_lines(around, Window.of_shape(*classes.shape)), around


def same(one: Rings, other: Rings) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def gathered(parts: list[Lines]) -> Lines:
    region, comes, leaves, offsets, row, col, node = zip(*parts, strict=True)
    sizes = np.concatenate([np.diff(some) for some in offsets])
    rest = (np.concatenate(some) for some in (row, col, node))
    return Lines(
        np.concatenate(region),
        np.concatenate(comes),
        np.concatenate(leaves),
        np.append(0, np.cumsum(sizes)),
        *rest,
    )


@given(rasters)
def test_rings_of_a_whole_raster_are_closed_and_are_gdals(classes: Array) -> None:
    lines, around = whole(classes)
    assert (lines.comes == CLOSED).all()
    rings = connect(lines)
    xy = np.stack([rings.col, rings.row], axis=1).astype(float)
    found = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, xy, (rings.rings, rings.regions)
    )
    expected = features.shapes(around[1:-1, 1:-1], connectivity=4)
    by_label = {int(value): shapely.geometry.shape(outline) for outline, value in expected}
    assert shapely.is_valid(found).all()
    assert all(shapely.equals(shape, by_label[region]) for region, shape in enumerate(found))


@settings(max_examples=200)
@given(classes=rasters, cut=st.tuples(st.integers(1, 12), st.integers(1, 12)), data=st.data())
def test_lines_of_windows_join_to_the_rings_of_the_whole(
    classes: Array, cut: tuple[int, int], data: st.DataObject
) -> None:
    lines, around = whole(classes)
    height, width = classes.shape
    shared = np.ones(int(around.max()) + 1, bool)
    parts = []
    for row in range(0, height, cut[0]):
        for col in range(0, width, cut[1]):
            window = Window(row, col, min(cut[0], height - row), min(cut[1], width - col))
            some = around[row : window.row_stop + 2, col : window.col_stop + 2]
            last = window.row_stop == height, window.col_stop == width
            parts.append(find_lines(some, window, shared, last=last))
    assert sum(part.row.size for part in parts) == lines.row.size, (
        "every vertex belongs to one window"
    )
    joined = connect(gathered(data.draw(st.permutations(parts))))
    assert same(joined, connect(lines))


@pytest.mark.slow
@given(rasters)
def test_lines_may_be_chosen(classes: Array) -> None:
    lines, _ = whole(classes)
    for region in range(int(lines.region.max()) + 1):
        assert same(connect(alone(lines, region)), connect(lines).where(np.array([region])))


def alone(lines: Lines, region: int) -> Lines:
    own = lines.where(np.flatnonzero(lines.region == region))
    return own._replace(region=np.zeros_like(own.region))


def test_the_end_of_a_line_that_is_missing_is_noticed() -> None:
    around = np.pad(np.zeros((4, 4), np.int32), 1, constant_values=OUTSIDE)
    left = find_lines(around[:, :4], Window(0, 0, 4, 2), np.array([True]), last=(True, False))
    right = find_lines(around[:, 2:], Window(0, 2, 4, 2), np.array([True]))
    assert connect(gathered([left, right])).rings.tolist() == [0, 5]
    with pytest.raises(RuntimeError, match="does not close"):
        connect(left)


def test_a_vertex_is_told_by_its_arms() -> None:
    around = np.pad(np.array([[0, 0], [1, 2]], np.int32), 1, constant_values=OUTSIDE)
    row, col, node, point, region, comes, leaves = find_vertices(around, Window(0, 0, 2, 2))
    middle = point == np.flatnonzero((row == 1) & (col == 1))[0]
    turns = {
        r: (c, le) for r, c, le in zip(region[middle], comes[middle], leaves[middle], strict=True)
    }
    north, east, south, west = range(4)
    assert turns == {0: (west, east), 1: (south, west), 2: (east, south)}
    assert north not in leaves[middle]
    assert node.all(), "three regions meet, or the frame is near"


def test_ragged_lists_the_members_of_groups() -> None:
    assert ragged_index(np.array([0, 2, 2, 5]), np.array([2, 0, 1, 2])).tolist() == [
        2,
        3,
        4,
        0,
        1,
        2,
        3,
        4,
    ]
