"""The graph of all regions of a raster, in one process: the same from any tiles, so whatever is
made of it is, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.spill import Map, save_arrays
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.merging.borders import Borders
from tiling.regions.merging.levels import Image, TileGraph, survey_base
from tiling.regions.merging.sums import RegionSums
from tiling.regions.passes import Passes, Read

MOST_PIXELS = 10**8
"""Pixels of a raster whose graph is held: with regions of 36 px about 2 GB."""

Reals: TypeAlias = npt.NDArray[np.float64]
Groups: TypeAlias = npt.NDArray[np.intp]


class WholeGraph(NamedTuple):
    """Regions, ascending by id, and all borders between them."""

    ids: Ids
    sums: RegionSums
    borders: Borders
    unit: int = 1
    """Units of size that the raster's middle pixel has."""

    def distances(self, weights: Sequence[float]) -> Reals:
        """For each border the squared difference of the means on either side, `Σ w (μ - μ')²`."""
        mean = self.sums.total / self.sums.pixels
        squared = np.zeros(self.borders.one.size)
        for weight, band in zip(weights, mean, strict=True):
            difference = band[self.borders.one] - band[self.borders.other]
            squared = squared + weight * (difference * difference)
        return squared


def build_graph(
    base: LabelFiles,
    values: Read,
    folder: Path,
    *,
    bands: int,
    areas: PixelAreas | None = None,
    map: Map = map,
) -> WholeGraph:
    """The graph of the regions of `base`, compared by so many `bands` of `values`; the same for
    every tile of `base`.

    `folder`, `areas` and `map` are as in `merge_levels`. Raises `InputError` for rasters of more
    than 10⁸ px.
    """
    height, width = base.shape
    if height * width > MOST_PIXELS:
        raise InputError(
            f"{height} × {width} px are too many for a method that holds the whole graph of "
            f"regions (10⁸ px); clip the raster, or take the method objects, which has no bound"
        )
    image = Image(base, values, (1.0,) * bands, folder, areas)
    image.level(0).mkdir(exist_ok=True)
    passes = Passes.over(base.shape, base.tile, map)
    passes.survey(partial(survey_base, image))
    files = LabelFiles(image.level(0), base.shape, base.tile)
    tiles = [TileGraph.read(files.file(w, ".graph.npy")) for w in passes.windows.values()]
    ids, number = np.unique(np.concatenate([tile.ids for tile in tiles]), return_inverse=True)
    parts = np.split(number, np.cumsum([tile.ids.size for tile in tiles])[:-1])
    columns = zip(*(tile.sums for tile in tiles), strict=True)
    sums = RegionSums(*(np.concatenate(c, axis=-1) for c in columns)).merge(number, ids.size)
    rows = [
        tile.borders._replace(one=of[tile.borders.one], other=of[tile.borders.other])
        for tile, of in zip(tiles, parts, strict=True)
    ]
    borders = Borders(*map_columns(rows)).between(np.arange(ids.size))
    return WholeGraph(ids, sums, borders, image.pixel)


def map_columns(rows: Sequence[Borders]) -> list[npt.NDArray[np.int64]]:
    """The columns of several tables, one after the other."""
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


@dataclass(frozen=True)
class GroupedLabels(LabelFiles):
    """Regions united by groups: the labels of a base, by the smallest id of each group."""

    base: LabelFiles

    @property
    def table(self) -> Path:
        """The file of all ids, ascending, and what each is part of."""
        return self.folder / "groups.npy"

    @classmethod
    def of(cls, base: LabelFiles, graph: WholeGraph, groups: Groups, folder: Path) -> GroupedLabels:
        """Leave the `(n,)` groups of the regions of a graph in a folder."""
        first = np.full(int(groups.max(initial=0)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, groups, graph.ids)
        labels = cls(folder, base.shape, base.tile, base)
        save_arrays(labels.table, np.stack([graph.ids, first[groups]]))
        return labels

    def read(self, window: Window) -> TileLabels:
        labels = self.base.read(window)
        ids, region = np.load(self.table, mmap_mode="r" if labels.ids.size else None)
        names = np.append(region[np.searchsorted(ids, labels.ids)], OUTSIDE)
        return TileLabels.of(names, labels.rank)
