"""Sums over overlapping chips: those of the whole raster, whatever the shard and however few rows
are in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from tests.chance import chances
from tiling.grid.blending import overlap_add
from tiling.grid.tiles import Shard, Tile, TileGrid

lattices = st.builds(
    TileGrid,
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    tile=st.integers(8, 40),
    margin=st.integers(0, 50),
    stride=st.sampled_from([1, 4, 8]),
    shard=st.integers(1, 120),
    blend=st.just(True),
)


def scores_of(tile: Tile) -> npt.NDArray[np.float32] | None:
    """Two layers of any values at all; every eleventh tile has none."""
    dice = np.random.default_rng((tile.chip.row + 1000, tile.chip.col + 1000))
    return None if dice.integers(11) == 0 else dice.random((2, *tile.chip.shape), np.float32)


def sums_of(shard: Shard) -> npt.NDArray[np.float32]:
    out = np.full((2, *shard.core.shape), np.nan, np.float32)
    for window, total in overlap_add(shard.core, shard.tiles, map(scores_of, shard.tiles)):
        assert (window.col, window.width) == (shard.core.col, shard.core.width)
        out[:, *window.within(shard.core)] = 0 if total is None else total
    return out


@given(lattices)
def test_sums_are_those_of_the_whole_raster_to_the_last_bit(lattice: TileGrid) -> None:
    whole = np.zeros((2, lattice.height, lattice.width), np.float32)
    down, across = lattice.tile_grid
    for row in range(down):
        for col in range(across):
            tile = lattice.tile_at(row, col)
            here = tile.chip & lattice.whole
            if (added := scores_of(tile)) is not None:
                whole[:, *here.within(lattice.whole)] += added[:, *here.within(tile.chip)]
    for shard in lattice.shards():
        assert np.array_equal(sums_of(shard), whole[:, *shard.core.within(lattice.whole)])


@given(lattices)
def test_strips_come_as_soon_as_no_later_chip_reaches_them(lattice: TileGrid) -> None:
    for shard in lattice.shards():
        taken: list[Tile] = []

        def scores(tiles: tuple[Tile, ...] = shard.tiles, taken: list[Tile] = taken) -> object:
            for tile in tiles:
                taken.append(tile)
                yield scores_of(tile)

        below = shard.core.row
        for window, total in overlap_add(shard.core, shard.tiles, scores()):  # type: ignore[arg-type]
            assert window.row == below
            below = window.row_stop
            assert below <= max(taken[-1].chip.row, shard.core.row) or below == shard.core.row_stop
            assert total is None or total.shape[1:] == window.shape
        assert below == shard.core.row_stop


@given(lattices)
def test_a_shard_computes_just_the_chips_that_reach_into_its_core(lattice: TileGrid) -> None:
    down, across = lattice.tile_grid
    every = [lattice.tile_at(row, col) for row in range(down) for col in range(across)]
    for shard in lattice.shards():
        assert list(shard.tiles) == [tile for tile in every if tile.chip & shard.core]


@given(lattices, st.integers(1, 200), st.integers(1, 200))
def test_chips_that_are_blended_have_one_size_whatever_the_rasters(
    lattice: TileGrid, height: int, width: int
) -> None:
    other = TileGrid(height, width, lattice.tile, lattice.margin, lattice.stride, 50, blend=True)
    assert other.chip_shape == lattice.chip_shape
    assert other.tile_at(0, 0).chip == lattice.tile_at(0, 0).chip
    assert sum(shard.core.area for shard in other.shards()) == height * width


def test_all_of_it_holds_where_many_chips_overlap_in_many_shards() -> None:
    for chance in chances(40):
        height, width = (int(length) for length in chance.integers(40, 90, 2))
        tile, margin, stride, shard = (
            int(chance.integers(*ends)) for ends in ((8, 16), (4, 30), (1, 5), (8, 40))
        )
        lattice = TileGrid(height, width, tile, margin, stride, shard, blend=True)
        test_sums_are_those_of_the_whole_raster_to_the_last_bit.hypothesis.inner_test(lattice)
        test_strips_come_as_soon_as_no_later_chip_reaches_them.hypothesis.inner_test(lattice)
        test_a_shard_computes_just_the_chips_that_reach_into_its_core.hypothesis.inner_test(lattice)
