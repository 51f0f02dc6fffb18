"""Which of the regions that were found are products: those of a size, without small holes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.regions.levels import Regions
from flows.regions.plan import ObjectsPlan
from tiling.grid.window import Window
from tiling.io.spill import Map
from tiling.regions.passes import Flags, Values
from tiling.regions.sieving.fill_gaps import fill_gaps
from tiling.regions.sized import keep_sizes
from tiling.scene.scene import Scene


def choose_regions(plan: ObjectsPlan, level: Regions, work: Path, map: Map) -> Regions:
    """A level without holes below the smallest that is shown, and of what is then there those
    regions that are neither too small nor too large; numbers stay as they were.

    The whole scene decides, whatever the area of interest.
    """
    request, raster = plan.request, level.numbers
    if request.fill_holes:
        valid, filled = SceneMask(plan.scene, plan.bands), work / "filled.tif"
        raster = fill_gaps(
            raster, valid, filled, minimum=request.fill_holes, tile=request.tile, map=map
        )
    if request.min_object or request.max_object:
        chosen = work / "chosen.tif"
        keep_sizes(
            raster, level.n, chosen,
            least=request.min_object, most=request.max_object, tile=request.tile, map=map,
        )  # fmt: skip
        raster = chosen
    return level._replace(numbers=raster)


@dataclass(frozen=True)
class SceneMask:
    """Reads where a scene has data: a `Read` of `tiling.regions.passes` of no bands."""

    scene: Scene
    bands: tuple[str, ...]

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        valid = self.scene.read(window, self.bands)["valid"].values
        return np.zeros((0, *window.shape), np.uint8), valid
