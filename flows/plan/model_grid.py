"""A scene whose pixels are those that a network sees: of its own size, on a lattice that begins at
the scene's first pixel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from segmentation.inference.zoom import zoom_chip
from segmentation.segmenter import Segmenter
from tiling.grid.tiles import Tile
from tiling.grid.window import Window
from tiling.io.datasets import Pixels, Valid
from tiling.scene.acquisition import Band, Mask
from tiling.scene.decode import chip_of
from tiling.scene.prefetch import read_ahead
from tiling.scene.scene import Scene

_COPIES = 16
"""Bytes of a band's pixel while chips of it are made, in single precision."""

_AT_ONCE = 2**20
"""Pixels of the files that are made into larger ones at once."""


@dataclass(frozen=True)
class ModelScene(Scene):
    """A scene at a zoom: 2 has 2 × 2 pixels for each of `plain`, -3 one for 3 × 3.

    A pixel is what `segmentation.inference.zoom` makes of all of the scene, so it has one value,
    whatever window it is read with. Its chips are `float32`.
    """

    plain: Scene = field(kw_only=True)
    """The scene that its files are."""
    zoom: int = field(kw_only=True)

    def pixel_bytes(self, bands: Sequence[str]) -> int:
        """What a pixel takes with those of the files that it is made of, and while it is made."""
        stored = self.plain.pixel_bytes(bands) + 1
        if self.zoom < 0:
            return stored * self.zoom**2 + _COPIES * len(bands)
        return -(-stored // self.zoom**2) + _COPIES * len(bands)

    def calibrate(self, scale: float, offset: float, bands: Collection[str]) -> Scene:
        return at_zoom(self.plain.calibrate(scale, offset, bands), self.zoom)

    def with_mask(self, mask: Mask) -> Scene:
        return at_zoom(self.plain.with_mask(mask), self.zoom)

    def _arrays(self, window: Window, bands: Sequence[Band]) -> tuple[Pixels, Valid]:
        pieces = []
        for strip in self.strips(window):
            there = self.beneath(strip)
            chip = chip_of(bands, *self.plain._arrays(there, bands))
            pieces.append(self.made_of(chip, there, strip))
        return _join(pieces)

    def strips(self, window: Window) -> Iterator[Window]:
        """A window in strips of rows, each made of few enough pixels of the files."""
        wide = pixels_in_one(self) ** 2 * window.width
        rows = max(1, _AT_ONCE // max(1, wide)) if self.zoom < 0 else window.height
        for row in range(window.row, window.row_stop, max(1, rows)):
            yield Window(row, window.col, min(rows, window.row_stop - row), window.width)

    def beneath(self, window: Window) -> Window:
        """The pixels of the files that decide those of a window."""
        if self.zoom < 0:
            factor = -self.zoom
            return Window(*(factor * n for n in (window.row, window.col, *window.shape)))
        # those that are interpolated between may lie one further on each side
        row, col = window.row // self.zoom - 1, window.col // self.zoom - 1
        return Window(
            row,
            col,
            -(-window.row_stop // self.zoom) + 1 - row,
            -(-window.col_stop // self.zoom) + 1 - col,
        )

    def made_of(self, chip: xr.Dataset, there: Window, window: Window) -> xr.Dataset:
        """The chip of a window from that of the files' pixels `there`, beneath it."""
        if self.zoom > 0:
            row, col = window.row - self.zoom * there.row, window.col - self.zoom * there.col
            height, width = window.shape
            seen = zoom_chip(chip, self.zoom)
            return seen.isel(y=slice(row, row + height), x=slice(col, col + width))
        beneath = (self.beneath(strip).within(there) for strip in self.strips(window))
        pieces = [zoom_chip(chip.isel(y=rows), self.zoom) for rows, _ in beneath]
        pixels, valid = _join(pieces)
        return (
            pieces[0]
            .drop_dims(("y", "x"))
            .assign(pixels=(("band", "y", "x"), pixels), valid=(("y", "x"), valid))
        )


def _join(pieces: Sequence[xr.Dataset]) -> tuple[Pixels, Valid]:
    """Pixels and validity of chips that lie below each other."""
    pixels, valid = ([piece[name].values for piece in pieces] for name in ("pixels", "valid"))
    return np.concatenate(pixels, axis=1), np.concatenate(valid)


def at_zoom(scene: Scene, zoom: int) -> Scene:
    """A scene at a zoom; as it is at 1."""
    if zoom == 1:
        return scene
    shape, side = scene.geobox.shape, 1 / zoom if zoom > 0 else -zoom
    height, width = (n * zoom if zoom > 0 else -(n // zoom) for n in shape)
    grid = GeoBox((height, width), scene.transform @ Affine.scale(side), scene.crs)
    return ModelScene(grid, scene.acquisitions, scene.notes, plain=scene, zoom=zoom)


def on_model_grid(scene: Scene, segmenter: Segmenter) -> tuple[Scene, Segmenter]:
    """The scene as a network sees it, and the network for its pixels; `InputError` where a method
    sees the scene's own."""
    at_them, zoom = segmenter.at_own_pixels()
    return at_zoom(scene, zoom), at_them


def pixels_in_one(scene: Scene) -> int:
    """Along a side of a pixel, how many of the files' lie in it; 1 where it is no larger."""
    return max(1, -scene.zoom) if isinstance(scene, ModelScene) else 1


def chips_ahead(scene: Scene, bands: Sequence[str], tiles: Sequence[Tile]) -> Iterator[xr.Dataset]:
    """The chips of a shard's tiles in order, as `read_ahead` has them, whichever pixels they are
    of."""
    if not isinstance(scene, ModelScene):
        yield from read_ahead(scene, bands, tiles)
        return
    beneath = [replace(tile, chip=scene.beneath(tile.chip)) for tile in tiles]
    chips = read_ahead(scene.plain, bands, beneath)
    for tile, there, chip in zip(tiles, beneath, chips, strict=True):
        yield scene.made_of(chip, there.chip, tile.chip)
