"""Merging that may be done anywhere, in any order: the cheapest pair first, up to a limit, with a
reducible cost.

A cost is *reducible* if uniting two regions brings no third one closer than the nearer of the two
was: cost(A ∪ B, C) ≥ min(cost(A, C), cost(B, C)). Then two regions that are each other's cheapest
neighbours may unite at once, whatever happens elsewhere, and the result is that of always uniting
the cheapest pair of all (Bruynooghe 1977; for images with mean affinities Lu, Zlateski & Seung
2021, https://arxiv.org/abs/2106.10795). So a tile merges what it knows whole. What touches its edge
waits, and only that, and what might merge with it, is told.

The cost is the mean of a fixed contrast along the common border, times 1 / (1/|A| + 1/|B|). A mean
over a union is no less than the least of its parts, and the second factor grows with either region.
(The costs of Ward and of Baatz & Schäpe are not reducible: a mean colour may move towards a third
region.)

Costs are float64. Every operation of the formula is monotone under rounding, so the inequality
holds for what is computed; `|A|·|B| / (|A| + |B|)` would not be. Equal costs are ordered by the
greatest *lot* of the sides where two regions touch, which can but grow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.regions.merging.borders import Borders, Numbers
from tiling.regions.passes import Flags

Places: TypeAlias = npt.NDArray[np.intp]
Costs: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Merging:
    """Up to what cost regions merge at one level."""

    limit: float
    """Pairs that cost as much or more stay apart. A contrast of one standard deviation counts as
    10 000, and two regions of one size cost half of it for each of their pixels."""
    least: float = 0
    """Regions of fewer pixels cost less than the limit in any case, the dearest last: none stays
    that has a neighbour."""

    def count_in(self, pixel: int) -> Merging:
        """The same where sizes count in units, `pixel` of them to a pixel."""
        return replace(self, limit=self.limit * pixel, least=self.least * pixel)

    def price(self, borders: Borders, size: Numbers) -> Costs:
        """What uniting the regions on either side of each border costs; `size` `(n,)` is theirs."""
        one, other = (size[ends].astype(np.float64) for ends in borders[:2])
        cost: Costs = borders.contrast / borders.length * (1.0 / (1.0 / one + 1.0 / other))
        if not self.least:
            return cost
        # A cost d above L/2 becomes L - (L/2)²/d where a region is too small: the same order, all
        # below L and none above d. So the inequality still holds.
        half = self.limit / 2
        bent = np.maximum(self.limit - half * half / np.maximum(cost, half), half)
        bent = np.minimum(np.minimum(bent, cost), np.nextafter(self.limit, 0))
        return np.where(np.minimum(one, other) < self.least, bent, cost)


class RegionGraph(NamedTuple):
    """Regions 0 … n - 1 and the borders between them."""

    size: Numbers
    known: Flags
    """Whether all of a region, and all its borders, are here."""
    borders: Borders


def merge_known(graph: RegionGraph, merging: Merging) -> tuple[Places, RegionGraph]:
    """Unite what may be united: the group `(n,)` of each region, and the graph of groups, which are
    in the order of their first regions. What is not known stays alone."""
    group = np.arange(graph.size.size)
    while True:
        united = _mutual_choices(graph, merging)
        if not united.any():
            return group, graph
        to = np.arange(graph.size.size)
        to[graph.borders.other[united]] = graph.borders.one[united]
        first, number = np.unique(to, return_inverse=True)
        size = np.zeros(first.size, np.int64)
        np.add.at(size, number, graph.size)
        graph = RegionGraph(size, graph.known[first], graph.borders.between(number))
        group = number[group]


def find_undecided(graph: RegionGraph, merging: Merging) -> Places:
    """The regions, ascending, whose fate is not known after `merge_known`: those not known
    themselves, and those that have a border that costs less than the limit.

    No other will merge: uniting neighbours makes no border of theirs cheaper.
    """
    undecided = ~graph.known
    cheap = merging.price(graph.borders, graph.size) < merging.limit
    undecided[graph.borders.one[cheap]] = True
    undecided[graph.borders.other[cheap]] = True
    return np.flatnonzero(undecided)


def _mutual_choices(graph: RegionGraph, merging: Merging) -> Flags:
    """The borders whose two regions, both known, are each other's cheapest neighbours, below the
    limit."""
    borders, n = graph.borders, graph.size.size
    cost = merging.price(borders, graph.size)
    least = np.full(n, np.inf)
    np.minimum.at(least, borders.one, cost)
    np.minimum.at(least, borders.other, cost)
    cheapest = [cost == least[ends] for ends in borders[:2]]
    lot = np.full(n, np.iinfo(np.int64).max)
    for ends, ties in zip(borders[:2], cheapest, strict=True):
        np.minimum.at(lot, ends[ties], borders.lot[ties])
    chosen: Flags = cheapest[0] & cheapest[1] & (cost < merging.limit)
    for ends in borders[:2]:
        chosen &= (lot[ends] == borders.lot) & graph.known[ends]
    return chosen
