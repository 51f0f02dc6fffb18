"""What polygons are made of: a raster of classes, and what is measured in each of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tiling.classmaps.raster import NO_CONFIDENCE, nodata_of, open_regions, read_band
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.regions.components import Ids, TileRegions


class Measure(Protocol):
    """Something measured in every pixel, in whole numbers: sums are exact however they are cut."""

    @property
    def missing(self) -> int:
        """The value of pixels without one."""
        ...

    @property
    def scale(self) -> float:
        """What the whole numbers are divided by to give the measure."""
        ...

    def __call__(self, window: Window) -> npt.NDArray[np.integer]:
        """`(y, x)` values of the pixels of a window, of at most 32 bits; the same pixel has the
        same in any window."""
        ...


NO_MEASURES: Mapping[str, Measure] = MappingProxyType({})


@dataclass(frozen=True)
class Confidence:
    """The raster of confidence, as a measure."""

    path: str
    missing: int
    scale: float = 1.0

    def __call__(self, window: Window) -> npt.NDArray[np.integer]:
        return read_band(self.path, window)


@dataclass(frozen=True)
class ClassRaster:
    """Where the classes come from; what travels to workers in place of pixels."""

    path: str
    nodata: int | None
    dropped: int | None
    """A class whose polygons are made, and left out in the end: where lines move, no data has to be
    checked as well."""
    areas: PixelAreas
    connectivity: int
    confidence: Confidence | None
    measures: Mapping[str, Measure]

    @classmethod
    def open(
        cls,
        raster: str | Path,
        nodata: int | None,
        confidence: str | Path | None,
        measures: Mapping[str, Measure],
        connectivity: int,
    ) -> ClassRaster:
        """Check at the door that the files hold what they should."""
        with open_regions(raster) as classes:
            if classes.crs is None:
                raise InputError(
                    f"{raster} has no CRS; assign one, for example with gdal_edit.py -a_srs "
                    "EPSG:32633"
                )
            areas = PixelAreas(geobox_of(classes))
            nodata = nodata_of(classes, nodata)
        source = cls(str(raster), nodata, None, areas, connectivity, None, dict(measures))
        if confidence is None:
            return source
        with open_dataset(str(confidence)) as sure:
            if (sure.height, sure.width, sure.dtypes[0]) != (
                classes.height,
                classes.width,
                "uint8",
            ):
                raise InputError(
                    f"{confidence} is {sure.dtypes[0]} of {sure.height} × {sure.width} px; the "
                    f"confidence of {raster} "
                    f"must be uint8, 0–100, of {classes.height} × {classes.width} px"
                )
            missing = NO_CONFIDENCE if sure.nodata is None else int(sure.nodata)
        return replace(source, confidence=Confidence(str(confidence), missing))

    def regions(self, window: Window) -> TileRegions:
        """The regions of one tile."""
        return TileRegions.of(
            read_band(self.path, window), window, self.areas.geobox.shape[1], self.nodata
        )

    def groups(self, found: TileRegions) -> Ids:
        """`(n,)` the feature that each region is in, as far as the tile alone can know."""
        return found.groups if self.connectivity == 8 else found.ids

    def sums(self, found: TileRegions, window: Window) -> npt.NDArray[np.int64]:
        """`(n, 2 + 2 m)`: pixels and area units of each region; of each measure its sum and the
        pixels that have it."""
        start, length, _ = found.runs
        columns = [
            found.sum_runs(length),
            found.sum_runs(self.areas.read_runs(window, start, length)),
        ]
        for measure in self.all_measures:
            values = measure(window)
            known = values != measure.missing
            columns += found.sum_pixels(np.where(known, values, 0)), found.sum_pixels(known)
        return np.stack(columns, axis=1)

    @property
    def all_measures(self) -> list[Measure]:
        """Confidence, if there is one, then the others."""
        return [*([self.confidence] if self.confidence else []), *self.measures.values()]
