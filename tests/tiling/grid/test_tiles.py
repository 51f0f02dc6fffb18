from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiling.grid.tiles import TileGrid, core_size
from tiling.grid.window import Window

lattices = st.builds(
    TileGrid,
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    tile=st.integers(8, 60),
    margin=st.integers(0, 70),
    stride=st.sampled_from([1, 2, 8, 32]),
    shard=st.integers(1, 120),
)


@given(lattices)
def test_cores_partition_the_raster(lattice: TileGrid) -> None:
    tiles = [tile for shard in lattice.shards() for tile in shard.tiles]
    assert sum(tile.core.area for tile in tiles) == lattice.whole.area
    assert all(tile.core in lattice.whole and tile.core for tile in tiles)
    assert len({(tile.core.row, tile.core.col) for tile in tiles}) == len(tiles) == len(lattice)


@given(lattices)
def test_shards_partition_the_raster_and_hold_their_tiles(lattice: TileGrid) -> None:
    shards = list(lattice.shards())
    assert sum(shard.core.area for shard in shards) == lattice.whole.area
    assert len({shard.name for shard in shards}) == len(shards)
    for shard in shards:
        assert sum(tile.core.area for tile in shard.tiles) == shard.core.area
        assert all(tile.core in shard.core and tile.chip in shard.window for tile in shard.tiles)


@given(lattices, st.integers(-20, 150), st.integers(0, 150))
def test_shards_are_counted_and_found_without_being_made(
    lattice: TileGrid, row: int, height: int
) -> None:
    shards = lattice.shards(Window(row, 0, height, 90))
    assert [shards[i] for i in range(len(shards))] == list(shards)
    with pytest.raises(IndexError):
        shards[len(shards)]


@given(lattices, st.data())
def test_the_shards_of_a_window_are_those_it_touches_and_no_others(
    lattice: TileGrid, data: st.DataObject
) -> None:
    """Windows that end on an edge of a shard are drawn as often as others."""
    shards = list(lattice.shards())
    rows = sorted(
        {edge for s in shards for edge in (s.core.row, s.core.row_stop)} | {0, lattice.height // 2}
    )
    cols = sorted(
        {edge for s in shards for edge in (s.core.col, s.core.col_stop)} | {0, lattice.width // 2}
    )
    row, row_stop = sorted(data.draw(st.lists(st.sampled_from(rows), min_size=2, max_size=2)))
    col, col_stop = sorted(data.draw(st.lists(st.sampled_from(cols), min_size=2, max_size=2)))
    window = Window(row, col, row_stop - row, col_stop - col)
    assert list(lattice.shards(window)) == [shard for shard in shards if shard.core & window]


@pytest.mark.parametrize(
    "wrong",
    [{name: 0} for name in ("height", "width", "tile", "stride", "shard")] + [{"margin": -1}],
)
def test_sizes_that_make_no_lattice_are_refused(wrong: dict[str, int]) -> None:
    sizes = {"height": 10, "width": 10, "tile": 8, "margin": 0, "stride": 1, "shard": 8}
    TileGrid(**sizes)
    with pytest.raises(ValueError, match="no lattice has these sizes"):
        TileGrid(**{**sizes, **wrong})


@given(lattices)
def test_chips_have_one_shape_start_on_the_stride_and_see_the_margin(lattice: TileGrid) -> None:
    for shard in lattice.shards():
        for tile in shard.tiles:
            assert tile.chip.shape == lattice.chip_shape
            assert tile.chip.row % lattice.stride == tile.chip.col % lattice.stride == 0
            around = tile.core.pad(lattice.margin) & lattice.whole
            assert around in tile.chip


@given(lattices)
def test_blended_chips_have_one_shape_of_whole_strides_and_begin_anywhere(
    lattice: TileGrid,
) -> None:
    blended = replace(lattice, blend=True)
    (height, width), (length, _) = blended.chip_shape, blended.core_shape
    assert height == width
    assert height % lattice.stride == 0
    assert lattice.tile <= length <= lattice.tile + 1
    assert lattice.margin <= (height - length) // 2 < lattice.margin + lattice.stride
    owned = [
        tile.core for shard in blended.shards() for tile in shard.tiles if tile.core in shard.core
    ]
    assert sum(core.area for core in owned) == lattice.whole.area
    for shard in blended.shards():
        for tile in shard.tiles:
            assert tile.chip.shape == blended.chip_shape
            assert tile.core.pad(lattice.margin) in tile.chip
            assert tile.chip & shard.core


@given(lattices, st.integers(1, 300))
def test_tiles_do_not_depend_on_the_shard(lattice: TileGrid, shard: int) -> None:
    other = TileGrid(
        lattice.height, lattice.width, lattice.tile, lattice.margin, lattice.stride, shard
    )
    ours, theirs = ({t for s in each.shards() for t in s.tiles} for each in (lattice, other))
    assert ours == theirs


@given(
    lattices, st.integers(-20, 150), st.integers(-20, 150), st.integers(0, 90), st.integers(0, 90)
)
def test_a_window_picks_just_the_shards_it_meets(
    lattice: TileGrid, row: int, col: int, height: int, width: int
) -> None:
    window = Window(row, col, height, width)
    expected = [shard for shard in lattice.shards() if shard.core & window]
    assert list(lattice.shards(window)) == expected


@given(st.integers(1, 100_000), st.integers(1, 4096), st.sampled_from([1, 32]))
def test_cores_are_near_the_target_and_waste_little(length: int, target: int, stride: int) -> None:
    core = core_size(length, target, stride)
    assert core % stride == 0
    if length >= target:
        assert target <= core < 2 * target + stride
    else:
        assert core < length + stride


def test_a_small_scene_gets_one_small_chip() -> None:
    lattice = TileGrid(height=1, width=1, tile=1024, margin=64, stride=32)
    assert lattice.chip_shape == (160, 160)
    assert len(lattice) == 1


def test_a_hundred_thousand_squared_is_cut_without_listing_it() -> None:
    lattice = TileGrid(height=100_000, width=100_000, tile=1024, shard=2048)
    assert len(lattice) == 97 * 97
    assert lattice.shards(Window(99_999, 99_999, 1, 1))[0].core.row_stop == 100_000
