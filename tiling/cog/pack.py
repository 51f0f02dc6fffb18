"""Blocks of a raster and of its overviews, packed as a cloud-optimised GeoTIFF holds them: a cell
of the raster in one task, a file of packed blocks from each."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.session import DummySession

from tiling.cog.overviews import halve
from tiling.cog.tiff import COUNTS, OFFSETS, Counts, find, read_bones
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.profiles import BLOCK
from tiling.io.spill import replacing, save_arrays

OPEN_FILES = 16
"""Files of a mosaic that GDAL keeps open at once. Each takes two or three megabytes, and GDAL's own
limit is 450."""
LEVELS = {"mode": 5, "average": 1}
"""Of DEFLATE, by how overviews are made. 6, the usual one, would make a class map a seventh smaller
in three times as long, and percents a fifteenth in three times as long."""
_CELL = 2**24
"""Bytes of pixels of a cell, at most."""


@dataclass(frozen=True)
class Packing:
    """How cells of a raster are packed; travels to workers."""

    source: str
    folder: str
    """Where files of packed blocks go."""
    overviews: str
    """How they are made: see `halve`."""
    images: int
    """The raster and so many overviews less one."""


class Packed(NamedTuple):
    """The packed blocks of a cell: all of the raster's, then those of each overview, each in raster
    order."""

    blocks: Path
    counts: tuple[Counts, ...]
    """Bytes of each block `(row, col)`, of the raster and of each overview."""
    rest: Path
    """One array: the pixels `(band, y, x)` of the overview that comes after."""


def cell_size(bands: int, dtype: str) -> int:
    """Length of a cell in pixels: blocks times a power of two, so that overviews of cells are those
    of the raster."""
    pixels = _CELL / (bands * np.dtype(dtype).itemsize)
    return BLOCK << max(0, min(3, int(np.log2(max(1, pixels)) / 2) - BLOCK.bit_length() + 1))


def environment() -> rasterio.Env:
    """GDAL set up to read a mosaic of many files."""
    return rasterio.Env(session=DummySession(), GDAL_MAX_DATASET_POOL_SIZE=OPEN_FILES)


def pack_cell(packing: Packing, cell: Window) -> Packed:
    """Pack the blocks of a cell of the raster, and of the overviews of that cell."""
    with environment(), open_dataset(packing.source) as raster:
        pixels, nodata = raster.read(window=cell.ranges), raster.nodata
    blocks = Path(packing.folder, f"{cell.row}-{cell.col}.blocks")
    counts = []
    with replacing(blocks) as file:
        for _ in range(packing.images):
            packed, each = pack(pixels, LEVELS[packing.overviews])
            file.write(packed)
            counts.append(each)
            pixels = halve(pixels, packing.overviews, nodata)
    rest = blocks.with_suffix(".npy")
    save_arrays(rest, pixels)
    return Packed(blocks, tuple(counts), rest)


def pack(pixels: npt.NDArray[Any], level: int) -> tuple[bytes, Counts]:
    """`(band, y, x)` pixels as packed blocks one after the other, in raster order, and the bytes
    `(row, col)` of each; `level` is DEFLATE's.

    A block depends on its own pixels alone. What it holds beyond the edge are those of the edge.
    """
    bands, *shape = pixels.shape
    down, across = (-(-length // BLOCK) for length in shape)
    beyond = [(0, n * BLOCK - length) for n, length in zip((down, across), shape, strict=True)]
    padded = np.pad(pixels, [(0, 0), *beyond], mode="edge") if any(map(any, beyond)) else pixels
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=bands, dtype=pixels.dtype, height=down * BLOCK,
            width=across * BLOCK, tiled=True, blockxsize=BLOCK, blockysize=BLOCK,
            interleave="pixel", compress="DEFLATE", zlevel=level, bigtiff="NO",
            transform=Affine.scale(2, -2),  # without one rasterio warns
        ) as target:  # fmt: skip
            target.write(padded)
        content = memory.getbuffer()
        (tags,) = read_bones(content).images
        counts = find(tags, COUNTS)
        blocks = [
            content[place : place + count]
            for place, count in zip(find(tags, OFFSETS), counts, strict=True)
        ]
        return b"".join(blocks), np.array(counts, np.uint32).reshape(down, across)


def read_run(path: Path, start: int, length: int) -> bytes:
    """Some bytes of a file."""
    with open(path, "rb") as file:
        file.seek(start, os.SEEK_SET)
        return file.read(length)
