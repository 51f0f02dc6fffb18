"""Superpixels: small regions of about one size that follow the image, one in each cell of a
grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from flows.partitions.partition import GradientPartition, Level
from flows.partitions.settings import Compactness, Step
from flows.partitions.surfaces import Surface, Surfaces
from segmentation.relief.gradient import FRACTION
from segmentation.relief.waterpixels import mark_cells, raise_between, reach_of_cells
from tiling.io.spill import Map
from tiling.regions.labelling import LabelFiles
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import Unmarked
from tiling.regions.watershed.drowning import flood_relief

if TYPE_CHECKING:
    import xarray as xr


class GridPartition(GradientPartition):
    """A partition that begins with superpixels: what it floods and where."""

    step: Step = 6
    compactness: Compactness = 0.5

    @property
    def reach(self) -> int:
        return reach_of_cells(self.step) + self.rounds + 1

    @property
    def fit_summary(self) -> str:
        """How steep the image usually is, which compactness is counted in."""
        if self.fitted is None:
            return ""
        return (
            f"The bands usually change by {self.fitted.gradient / FRACTION:.4g} per pixel, together"
        )

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        plain = super().surface(chip, row, col)
        heights, valid = plain.heights, plain.valid
        assert heights is not None
        # The gradient of the outermost pixels is not that of the raster: no cell holds them.
        ring = self.rounds + 1
        inner = np.s_[ring : valid.shape[0] - ring, ring : valid.shape[1] - ring]
        markers = np.zeros(valid.shape, bool)
        markers[inner] = mark_cells(heights[inner], valid[inner], self.step, row + ring, col + ring)
        slope = self.compactness * self._fit.gradient
        raised = raise_between(heights, valid, markers, self.step, slope)
        return plain._replace(heights=raised, markers=markers)

    def find_superpixels(self, source: Surfaces, *, tile: int, map: Map) -> LabelFiles:
        """Leave superpixels in a folder of `source`."""
        folder = source.subfolder("superpixels")
        relief = Relief(source.heights, source.shape, folder, marks=source.markers)
        return flood_relief(relief, Unmarked(), tile=tile, map=map)


class Superpixels(GridPartition):
    """Superpixels by watershed: from the lowest gradient in each cell of a grid water rises over
    the image's gradient and a slope between cells (waterpixels: Machairas et al. 2015,
    https://doi.org/10.1109/TIP.2015.2451011).

    There is exactly one in each cell with a valid pixel, and one more for each island of valid
    pixels that holds no marker; each is 4-connected. Cells begin at the first pixel of the scene.
    """

    kind: Literal["superpixels"] = "superpixels"

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        yield Level(None, self.find_superpixels(source, tile=tile, map=map))
