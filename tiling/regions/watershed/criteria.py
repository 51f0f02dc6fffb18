"""What is small and drowns: criteria of regions of a relief."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.regions.components import Ids
from tiling.regions.passes import Flags

Numbers: TypeAlias = npt.NDArray[np.int64]
Places: TypeAlias = npt.NDArray[np.intp]


class Facts(NamedTuple):
    """What is added up over regions: parallel arrays."""

    area: Numbers
    """Pixels."""
    low: Numbers
    """Lowest height."""
    marked: Flags
    """Whether a marker lies in it."""
    first: Ids
    """Smallest id of its basins: what the region is called."""

    def merge(self, group: Places, n: int) -> Facts:
        """The facts of groups 0 … n - 1."""
        most = np.iinfo(np.int64).max
        area, low, first = np.zeros(n, np.int64), np.full(n, most), np.full(n, most)
        marked = np.zeros(n, bool)
        np.add.at(area, group, self.area)
        np.minimum.at(low, group, self.low)
        np.minimum.at(first, group, self.first)
        marked[group[self.marked]] = True
        return Facts(area, low, marked, first)

    def where(self, chosen: npt.NDArray[np.generic]) -> Facts:
        """The facts of some of the regions."""
        return Facts(*(column[chosen] for column in self))


class Criterion(Protocol):
    """Says which regions drown; it has to be monotone."""

    @property
    def confluent(self) -> bool:
        """Whether whatever joins a small region through a pass higher than its lowest leaves it
        small."""
        ...

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        """Of regions and the heights of their lowest passes."""
        ...


@dataclass(frozen=True)
class AreaBelow:
    """Small are regions of fewer pixels."""

    least: int
    confluent: bool = False

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        return regions.area < self.least


@dataclass(frozen=True)
class DynamicsBelow:
    """Small are regions less deep, from the lowest pass down to the minimum: h-minima."""

    least: int
    confluent: bool = True

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        return passes - regions.low < self.least


@dataclass(frozen=True)
class VolumeBelow:
    """Small are regions whose area times depth is less.

    The water that a basin holds would not be monotone: slopes above the pass count against it.
    """

    least: int
    confluent: bool = False

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        return regions.area * (passes - regions.low) < self.least


@dataclass(frozen=True)
class Unmarked:
    """Small are regions without a marker: the marker-controlled watershed."""

    confluent: bool = True

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        return ~regions.marked


@dataclass(frozen=True)
class UnmarkedBelow:
    """Small are regions without a marker whose lowest pass is lower than a barrier: markers compete
    for what lies below it, and nothing crosses it."""

    barrier: int
    confluent: bool = True

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        return ~regions.marked & (passes < self.barrier)


@dataclass(frozen=True)
class AnyOf:
    """Small are regions that one of several criteria calls so."""

    criteria: tuple[Criterion, ...]
    confluent: bool = False

    def is_small(self, regions: Facts, passes: Numbers) -> Flags:
        return np.any([each.is_small(regions, passes) for each in self.criteria], axis=0)
