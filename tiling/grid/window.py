"""A rectangle of pixels: the value every other module in this room passes around."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, order=True, slots=True)
class Window:
    """The pixels of rows `row … row + height - 1` and columns `col … col + width - 1`.

    Offsets may be negative and may reach past a raster: a chip's margin does. Sizes are at least 0.
    """

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 0 or self.width < 0:
            raise ValueError(f"a window cannot be {self.height} × {self.width} px")

    def __str__(self) -> str:
        return f"rows {self.row}–{self.row_stop - 1}, columns {self.col}–{self.col_stop - 1}"

    @classmethod
    def of_shape(cls, height: int, width: int) -> Window:
        """The window of a whole raster."""
        return cls(0, 0, height, width)

    @property
    def row_stop(self) -> int:
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def __bool__(self) -> bool:
        return self.area > 0

    def __and__(self, other: Window) -> Window:
        """The pixels of both; an empty window where they do not meet."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        return Window(
            row,
            col,
            max(0, min(self.row_stop, other.row_stop) - row),
            max(0, min(self.col_stop, other.col_stop) - col),
        )

    def __or__(self, other: Window) -> Window:
        """The smallest window that holds both."""
        row, col = min(self.row, other.row), min(self.col, other.col)
        return Window(
            row,
            col,
            max(self.row_stop, other.row_stop) - row,
            max(self.col_stop, other.col_stop) - col,
        )

    def __contains__(self, other: Window) -> bool:
        return (self & other) == other

    def pad(self, margin: int) -> Window:
        """This window with `margin` more pixels on each side."""
        return Window(
            self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin
        )

    def shift(self, rows: int, cols: int) -> Window:
        """This window `rows` further down and `cols` further right."""
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Index of these pixels in an array that holds the pixels of `outer`: `array[...,
        *window.within(outer)]`."""
        if self not in outer:
            raise ValueError(f"{self} does not lie in {outer}")
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)

    def on_grid(self, size: int) -> Window:
        """The smallest window that holds this one and begins and ends on the fixed grid of `size`
        px from (0, 0)."""
        row, col = self.row // size * size, self.col // size * size
        return Window(
            row, col, -(-self.row_stop // size) * size - row, -(-self.col_stop // size) * size - col
        )

    @property
    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """`((row, row_stop), (col, col_stop))`: what rasterio takes as a window."""
        return (self.row, self.row_stop), (self.col, self.col_stop)

    def blocks(self, size: int) -> Iterator[Window]:
        """This window cut along the fixed grid of `size` px that starts at (0, 0), in raster
        order."""
        for row in range(self.row // size * size, self.row_stop, size):
            for col in range(self.col // size * size, self.col_stop, size):
                yield Window(row, col, size, size) & self
