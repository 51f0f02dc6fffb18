"""Zones: what hangs together by neighbours that are alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from flows.partitions.partition import Level, Partition
from flows.partitions.settings import Connectivity, Tolerance
from flows.partitions.surfaces import Surfaces
from tiling.io.spill import Map
from tiling.regions.passes import Flags, Values
from tiling.regions.zones import Zones as LinkedPixels
from tiling.regions.zones import find_zones

SHARE = 0.1
"""Of the standard deviation of a band, by which neighbours may differ if nobody says."""


@dataclass(frozen=True)
class WithinEach:
    """Neighbours are linked where no band differs by more than its own tolerance."""

    tolerances: tuple[int, ...]

    def __call__(self, one: Values, other: Values, down: bool) -> Flags:
        difference = np.abs(np.subtract(one, other, dtype=np.int64))
        shape = (-1, *[1] * (difference.ndim - 1))
        linked: Flags = np.all(difference <= np.reshape(self.tolerances, shape), axis=0)
        return linked


class Zones(Partition):
    """Quasi-flat zones: pixels that neighbours connect which differ by no more than a tolerance in
    any band (Soille 2008, https://doi.org/10.1109/TPAMI.2007.70817); with a tolerance of 0 the
    areas of one value.

    Differences add up from neighbour to neighbour: a zone may hold a slow change from dark to
    bright. It suits images with few values, such as maps and masks, and little noise.
    """

    bytes_per_pixel: ClassVar[int] = 160

    kind: Literal["zones"] = "zones"
    tolerance: Tolerance = None
    connectivity: Connectivity = 4

    @property
    def touch_at_corners(self) -> bool:
        return self.connectivity == 8

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        zones = LinkedPixels(
            source.values,
            source.shape,
            source.subfolder("zones"),
            WithinEach(self._fit.tolerances(self.tolerance, SHARE)),
            self.connectivity,
        )
        yield Level(None, find_zones(zones, tile=tile, map=map))
