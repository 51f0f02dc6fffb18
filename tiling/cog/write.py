"""A raster as a cloud-optimised GeoTIFF."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine

from tiling.cog.pack import Packed, Packing, cell_size, environment, pack_cell, read_run
from tiling.cog.tiff import Bones, Counts, Image, head_of, read_bones, resize
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.profiles import BLOCK, PLAIN
from tiling.io.spill import Map, load_arrays


def write_cog(source: Path, target: Path, *, overviews: str, map: Map = map) -> None:
    """Copy a raster into a COG: 512-px blocks, DEFLATE, overviews by `overviews` ("mode",
    "average"; see `halve`).

    The raster has no mask but its no data. `map` packs cells of it and keeps their order; the bytes
    do not depend on who packs. The file and the `.aux.xml` beside it (GeoTIFF itself has no place
    for category names) appear whole.
    """
    with scratch(target.parent) as folder, environment():
        bones = _describe(source, folder / target.name, overviews)
        levels = list(_pack(source, folder, overviews, map))
        tags = [bones.images[0], *[bones.images[1]] * (len(levels) - 1)]
        images = [
            Image(resize(each, *level.shape), level.counts.ravel())
            for each, level in zip(tags, levels, strict=True)
        ]
        with open(folder / target.name, "wb") as file:
            file.write(head_of(bones.ghost, images))
            for level in reversed(levels):
                file.writelines(level.blocks())
        # the .aux.xml first, the raster last
        for name in (f"{target.name}.aux.xml", target.name):
            if (folder / name).exists():
                (folder / name).replace(target.with_name(name))


@dataclass(frozen=True)
class _Level:
    """The raster or one of its overviews, packed."""

    shape: tuple[int, int]
    cells: Sequence[Sequence[Packed]]
    """In rows."""
    image: int
    """Which of those that a cell holds."""

    @property
    def counts(self) -> Counts:
        """Bytes of each block `(row, col)`."""
        rows = [np.hstack([cell.counts[self.image] for cell in row]) for row in self.cells]
        return np.vstack(rows)

    def blocks(self) -> Iterator[bytes]:
        """Each block in raster order, between its length and its last four bytes."""
        for row in self.cells:
            for number in range(len(row[0].counts[self.image])):
                for cell in row:
                    yield from self._blocks_of(cell, number)

    def _blocks_of(self, cell: Packed, row: int) -> Iterator[bytes]:
        counts = cell.counts[self.image]
        before = sum(int(each.sum()) for each in (*cell.counts[: self.image], counts[:row]))
        content, place = read_run(cell.blocks, before, int(counts[row].sum())), 0
        for count in counts[row].tolist():
            block = content[place : place + count]
            place += count
            yield struct.pack("<I", count) + block + block[-4:]


def _describe(source: Path, small: Path, overviews: str) -> Bones:
    """What GDAL's COG driver writes of a raster besides its pixels, the raster's own tags and those
    of an overview; its `.aux.xml` is left beside `small`, which is overwritten later.

    The driver is given a small raster that says the same of itself and shows nothing.
    """
    shown = small.with_suffix(".small.vrt")
    if source.suffix == ".vrt":
        root = ElementTree.parse(source).getroot()
    else:
        rasterio.shutil.copy(str(source), str(shown), driver="VRT")
        root = ElementTree.parse(shown).getroot()
    root.attrib |= dict.fromkeys(("rasterXSize", "rasterYSize"), str(2 * BLOCK))
    for band in root.iter("VRTRasterBand"):
        for child in [child for child in band if child.tag.endswith("Source")]:
            band.remove(child)
    ElementTree.ElementTree(root).write(shown)
    rasterio.shutil.copy(
        str(shown), str(small), driver="COG", BLOCKSIZE=BLOCK, COMPRESS="DEFLATE",
        OVERVIEW_RESAMPLING=overviews.upper(), BIGTIFF="NO",
    )  # fmt: skip
    return read_bones(small.read_bytes())


def _pack(source: Path, folder: Path, overviews: str, map: Map) -> Iterator[_Level]:
    """The raster and its overviews, packed, until one fits into a block."""
    work = folder / source.stem
    with open_dataset(str(source)) as raster:
        shape, size = raster.shape, cell_size(raster.count, raster.dtypes[0])
        like = {"count": raster.count, "dtype": raster.dtypes[0], "nodata": raster.nodata}
    missing = 1 + _halvings(shape)
    while missing:
        work = work.with_name(f"{work.name}-{missing}")
        work.mkdir()
        images = min(missing, (size // BLOCK).bit_length())
        packing = Packing(str(source), str(work), overviews, images)
        windows = list(Window.of_shape(*shape).blocks(size))
        packed = list(map(partial(pack_cell, packing), windows))
        across = -(-shape[1] // size)
        rows = [packed[start : start + across] for start in range(0, len(packed), across)]
        for image in range(images):
            yield _Level(shape, rows, image)
            shape = -(-shape[0] // 2), -(-shape[1] // 2)
        missing -= images
        if missing:
            source = _join_rests(rows, shape, size >> images, work.with_suffix(".tif"), like)


def _halvings(shape: tuple[int, int]) -> int:
    """How often a raster is halved until it fits into a block."""
    return max(0, (max(shape) - 1) // BLOCK).bit_length()


def _join_rests(
    rows: Sequence[Sequence[Packed]],
    shape: tuple[int, int],
    size: int,
    path: Path,
    like: dict[str, Any],
) -> Path:
    """The overview that comes after those that are packed, of cells of `size` px, as a raster."""
    profile = PLAIN | like | {"height": shape[0], "width": shape[1]}
    with rasterio.open(path, "w", transform=Affine.scale(2, -2), **profile) as out:
        for row, cells in enumerate(rows):
            for col, cell in enumerate(cells):
                (pixels,) = load_arrays(cell.rest, 1)
                window = Window(row * size, col * size, *pixels.shape[1:])
                out.write(pixels, window=window.ranges)
    return path
