"""Methods on the whole graph of superpixels, which one process holds: Felzenszwalb &
Huttenlocher's, and the normalised cut.

The graph is the same for any tiles, and so is whatever is made of it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flows.partitions.partition import Level
from flows.partitions.settings import LeastArea, Scale
from flows.partitions.superpixels import GridPartition
from flows.partitions.surfaces import Surfaces
from flows.setting import REGIONS, Setting
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.io.spill import Map
from tiling.regions.graph.whole_graph import (
    MOST_PIXELS,
    GroupedLabels,
    Groups,
    WholeGraph,
    build_graph,
)
from tiling.scene.scene import Scene

REGION_BYTES = 800
"""What the calling process holds of each superpixel, at most: it, its borders, and both sorted."""


class GraphPartition(GridPartition):
    """A partition that unites superpixels by a method that sees all of them at once."""

    most_regions: ClassVar[int] = MOST_PIXELS // 36
    """Superpixels, about, of the largest scene that it takes."""

    @property
    def held_bytes(self) -> float:
        return REGION_BYTES / self.step**2

    def check(self, scene: Scene) -> None:
        super().check(scene)
        pixels = scene.height * scene.width
        most = min(MOST_PIXELS, self.most_regions * self.step**2)
        if pixels > most:
            raise InputError(
                f"{scene.height} × {scene.width} px are too many for the method {self.kind}, which "
                f"holds the graph of all superpixels ({most:.2g} px with a step of {self.step}); "
                "clip the raster, or take the method objects, which has no bound"
            )

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        superpixels = self.find_superpixels(source, tile=tile, map=map)
        areas = PixelAreas(source.scene.geobox) if source.scene.crs.geographic else None
        bands = len(self._fit.bands)
        folder = source.subfolder("graph")
        graph = build_graph(superpixels, source.values, folder, bands=bands, areas=areas, map=map)
        groups = self.group(graph, source.scene)
        yield Level(None, GroupedLabels.of(superpixels, graph, groups, folder))

    @abstractmethod
    def group(self, graph: WholeGraph, scene: Scene) -> Groups:
        """`(n,)` what each superpixel becomes a part of."""


class Felzenszwalb(GraphPartition):
    """Felzenszwalb & Huttenlocher's method (2004, https://doi.org/10.1023/B:VISI.0000022288.19776.77)
    on superpixels: two regions unite across their lowest edge where that is no higher than the
    highest inside either of them, plus the scale over its size.

    It keeps what varies in itself together, and cuts calm ground at faint edges. `objects` is
    closer to the image at as many regions, and has no bound.
    """

    kind: Literal["felzenszwalb"] = "felzenszwalb"
    scale: Scale = 100.0
    least_area: LeastArea = 0.0

    def group(self, graph: WholeGraph, scene: Scene) -> Groups:
        from tiling.regions.graph.felzenszwalb import unite_similar

        unit = graph.unit
        return unite_similar(
            graph.borders.one,
            graph.borders.other,
            np.sqrt(graph.distances(self._fit.weights)),
            graph.sums.size,
            scale=self.scale * unit,
            least=math.ceil(self.least_area / scene.gsd**2 * unit),
        )


class NormalisedCut(GraphPartition):
    """Shi & Malik's normalised cut (2000, https://doi.org/10.1109/34.868688) on superpixels: the
    graph is cut in two where the similarity lost is least as a share of what either side has, and
    the parts again, while that costs less than a threshold.

    It looks at the whole before the parts, and parts a scene into few regions of about one size. It
    is slow, and refused beyond a size that suits pieces of a scene.
    """

    most_regions: ClassVar[int] = 100_000

    kind: Literal["normalised-cut"] = "normalised-cut"
    thresh: Annotated[
        float,
        Field(
            ge=0,
            le=2,
            title="Cost of a cut",
            description="Up to what cost parts are cut again, from 0 to 2; more makes smaller "
            "regions.",
        ),
        Setting(REGIONS, metavar="X"),
    ] = 0.05
    sigma: Annotated[
        float,
        Field(
            gt=0,
            le=1000,
            title="Spread of similarity",
            description="By how much superpixels may differ and still be similar: the squared "
            "difference, in variances of the bands, at which similarity is 1/e.",
        ),
        Setting(REGIONS, metavar="X"),
    ] = 0.5

    def group(self, graph: WholeGraph, scene: Scene) -> Groups:
        from tiling.regions.graph.normalised_cut import cut_graph

        similarity = np.exp(-graph.distances(self._fit.weights) / self.sigma)
        ends = graph.borders.one, graph.borders.other
        return cut_graph(*ends, similarity, graph.ids.size, most=self.thresh)
