"""A shard's chips, in order, decoded ahead by a few readers; remote files that are better fetched
whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import reduce
from math import lcm
from operator import or_
from typing import TYPE_CHECKING

from rasterio.enums import Interleaving

from tiling.errors import RemoteUnavailable
from tiling.grid.tiles import Tile
from tiling.grid.window import Window
from tiling.io import remote_cache
from tiling.io.datasets import borrow_dataset
from tiling.io.urls import is_local
from tiling.scene.decode import blank, chip_of, decode

if TYPE_CHECKING:
    import xarray as xr

    from tiling.scene.acquisition import Band
    from tiling.scene.scene import Scene


_STRIP = 256
"""Rows that one task of `read_ahead` decodes, at least."""
_LONGEST_STRIP = 4096


def fetch_ahead(scene: Scene, bands: Sequence[str], window: Window) -> None:
    """Fetch whole those remote files of which a sample of the scene, and then a window of it, are
    about to be read.

    In ranges some blocks would be fetched for both; so a file is fetched of which half or more is
    wanted. Where that does not succeed it is read in ranges after all. A mosaic's files are, since
    what shows of each is not known yet.
    """
    if scene.is_mosaic:
        return
    mask = scene.acquisitions[0].mask
    wanted = Counter(scene.band(name).path for name in bands)
    if mask:
        wanted[mask.path] += 1
    for path, count in wanted.items():
        if is_local(path) or remote_cache.cached_copy(path):
            continue
        with borrow_dataset(path) as dataset:
            bands_read = (
                1.0
                if dataset.interleaving is Interleaving.pixel
                else min(1.0, count / dataset.count)
            )
        if 2 * bands_read * window.area >= scene.window.area:
            with suppress(RemoteUnavailable):
                remote_cache.fetch_whole(path, remote_cache.LARGE)


def common_block(scene: Scene, bands: Sequence[str]) -> tuple[int, int]:
    """Rows and columns of the least window that cuts no block of these bands in two, where they
    agree so far."""
    shapes = {(1, 1)}
    for name in bands:
        band = scene.band(name)
        if not band.resampled:  # its blocks are those of another grid
            with borrow_dataset(band.path) as dataset:
                shapes.add(dataset.block_shapes[0])
    heights, widths = zip(*shapes, strict=True)
    return lcm(*heights), lcm(*widths)


def read_ahead(
    scene: Scene, bands: Sequence[str], tiles: Sequence[Tile], *, threads: int = 2
) -> Iterator[xr.Dataset]:
    """The chips of a shard's tiles, in order, each as soon as its rows are decoded.

    Strips of whole block rows are decoded once, by `threads` readers, into one buffer for all
    tiles; chips are views of it. Closing the iterator stops the readers; what they raise is raised
    here.
    """
    if not tiles:
        return
    chosen = [scene.band(name) for name in bands]
    whole = reduce(or_, (tile.chip for tile in tiles))
    pixels, valid = blank(chosen, whole)
    inside = whole & scene.window

    def fill(strip: Window) -> None:
        at = strip.within(whole)
        decode(scene.geobox, scene.acquisitions, strip, chosen, pixels[:, *at], valid[at])

    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        strips = {
            strip: pool.submit(fill, strip)
            for strip in _strips(inside, _strip_height(scene, chosen))
            if any(strip & tile.chip for tile in tiles)
        }
        try:
            for tile in tiles:
                for strip, done in strips.items():
                    if strip & tile.chip:
                        done.result()
                at = tile.chip.within(whole)
                yield chip_of(chosen, pixels[:, *at], valid[at])
        finally:
            pool.shutdown(cancel_futures=True)


def _strips(window: Window, height: int) -> Iterator[Window]:
    for row in range(window.row // height * height, window.row_stop, height):
        if strip := Window(row, window.col, height, window.width) & window:
            yield strip


def _strip_height(scene: Scene, bands: Sequence[Band]) -> int:
    """Rows of a strip that cuts no block of any file in two, where blocks of different height allow
    that."""
    heights = {1}
    for band in bands:
        if not band.resampled:
            with borrow_dataset(band.path) as dataset:
                heights.add(int(dataset.block_shapes[0][0]))
    common = lcm(*heights)
    if common > _LONGEST_STRIP:
        common = max(heights)
    return -(-_STRIP // common) * common
