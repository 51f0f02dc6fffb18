"""How a grid of many images is cut: windows that cut no block of a file, so that each is decoded
once."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt, lcm

from flows.composite.images import Images
from tiling.grid.window import Window
from tiling.io.profiles import BLOCK
from tiling.scene.prefetch import common_block


def cut_grid(images: Images, pixels: int) -> list[Window]:
    """Windows of the grid, of about so many pixels or of one block, in raster order.

    Where the blocks of all images are rows or tiles that fit into each other, none is cut. Images
    on another grid are resampled: their blocks are decoded again where windows meet.
    """
    height, width = images.grid.shape
    tall, wide = _common_block(images)
    if tall * min(wide, width) > max(pixels, BLOCK**2):
        tall, wide = BLOCK, BLOCK  # they do not fit into each other
    if wide >= width:
        rows, cols = max(1, pixels // (width * tall)) * tall, width
    else:
        side = max(1, isqrt(pixels // (tall * wide)))
        rows, cols = side * tall, side * wide
    return list(_windows(height, width, rows, cols))


def _common_block(images: Images) -> tuple[int, int]:
    height, width = images.grid.shape
    tall, wide = 1, 1
    for scene in images.scenes:
        rows, cols = common_block(scene, images.bands)
        tall, wide = lcm(tall, min(rows, height)), lcm(wide, min(cols, width))
    return tall, wide


def _windows(height: int, width: int, rows: int, cols: int) -> Iterator[Window]:
    for row in range(0, height, rows):
        for col in range(0, width, cols):
            yield Window(row, col, min(rows, height - row), min(cols, width - col))
