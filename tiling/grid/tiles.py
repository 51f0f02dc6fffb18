"""How a grid is cut: cores that partition it, chips that overlap, shards that travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tiling.grid.window import Window

_BLENDED = 4
"""Tiles along a shard whose chips are blended, at least: it computes one more at each end."""


@dataclass(frozen=True, slots=True)
class Tile:
    """What a segmenter sees at once: `core`, the pixels it owns, inside `chip`, those it looks at.

    Cores end at the raster's edge; chips have one shape in the whole lattice and may reach past the
    edge.
    """

    core: Window
    chip: Window


@dataclass(frozen=True, slots=True)
class Shard:
    """A block of tiles: the unit that is sent to a worker, written, retried and resumed.

    `tiles` are those it computes, in raster order: they own the pixels of `core`, or their chips
    reach into it.
    """

    row: int
    col: int
    core: Window
    tiles: tuple[Tile, ...]

    @property
    def name(self) -> str:
        return f"r{self.row:04d}c{self.col:04d}"

    @property
    def window(self) -> Window:
        """Every pixel its tiles look at; may reach past the raster."""
        window = self.tiles[0].chip
        for tile in self.tiles[1:]:
            window |= tile.chip
        return window


def core_size(length: int, target: int, stride: int) -> int:
    """Length of the cores along one axis: near `target`, equal for all but the last, a multiple of
    `stride`.

    >>> core_size(4096, 1024, 32), core_size(1500, 1024, 32), core_size(1, 1024, 32)
    (1024, 1504, 32)
    """
    n = max(1, length // target)
    return -(-length // (n * stride)) * stride


@dataclass(frozen=True, slots=True)
class Shards:
    """Some rows and columns of a lattice's shards, in raster order, each made when it is asked for.

    However many they are, this is a few numbers.
    """

    lattice: TileGrid
    rows: range
    cols: range

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def __getitem__(self, index: int) -> Shard:
        row, col = divmod(range(len(self))[index], len(self.cols))
        return self.lattice.shard_at(self.rows[row], self.cols[col])

    def __iter__(self) -> Iterator[Shard]:
        return map(self.__getitem__, range(len(self)))


@dataclass(frozen=True)
class TileGrid:
    """A raster of `height` × `width` px cut into tiles and shards, anchored at pixel (0, 0).

    The tiles follow from `tile`, `margin` and `stride` alone. `shard` only says how many of them
    travel together and changes no pixel. `margin` is rounded up to the `stride`, and so is every
    core: a network is shift-invariant only modulo its stride, so every chip must start at a
    multiple of it.

    With `blend` chips are put together where they overlap. All have the size that `tile` and
    `margin` say, whatever the raster's, and a shard also computes the chips around it that reach
    into its core; it is no smaller than 4 tiles, or most of its chips would be those. They may
    begin anywhere, but their length is whole strides: `margin` is what is rounded up.
    """

    height: int
    width: int
    tile: int
    margin: int = 0
    stride: int = 1
    shard: int = 2048
    blend: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.tile, self.stride, self.shard) < 1 or self.margin < 0:
            raise ValueError(f"no lattice has these sizes: {self}")

    @property
    def whole(self) -> Window:
        return Window.of_shape(self.height, self.width)

    @cached_property
    def core_shape(self) -> tuple[int, int]:
        if self.blend:
            # else no margin makes whole strides
            core = self.tile + (self.tile % 2 if self.stride % 2 == 0 else 0)
            return core, core
        return core_size(self.height, self.tile, self.stride), core_size(
            self.width, self.tile, self.stride
        )

    @cached_property
    def chip_shape(self) -> tuple[int, int]:
        margin = self._margin
        return self.core_shape[0] + 2 * margin, self.core_shape[1] + 2 * margin

    @cached_property
    def _margin(self) -> int:
        if self.blend:
            longer = range(self.margin, self.margin + self.stride)
            return next(
                margin for margin in longer if (self.core_shape[0] + 2 * margin) % self.stride == 0
            )
        return -(-self.margin // self.stride) * self.stride

    @cached_property
    def tile_grid(self) -> tuple[int, int]:
        """Number of tiles (down, across)."""
        return -(-self.height // self.core_shape[0]), -(-self.width // self.core_shape[1])

    @cached_property
    def _tiles_per_shard(self) -> tuple[int, int]:
        height, width = self.core_shape
        least = _BLENDED if self.blend else 1
        return max(least, round(self.shard / height)), max(least, round(self.shard / width))

    @cached_property
    def shard_grid(self) -> tuple[int, int]:
        """Number of shards (down, across)."""
        (tiles_down, tiles_across), (down, across) = self.tile_grid, self._tiles_per_shard
        return -(-tiles_down // down), -(-tiles_across // across)

    def tile_at(self, row: int, col: int) -> Tile:
        """The tile in row `row` and column `col` of the tile grid."""
        (height, width) = self.core_shape
        full = Window(row * height, col * width, height, width)
        return Tile(core=full & self.whole, chip=full.pad(self._margin))

    def shard_at(self, row: int, col: int) -> Shard:
        """The shard in row `row` and column `col` of the shard grid."""
        (down, across), (tiles_down, tiles_across) = self._tiles_per_shard, self.tile_grid
        rows = range(row * down, min((row + 1) * down, tiles_down))
        cols = range(col * across, min((col + 1) * across, tiles_across))
        core = self.tile_at(rows[0], cols[0]).core | self.tile_at(rows[-1], cols[-1]).core
        if self.blend:
            rows = self._reaching(rows, self.core_shape[0], tiles_down)
            cols = self._reaching(cols, self.core_shape[1], tiles_across)
        return Shard(row, col, core, tuple(self.tile_at(i, j) for i in rows for j in cols))

    def _reaching(self, owned: range, core: int, count: int) -> range:
        """The tiles along one axis of `count` whose chips reach into the `owned` cores."""
        around = -(-self._margin // core)
        return range(max(0, owned.start - around), min(count, owned.stop + around))

    def shards(self, within: Window | None = None) -> Shards:
        """The shards in raster order; with `within`, only those whose core meets that window."""
        (core_height, core_width), (down, across), (rows, cols) = (
            self.core_shape,
            self._tiles_per_shard,
            self.shard_grid,
        )
        window = self.whole if within is None else within & self.whole
        if not window:
            return Shards(self, range(0), range(0))
        height, width = core_height * down, core_width * across
        return Shards(
            self,
            range(window.row // height, min(rows, -(-window.row_stop // height))),
            range(window.col // width, min(cols, -(-window.col_stop // width))),
        )

    def __len__(self) -> int:
        """Number of tiles."""
        return self.tile_grid[0] * self.tile_grid[1]
