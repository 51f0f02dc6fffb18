"""Scenes drawn for partitions: arrays read as scenes are, and what partitions make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from affine import Affine
from hypothesis import strategies as st
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from flows.partitions.partition import Partition
from flows.partitions.surfaces import Surfaces
from tests.tiling.regions.drawn import Drawn, mosaic, rasters
from tiling.grid.window import Window

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """Arrays in the place of a `Scene`: what partitions ask of one."""

    pixels: Array
    """`(band, y, x)`"""
    valid: Array
    units: str = "dn"
    name: str = "drawn"
    names: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return int(self.valid.shape[0])

    @property
    def width(self) -> int:
        return int(self.valid.shape[1])

    @property
    def geobox(self) -> GeoBox:
        return GeoBox(self.valid.shape, Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")

    @property
    def crs(self) -> CRS:
        return CRS("EPSG:32633")

    @property
    def gsd(self) -> float:
        return 10.0

    @property
    def band_names(self) -> tuple[str, ...]:
        return self.names or tuple(f"b{n}" for n in range(len(self.pixels)))

    def read(self, window: Window, bands: Sequence[str]) -> xr.Dataset:
        """A chip; odd values lie where nothing is valid."""
        whole = Window.of_shape(*self.valid.shape)
        pixels = np.full((len(bands), *window.shape), 77, self.pixels.dtype)
        valid = np.zeros(window.shape, bool)
        inside = window & whole
        chosen = [self.band_names.index(name) for name in bands]
        pixels[:, *inside.within(window)] = self.pixels[chosen][:, *inside.within(whole)]
        valid[inside.within(window)] = self.valid[inside.within(whole)]
        return self._chip(pixels, valid, bands)

    def sample(self, bands: Sequence[str], block: int = 16) -> xr.Dataset:
        """All blocks that have a valid pixel, stacked along y."""
        windows = [
            Window(row, col, block, block)
            for row in range(0, self.height, block)
            for col in range(0, self.width, block)
        ]
        chips = [chip for w in windows if (chip := self.read(w, bands))["valid"].values.any()]
        return self._chip(
            np.concatenate([chip["pixels"].values for chip in chips], axis=1),
            np.concatenate([chip["valid"].values for chip in chips]),
            bands,
        )

    def _chip(self, pixels: Array, valid: Array, bands: Sequence[str]) -> xr.Dataset:
        n, scale = len(bands), 1e-4 if self.units == "reflectance" else 1.0
        return xr.Dataset(
            {"pixels": (("band", "y", "x"), pixels), "valid": (("y", "x"), valid)},
            coords={
                "band": list(bands),
                "scale": ("band", [scale] * n),
                "offset": ("band", [0.0] * n),
                "units": ("band", [self.units] * n),
            },
        )


@st.composite
def scenes(draw: st.DrawFn, largest: int = 24) -> tuple[DrawnScene, Drawn]:
    """Scenes of one to three bands with a valid pixel somewhere, and a tile and way of working."""
    drawn = draw(rasters(largest).filter(lambda one: one.valid.any()))
    random = np.random.default_rng(draw(st.integers(0, 9999)))
    bands = draw(st.integers(1, 3))
    pixels = np.stack([np.roll(drawn.values, 2 * n, 0) * (n + 1) for n in range(bands)])
    pixels = pixels.astype(np.uint16)
    if draw(st.booleans()):
        pixels += random.integers(0, 3, pixels.shape).astype(np.uint16)
    return DrawnScene(pixels, drawn.valid), drawn


def fit_to(partition: Partition, scene: DrawnScene, block: int = 16) -> Partition:
    """The partition, fitted on the scene cut into blocks of this side."""
    return partition.fit(scene.sample(partition.bands(scene.band_names), block))


def surfaces_of(partition: Partition, scene: Any, folder: Path) -> Surfaces:
    return Surfaces(scene, partition, partition.bands(scene.band_names), folder)


def regions_of(
    partition: Partition, scene: Any, folder: Path, tile: int, map: Any = map
) -> list[Array]:
    """`(y, x)` ids of the regions of each level; -1 where there is none."""
    source = surfaces_of(partition, scene, folder)
    return [mosaic(level.labels) for level in partition.find(source, tile=tile, map=map)]
