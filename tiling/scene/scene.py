"""What a scene is: bands by common name on one grid, whatever files lie behind."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from heapq import nsmallest
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from tiling.errors import Damaged
from tiling.grid.pixel_size import middle_pixel_side
from tiling.grid.window import Window
from tiling.io.datasets import Pixels, Valid, open_dataset
from tiling.io.drivers import RASTER_SUFFIXES
from tiling.io.remote import identity
from tiling.io.urls import is_local
from tiling.scene.acquisition import Acquisition, Band, Mask
from tiling.scene.decode import blank, chip_of, decode

_MOST_BLOCKS = 1024
"""Blocks a sample tries before it makes do with what it has."""

_ASKED_AT_ONCE = 8
"""Remote files whose identity is asked for at once: a mosaic may have hundreds."""

_ALL_DAMAGED = 16
"""Blocks at whose number, if none of them can be read, no other is tried."""
_MOST_EMPTY = 2**16
"""Blocks it tries before it gives up on a scene that is nearly all empty."""


@dataclass(frozen=True)
class Scene:
    """Images that lie on each other on one grid, with bands by common name. A small value: it
    travels, and files are opened where it is read."""

    geobox: GeoBox
    acquisitions: tuple[Acquisition, ...]
    """The uppermost first; each pixel comes from the first that has it with all its bands."""
    notes: tuple[str, ...] = ()
    """What a person should know of how it was put together, a line each. Decides nothing."""

    @property
    def name(self) -> str:
        """The name of its uppermost image."""
        return self.acquisitions[0].name

    @property
    def title(self) -> str:
        """The name for people: that of the uppermost image, and how many lie under it."""
        more = len(self.acquisitions) - 1
        return f"{self.name} and {more} more" if more else self.name

    @property
    def is_mosaic(self) -> bool:
        return len(self.acquisitions) > 1

    @property
    def bands(self) -> tuple[Band, ...]:
        """The bands of its uppermost image; all its images have them."""
        return self.acquisitions[0].bands

    @property
    def date(self) -> datetime.date | None:
        """The day of its uppermost image."""
        return self.acquisitions[0].date

    @property
    def height(self) -> int:
        return int(self.geobox.height)

    @property
    def width(self) -> int:
        return int(self.geobox.width)

    @property
    def crs(self) -> CRS:
        assert self.geobox.crs is not None  # no header without one becomes a scene
        return self.geobox.crs

    @property
    def transform(self) -> Affine:
        return self.geobox.affine

    @property
    def window(self) -> Window:
        return Window.of_shape(self.height, self.width)

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    def band(self, name: str) -> Band:
        """The band of that full name, as its uppermost image has it."""
        return self.acquisitions[0].band(name)

    def sources(self, bands: Sequence[str]) -> tuple[str, ...]:
        """The rasters that whoever reads these bands has to open: all of its uppermost image, and
        of each image beneath one, which tells enough."""
        top, *beneath = self.acquisitions
        rasters = {top.band(name).path for name in bands}
        rasters |= {top.mask.path} if top.mask else set()
        return tuple(sorted(rasters | {image.band(bands[0]).path for image in beneath}))

    def pixel_bytes(self, bands: Sequence[str]) -> int:
        """What a pixel of these bands takes as it is stored."""
        return sum(np.dtype(self.band(name).dtype).itemsize for name in bands)

    def read(self, window: Window, bands: Sequence[str]) -> xr.Dataset:
        """A chip: `pixels (band, y, x)` in the files' dtype and `valid (y, x)`, see
        `segmentation.chip`.

        The window may reach past the raster: there pixels are 0 and not valid.
        """
        chosen = [self.band(name) for name in bands]
        return chip_of(chosen, *self._arrays(window, chosen))

    def _arrays(self, window: Window, bands: Sequence[Band]) -> tuple[Pixels, Valid]:
        pixels, valid = blank(bands, window)
        if inside := window & self.window:
            at = inside.within(window)
            decode(self.geobox, self.acquisitions, inside, bands, pixels[:, *at], valid[at])
        return pixels, valid

    def sample(
        self, bands: Sequence[str], *, pixels: int = 4 * 2**20, block: int = 256
    ) -> xr.Dataset:
        """A chip of full-resolution blocks from all over the scene, stacked along y: `(band, n ×
        block, block)`.

        Blocks are tried in an order that depends on their place alone, until `pixels` valid pixels
        are there; those without a valid pixel are left out. A scene without any gives a chip of
        height 0. Damaged blocks are left out too: the shards that need them will say so, and the
        others need not wait for it.
        """
        chosen = [self.band(name) for name in bands]
        places = (
            (row, col)
            for row in range(0, self.height, block)
            for col in range(0, self.width, block)
        )
        found: dict[Window, tuple[Pixels, Valid]] = {}
        enough, damaged, read = 0, None, False
        for tried, place in enumerate(nsmallest(_MOST_EMPTY, places, key=_lot), start=1):
            window = Window(*place, block, block)
            try:
                values, valid = self._arrays(window, chosen)
            except Damaged as error:
                damaged = damaged or error
                if tried == _ALL_DAMAGED and not read:
                    break  # the file is no better elsewhere
                continue
            read = True
            if count := int(np.count_nonzero(valid)):
                found[window] = values, valid
                enough += count
            if enough >= pixels or (found and tried >= _MOST_BLOCKS):
                break
        if damaged and not found:
            raise damaged
        stacked = [found[window] for window in sorted(found)] or [
            blank(chosen, Window.of_shape(0, block))
        ]
        return chip_of(
            chosen,
            np.concatenate([values for values, _ in stacked], axis=1),
            np.concatenate([valid for _, valid in stacked]),
        )

    def calibrate(self, scale: float, offset: float, bands: Collection[str]) -> Scene:
        """This scene with digital numbers of `bands` read as reflectance: × scale + offset."""
        top, *beneath = self.acquisitions
        known = (
            replace(band, scale=scale, offset=offset, units="reflectance", claimed=False)
            if band.name in bands
            else band
            for band in top.bands
        )
        return replace(self, acquisitions=(replace(top, bands=tuple(known)), *beneath))

    def with_mask(self, mask: Mask) -> Scene:
        """This scene without the pixels that a mask hides, whichever of its images they are of;
        the images' own masks are left."""
        images = tuple(replace(image, mask=mask) for image in self.acquisitions)
        return replace(self, acquisitions=images)

    def with_calibration(self, chip: xr.Dataset) -> xr.Dataset:
        """A chip of this scene's pixels with this scene's scales, offsets and units."""
        bands = [self.band(str(name)) for name in chip["band"].values]
        return chip_of(bands, chip["pixels"].values, chip["valid"].values)

    @property
    def gsd(self) -> float:
        """Ground sampling distance in metres: of a square as large as the pixel in the middle."""
        return middle_pixel_side(self.geobox)

    def identities(self) -> list[dict[str, Any]]:
        """What tells the files' present content from any other: path, size and time of change, or
        ETag, of each.

        Counts every file GDAL lists for the sources and the mask, sidecars too, and what a VRT
        refers to.
        """
        paths = {band.path for image in self.acquisitions for band in image.bands}
        paths |= {image.mask.path for image in self.acquisitions if image.mask}
        files = sorted({file for path in paths for file in _files(path)})
        if all(map(is_local, files)):
            return [identity(file) for file in files]
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="identity") as pool:
            return list(pool.map(identity, files))


def _lot(place: tuple[int, int]) -> bytes:
    return blake2b(b"%d,%d" % place, digest_size=8).digest()


def _files(path: str) -> list[str]:
    if not is_local(path):
        return [path]  # nothing beside it is looked at, and remote VRTs are not opened
    with open_dataset(path) as dataset:
        files, is_vrt = list(dataset.files) or [path], dataset.driver == "VRT"
    if is_vrt:
        # A VRT lists its sources, but not what belongs to them.
        nested = [
            _files(file)
            for file in files
            if file != path and file.lower().endswith(RASTER_SUFFIXES)
        ]
        files.extend(file for found in nested for file in found)
    return files
