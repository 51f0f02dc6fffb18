"""What the passes of sieving leave for each other, in memory and in files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.classmaps.raster import nodata_of, open_regions
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.spill import read_together, write_together
from tiling.regions.components import Border, Ids, TileRegions
from tiling.regions.region_values import RegionValues
from tiling.regions.seams import Frame, Seams
from tiling.regions.sieving.adjacency import Contacts, Flags
from tiling.regions.sieving.rule import Rule

Unit = Literal["m2", "pixels"]


@dataclass(frozen=True)
class Sieve:
    """A raster and the size below which its regions are absorbed; equal for every tile."""

    raster: Path
    nodata: int | None
    grid: GeoBox
    minimum: int
    """Regions of a lower size are small."""
    unit: Unit
    rule: Rule
    folder: Path
    """For what waits."""
    within: int = 0
    """Values that go together: a region is absorbed by one of its own so many values alone, of
    those from a multiple of it on; 0: by any."""

    @classmethod
    def of(
        cls,
        raster: Path,
        minimum: float,
        unit: Unit,
        rule: Rule,
        nodata: int | None,
        folder: Path,
        within: int = 0,
    ) -> Sieve:
        """Check at the door that the raster holds classes."""
        with open_regions(raster) as source:
            grid = geobox_of(source)
            nodata = nodata_of(source, nodata)
        if unit == "m2":
            minimum /= PixelAreas(grid).unit
        return cls(raster, nodata, grid, math.ceil(minimum), unit, rule, folder, within)

    def file(self, window: Window, suffix: str) -> Path:
        """The file in which something of a tile waits, by its suffix."""
        return self.folder / f"{window.row}-{window.col}{suffix}"

    @property
    def settles_pairs(self) -> bool:
        """Whether, of two small regions that point at each other, one absorbs the other."""
        return self.rule == "longest-border"

    def sizes(self, found: TileRegions, window: Window) -> npt.NDArray[np.int64]:
        """`(n,)` size of each label: area in units of `PixelAreas.unit`, or pixels."""
        if self.unit == "pixels":
            return found.sum_runs(found.runs.length)
        return found.sum_runs(
            PixelAreas(self.grid).read_runs(window, found.runs.start, found.runs.length)
        )


class Regions(NamedTuple):
    """Facts about some regions, or about their pieces in one tile: parallel arrays."""

    ids: Ids
    class_id: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]


class Survey(NamedTuple):
    """The border of a tile and how much of its regions lies in it, left by the first pass."""

    border: Border
    pieces: Regions
    """Of the regions at its border, what lies in the tile."""

    def write(self, path: Path) -> None:
        """To a file, where it waits for those of the other tiles."""
        write_together(path, [*self.border.arrays, *self.pieces])

    @classmethod
    def read(cls, path: Path) -> Survey:
        """A survey from a file that `write` made."""
        arrays = read_together(path)
        return cls(Border.from_arrays(arrays[:12]), Regions(*arrays[12:]))


class TileContext(NamedTuple):
    """A tile, the pixels around it, seams and sizes: enough to decide for its regions."""

    window: Window
    frame: Frame
    seams: Seams
    sizes: RegionValues
    """Of the regions at its border and just beyond it."""
    classes: RegionValues
    """Of the same regions."""


class Choices(NamedTuple):
    """What one tile leaves to be decided where all tiles are known."""

    contacts: Contacts
    """Of small regions at its border, by id."""
    neighbours: Regions
    """The regions inside the tile that these touch, with the class that whoever follows them will
    get."""
    to: Ids
    """The region at the border for which each of them waits, or itself."""
    absorbs: Flags
    """Whether whoever follows them is absorbed."""
    again: bool
    """Whether two small regions inside the tile became one that may still be small."""

    def write(self, path: Path) -> None:
        """To a file, where it waits for those of the other tiles."""
        arrays = [*self.contacts, *self.neighbours, self.to, self.absorbs, np.array([self.again])]
        write_together(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Choices:
        """Choices from a file that `write` made."""
        *arrays, to, absorbs, again = read_together(path)
        return cls(
            Contacts(*arrays[:4]), Regions(*arrays[4:]), to, absorbs.astype(bool), bool(again[0])
        )
