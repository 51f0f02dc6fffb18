"""The magic wand: what hangs together with a seed and is like it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flows.partitions.partition import Gives, GradientPartition, Level
from flows.partitions.settings import Tolerance
from flows.partitions.surfaces import Surfaces
from flows.setting import REGIONS, Setting
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.spill import Map
from tiling.labels.marks import read_points
from tiling.regions.labelling import LabelFiles
from tiling.regions.passes import Flags, Passes, Values
from tiling.regions.selection import keep_regions
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import Unmarked
from tiling.regions.watershed.drowning import flood_relief
from tiling.scene.scene import Scene

SHARE = 0.5
"""Of the standard deviation of a band, by which pixels may differ from a seed if nobody says."""

MOST_SEEDS = 1000
"""Each is compared with every pixel."""

Places = tuple[tuple[int, int], ...]
"""Rows and columns."""


class Wand(GradientPartition):
    """What hangs together by sides with a seed, through pixels that differ from it by no more than
    a tolerance in any band.

    Several seeds share out the pixels that are like any of them: water rises from all seeds over
    the gradient of the image, and a pixel goes to the seed whose water comes first. Pixels that no
    seed reaches belong to no region.
    """

    gives: ClassVar[Gives] = "mask"

    kind: Literal["wand"] = "wand"
    seeds: Annotated[
        str,
        Field(
            title="Seeds",
            description="Vector file of points, each in the middle of what is wanted.",
        ),
        Setting(REGIONS, metavar="FILE", path=True),
    ] = ""
    tolerance: Tolerance = None

    def check(self, scene: Scene) -> None:
        super().check(scene)
        self.places(scene)

    def places(self, scene: Scene) -> Places:
        """The pixels of the seeds on a scene; `InputError` where there are none or too many."""
        if not self.seeds:
            raise InputError("the wand begins at points; name a file of them with --seeds")
        places = read_points(self.seeds, scene.geobox)
        if len(places) > MOST_SEEDS:
            raise InputError(
                f"{self.seeds} holds {len(places)} seeds, and {MOST_SEEDS} can be compared with "
                "every pixel; give fewer, or let them grow with --method watershed --markers"
            )
        return places

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        seeds = self.places(source.scene)
        alike = Alike(
            source, self._seed_values(source, seeds), self._fit.tolerances(self.tolerance, SHARE)
        )
        relief = Relief(alike, source.shape, source.subfolder("shares"), At(seeds))
        labels = flood_relief(relief, Unmarked(), tile=tile, map=map)
        yield Level(None, keep_regions_at(seeds, labels, source, map))

    def _seed_values(self, source: Surfaces, seeds: Places) -> tuple[tuple[int, ...], ...]:
        """The values of each band at each seed, without repetitions."""
        colours = []
        for row, col in seeds:
            surface = source.compute(Window(row, col, 1, 1))
            if not surface.valid.all():
                raise InputError(
                    f"{self.seeds}: the seed at row {row}, column {col} has no data; take a pixel "
                    "that has"
                )
            colours.append(tuple(surface.values[:, 0, 0].tolist()))
        return tuple(dict.fromkeys(colours))


@dataclass(frozen=True)
class Alike:
    """Reads heights of which those are valid that differ from any of some colours by no more than a
    tolerance in each band."""

    source: Surfaces
    colours: tuple[tuple[int, ...], ...]
    tolerances: tuple[int, ...]

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        surface = self.source.read(window, "values")
        alike = np.zeros(window.shape, bool)
        for colour in self.colours:
            near = surface.valid.copy()
            for band, value, tolerance in zip(surface.values, colour, self.tolerances, strict=True):
                near &= (band >= value - tolerance) & (band <= value + tolerance)
            alike |= near
        assert surface.heights is not None
        return surface.heights[None], alike


@dataclass(frozen=True)
class At:
    """Marks some pixels of the raster."""

    places: Places

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        marked = np.zeros(window.shape, bool)
        for place in self.places:
            pixel = Window(*place, 1, 1)
            if pixel in window:
                marked[pixel.within(window)] = True
        return np.zeros((0, *window.shape), np.uint8), marked


def keep_regions_at(places: Places, labels: LabelFiles, source: Surfaces, map: Map) -> LabelFiles:
    """The labels of the regions in which some pixels lie, in a folder of their own; others are
    left out."""
    ids = []
    for (row, col), window in Passes.over(labels.shape, labels.tile, map).windows.items():
        inside = [p for p in places if (p[0] // labels.tile, p[1] // labels.tile) == (row, col)]
        if inside:
            pixels = labels.read(window).pixels
            ids += [int(pixels[r - window.row, c - window.col]) for r, c in inside]
    return keep_regions(labels, np.array(ids, np.int64), source.subfolder("kept"), map)
