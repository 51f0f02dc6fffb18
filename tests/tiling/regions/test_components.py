"""Facts about regions and how they unite across seams."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import measure

from tests.chance import dense_rasters
from tests.tiling.rasters import label
from tiling.grid.window import Window
from tiling.polygons.outlines import find_vertices
from tiling.regions.components import OUTSIDE, Border, TileRegions
from tiling.regions.seams import Seams, frame_of

shapes = st.tuples(st.integers(1, 16), st.integers(1, 16))
rasters = hnp.arrays(np.uint8, shapes, elements=st.integers(0, 3), fill=st.nothing()) | hnp.arrays(
    np.uint8, shapes, elements=st.integers(0, 3)
)
tiles = st.integers(1, 17)


def ids_of(classes: npt.NDArray[np.uint8], nodata: int | None = None) -> npt.NDArray[np.int64]:
    """Region id of every pixel, by scikit-image: the index of the first pixel of its region."""
    regions = measure.label(classes.astype(int) + 1, connectivity=1, background=-1).ravel()
    _, first, region = np.unique(regions, return_index=True, return_inverse=True)
    ids = first[region].reshape(classes.shape)
    return ids if nodata is None else np.where(classes == nodata, OUTSIDE, ids)


def cut(
    classes: npt.NDArray[np.uint8], tile: int, nodata: int | None
) -> tuple[dict[tuple[int, int], Window], dict[tuple[int, int], TileRegions]]:
    whole = Window.of_shape(*classes.shape)
    windows = {(w.row // tile, w.col // tile): w for w in whole.blocks(tile)}
    regions = {
        place: TileRegions.of(classes[window.within(whole)], window, classes.shape[1], nodata)
        for place, window in windows.items()
    }
    return windows, regions


@given(rasters)
def test_labels_are_those_of_scikit_image(classes: npt.NDArray[np.uint8]) -> None:
    labels, first = label(classes)
    np.testing.assert_array_equal(first[labels], ids_of(classes))


@given(rasters)
def test_labels_count_up_in_raster_order(classes: npt.NDArray[np.uint8]) -> None:
    labels, first = label(classes)
    assert np.all(np.diff(first) > 0)
    assert set(np.unique(labels)) == set(range(first.size))


@given(classes=rasters, tile=tiles)
def test_outlines_have_vertices_between_what_is_known_beforehand(
    classes: npt.NDArray[np.uint8], tile: int
) -> None:
    labels, first = label(classes)
    vertices = find_vertices(
        np.pad(labels, 1, constant_values=OUTSIDE), Window.of_shape(*classes.shape)
    )
    exact = dict(
        zip(
            first.tolist(), np.bincount(vertices.region, minlength=first.size).tolist(), strict=True
        )
    )
    _, regions = cut(classes, tile, None)
    seams = Seams.between({place: found.border for place, found in regions.items()})
    sides, bends = dict.fromkeys(exact, 0), dict.fromkeys(exact, 0)
    for found in regions.values():
        for region, most, least in zip(
            seams.final_ids(found.ids).tolist(), *found.outlines, strict=True
        ):
            sides[region] += most
            bends[region] += least
    assert all(bends[region] <= exact[region] <= sides[region] for region in exact)


@given(classes=rasters, tile=tiles, nodata=st.sampled_from([None, 0]))
def test_united_tiles_are_the_whole(
    classes: npt.NDArray[np.uint8], tile: int, nodata: int | None
) -> None:
    expected, whole = ids_of(classes, nodata), Window.of_shape(*classes.shape)
    windows, regions = cut(classes, tile, nodata)
    seams = Seams.between({place: found.border for place, found in regions.items()})
    for place, found in regions.items():
        ids = seams.final_ids(found.ids)[found.labels]
        np.testing.assert_array_equal(ids, expected[windows[place].within(whole)])


@given(classes=rasters, tile=tiles, nodata=st.sampled_from([None, 0]))
def test_a_region_crosses_a_seam_iff_several_tiles_hold_it(
    classes: npt.NDArray[np.uint8], tile: int, nodata: int | None
) -> None:
    expected = ids_of(classes, nodata)
    tile_of = np.add.outer(
        np.arange(classes.shape[0]) // tile * 1000, np.arange(classes.shape[1]) // tile
    )
    _, regions = cut(classes, tile, nodata)
    seams = Seams.between({place: found.border for place, found in regions.items()})
    for region in set(np.unique(expected)) - {OUTSIDE}:
        several = np.unique(tile_of[expected == region]).size > 1
        assert seams.crosses(np.array([region]))[0] == several


@settings(max_examples=50)
@given(classes=rasters, tile=tiles)
def test_a_tile_told_only_what_concerns_it_knows_enough(
    classes: npt.NDArray[np.uint8], tile: int
) -> None:
    _, regions = cut(classes, tile, None)
    borders = {place: found.border for place, found in regions.items()}
    seams = Seams.between(borders)
    for place, found in regions.items():
        frame = frame_of(place, borders, seams)
        told = seams.restrict_to(*(side.ids for side in found.border), *frame)
        np.testing.assert_array_equal(told.final_ids(found.ids), seams.final_ids(found.ids))
        for side in frame:
            np.testing.assert_array_equal(told.crosses(side), seams.crosses(side))


@pytest.mark.slow
@given(classes=rasters, tile=tiles, nodata=st.sampled_from([None, 0]))
def test_the_frame_of_a_tile_is_the_pixels_around_it(
    classes: npt.NDArray[np.uint8], tile: int, nodata: int | None
) -> None:
    padded = np.pad(ids_of(classes, nodata), 1, constant_values=OUTSIDE)
    windows, regions = cut(classes, tile, nodata)
    borders = {place: found.border for place, found in regions.items()}
    seams = Seams.between(borders)
    for place, window in windows.items():
        around = padded[window.pad(1).within(Window.of_shape(*classes.shape).pad(1))]
        frame = frame_of(place, borders, seams)
        for side, index in zip(
            frame, (np.s_[0], np.s_[-1], np.s_[1:-1, 0], np.s_[1:-1, -1]), strict=True
        ):
            np.testing.assert_array_equal(side, around[index])


def test_a_horseshoe_is_one_region_though_two_tiles_see_two() -> None:
    classes = np.array([[1, 0, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
    _, regions = cut(classes, 2, None)
    assert sorted(regions[0, 0].ids) == [0, 1]
    seams = Seams.between({place: found.border for place, found in regions.items()})
    np.testing.assert_array_equal(seams.final_ids(np.array([0, 2, 6, 8])), [0, 0, 0, 0])
    assert not seams.crosses(np.array([1]))[0], "the middle lies within one tile"


def test_diagonal_pixels_are_two_regions() -> None:
    assert label(np.eye(2, dtype=np.uint8))[1].size == 4


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32])
def test_classes_may_be_negative_or_large(dtype: type) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    regions = TileRegions.of(
        np.array([[low, high], [low, 5]], dtype), Window(0, 0, 2, 2), 2, nodata=5
    )
    assert regions.class_id.tolist() == [low, high, 5]
    assert regions.ids.tolist() == [0, 1, OUTSIDE]


def test_a_border_is_the_outermost_pixels() -> None:
    classes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    border = TileRegions.of(classes, Window(3, 4, 3, 4), 100, None).border
    assert isinstance(border, Border)
    assert [side.class_id.tolist() for side in border] == [
        [0, 1, 2, 3],
        [8, 9, 10, 11],
        [0, 4, 8],
        [3, 7, 11],
    ]
    assert border.left.ids.tolist() == [304, 404, 504]


@settings(max_examples=50)
@given(classes=rasters, tile=tiles)
def test_groups_united_across_seams_are_eight_connected(
    classes: npt.NDArray[np.uint8], tile: int
) -> None:
    expected = measure.label(classes.astype(int) + 1, connectivity=2, background=-1).ravel()
    _, first, group = np.unique(expected, return_index=True, return_inverse=True)
    whole = Window.of_shape(*classes.shape)
    windows, regions = cut(classes, tile, None)
    seams = Seams.between(
        {place: replace(found, ids=found.groups).border for place, found in regions.items()},
        connectivity=8,
    )
    for place, found in regions.items():
        ids = seams.final_ids(found.groups)[found.labels]
        np.testing.assert_array_equal(
            ids, first[group].reshape(classes.shape)[windows[place].within(whole)]
        )


@settings(max_examples=50)
@given(classes=rasters, tile=st.integers(1, 4))
def test_regions_united_inside_cells_are_those_of_each_cell_alone(
    classes: npt.NDArray[np.uint8], tile: int
) -> None:
    whole, width = Window.of_shape(*classes.shape), classes.shape[1]
    windows, regions = cut(classes, tile, None)
    cells = {(row, col): (row // 3, col // 2) for row, col in windows}
    seams = Seams.between({place: found.border for place, found in regions.items()}, cells=cells)
    ids = np.empty(classes.shape, int)
    for place, found in regions.items():
        ids[windows[place].within(whole)] = seams.final_ids(found.ids)[found.labels]
    for row in range(0, classes.shape[0], 3 * tile):
        for col in range(0, width, 2 * tile):
            cell = Window(row, col, 3 * tile, 2 * tile) & whole
            local = ids_of(classes[cell.within(whole)])
            expected = (cell.row + local // cell.width) * width + cell.col + local % cell.width
            np.testing.assert_array_equal(ids[cell.within(whole)], expected)


@pytest.mark.slow
@pytest.mark.parametrize("nodata", [None, 0])
def test_all_of_it_holds_of_rasters_full_of_small_regions(nodata: int | None) -> None:
    """Where every tile has much to join, which hypothesis seldom draws."""
    for classes, chance in dense_rasters(60):
        tile = int(chance.integers(2, 9))
        test_united_tiles_are_the_whole.hypothesis.inner_test(classes, tile, nodata)
        test_a_region_crosses_a_seam_iff_several_tiles_hold_it.hypothesis.inner_test(
            classes, tile, nodata
        )
        test_the_frame_of_a_tile_is_the_pixels_around_it.hypothesis.inner_test(
            classes, tile, nodata
        )
        if nodata is None:
            test_labels_are_those_of_scikit_image.hypothesis.inner_test(classes)
            test_outlines_have_vertices_between_what_is_known_beforehand.hypothesis.inner_test(
                classes, tile
            )
            test_a_tile_told_only_what_concerns_it_knows_enough.hypothesis.inner_test(classes, tile)
            test_groups_united_across_seams_are_eight_connected.hypothesis.inner_test(classes, tile)
            test_regions_united_inside_cells_are_those_of_each_cell_alone.hypothesis.inner_test(
                classes, min(tile, 4)
            )
