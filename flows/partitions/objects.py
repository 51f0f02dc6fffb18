"""Objects: superpixels merged in nested levels, fine objects within coarse ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flows.partitions.partition import Level
from flows.partitions.settings import LeastArea, Scale
from flows.partitions.superpixels import GridPartition
from flows.partitions.surfaces import Surfaces
from flows.setting import REGIONS, Setting
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.io.spill import Map
from tiling.regions.merging.levels import merge_levels
from tiling.regions.merging.linkage import Merging
from tiling.regions.merging.sums import UNIT
from tiling.scene.scene import Scene

_SNAP = 0.04
"""A scale whose square is this close to a power of two, in doublings, is on the ladder: 2.8, 5.7
and 11.3 are."""

LevelScale = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class Objects(GridPartition):
    """Superpixels, merged in nested levels while the contrast along their common borders is low.

    Two neighbours of n pixels unite where their means differ by δ standard deviations with δ² · n /
    2 below the square of the scale; the cheapest pair of all always goes first. Contrasts are taken
    anew at every doubling, from the means of the level below. That is as close to the image as
    multiresolution segmentation (Baatz & Schäpe 2000) and Ward's method are, and unlike these the
    same whatever the tiles.
    """

    kind: Literal["objects"] = "objects"
    scale: Scale = 8.0
    levels: Annotated[
        tuple[LevelScale, ...],
        Field(
            title="Levels",
            description="Several scales such as 4,8,16 in the place of one: objects of each lie in "
            "those of the next.",
        ),
        Setting(REGIONS, metavar="S,…", unset="the one scale"),
    ] = ()
    least_area: LeastArea = 0.0

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if list(self.levels) != sorted(set(self.levels)):
            listed = ",".join(f"{level:g}" for level in self.levels)
            raise InputError(f"levels={listed} do not ascend; write the finest scale first")
        return self

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales of the levels that it gives, ascending."""
        return self.levels or (self.scale,)

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        superpixels = self.find_superpixels(source, tile=tile, map=map)
        geographic = source.scene.crs.geographic
        steps = ladder(self.scales, self.least_pixels(source.scene))
        merged = merge_levels(
            superpixels,
            source.values,
            self._fit.weights,
            [merging for _, merging in steps],
            source.subfolder("objects"),
            areas=PixelAreas(source.scene.geobox) if geographic else None,
            map=map,
        )
        for (scale, _), labels in zip(steps, merged, strict=True):
            if scale is not None:
                yield Level(scale, labels)

    def least_pixels(self, scene: Scene) -> float:
        """The smallest area in pixels as large as that in the middle of a scene."""
        return self.least_area / scene.gsd**2


def ladder(scales: Sequence[float], least: float = 0) -> list[tuple[float | None, Merging]]:
    """The limits up to which regions merge, ascending, each with the scale that it is the limit of,
    if that was asked for; what is asked for minds `least`, in pixels.

    Limits double from one step to the next, from that of scale 1 on, which brings the result close
    to methods that take contrasts anew after each merge. So scales 1, √2, 2, 2√2 … of different
    runs are nested.
    """
    asked = {limit_of(scale): scale for scale in scales}
    highest = max(asked)
    doublings = range(max(0, math.ceil(math.log2(highest))))
    limits = sorted({*asked, *(2.0**k for k in doublings if 2.0**k < highest)})
    return [
        (asked.get(limit), Merging(UNIT * limit, least if limit in asked else 0))
        for limit in limits
    ]


def limit_of(scale: float) -> float:
    """The square of a scale; the power of two beside it, if it is as good as that."""
    doublings = 2 * math.log2(scale)
    near = round(doublings)
    return 2.0**near if abs(doublings - near) <= _SNAP else scale * scale
