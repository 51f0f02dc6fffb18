"""Merging that may be done anywhere, in any order: the cheapest pair first, up to a limit, with a
reducible cost.

A cost is *reducible* if uniting two regions brings no third one closer than the nearer of the two
was: cost(A ∪ B, C) ≥ min(cost(A, C), cost(B, C)). Then two regions that are each other's cheapest
neighbours may unite at once, whatever happens elsewhere, and the result is that of always uniting
the cheapest pair of all (Bruynooghe 1977; for images with mean affinities Lu, Zlateski & Seung
2021, https://arxiv.org/abs/2106.10795). So a tile merges what it knows whole. What touches its edge
waits, and only that, and what might merge with it, is told.

The cost is the mean of a fixed contrast along the common border, times 1 / (1/|A| + 1/|B|), or that
mean alone. A mean over a union is no less than the least of its parts, and the second factor grows
with either region.
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
from tiling.regions.order import number_groups
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
        cost = self.cost(borders, one, other)
        if not self.least:
            return cost
        # A cost d above L/2 becomes L - (L/2)²/d where a region is too small: the same order, all
        # below L and none above d. So the inequality still holds.
        half = self.limit / 2
        bent = np.maximum(self.limit - half * half / np.maximum(cost, half), half)
        bent = np.minimum(np.minimum(bent, cost), np.nextafter(self.limit, 0))
        return np.where(np.minimum(one, other) < self.least, bent, cost)

    def cost(self, borders: Borders, one: Costs, other: Costs) -> Costs:
        """The same where no region is too small, from the sizes on either side."""
        cost: Costs = borders.contrast / borders.length * (1.0 / (1.0 / one + 1.0 / other))
        return cost


@dataclass(frozen=True)
class BorderMerging(Merging):
    """The same by the mean contrast along a border alone, however large the regions: mean affinity
    (Lu, Zlateski & Seung 2021)."""

    def count_in(self, pixel: int) -> Merging:
        return replace(self, least=self.least * pixel)

    def cost(self, borders: Borders, one: Costs, other: Costs) -> Costs:
        cost: Costs = borders.contrast / borders.length
        return cost


class RegionGraph(NamedTuple):
    """Regions 0 … n - 1 and the borders between them."""

    size: Numbers
    known: Flags
    """Whether all of a region, and all its borders, are here."""
    borders: Borders


def merge_known(graph: RegionGraph, merging: Merging) -> tuple[Places, RegionGraph]:
    """Unite what may be united: the group `(n,)` of each region, and the graph of groups, which are
    in the order of their first regions. What is not known stays alone."""
    n, group = graph.size.size, np.arange(graph.size.size)
    borders = Borders(*(column.copy() for column in graph.borders))
    # A row whose border is gone has the ends n, n, the size of nobody, and costs more than any.
    size, known = np.append(graph.size, 1), np.append(graph.known, False)
    cost = merging.price(borders, size)
    while (united := _mutual_choices(borders, cost, known, merging.limit)).size:
        stays, goes = borders.one[united], borders.other[united]
        to, grown = np.arange(n + 1), np.zeros(n + 1, bool)
        to[goes] = stays
        grown[stays] = grown[goes] = True
        size[stays] += size[goes]
        group = to[group]
        rows = np.flatnonzero(grown[borders.one] | grown[borders.other])
        changed = borders.where(rows).between(to)
        rows, gone = np.split(rows, [changed.one.size])
        for column, value in zip(borders, changed, strict=True):
            column[rows] = value
        cost[rows] = merging.price(changed, size)
        borders.one[gone] = borders.other[gone] = n
        cost[gone] = np.inf
    number, first = number_groups(group)
    left = borders.where(borders.one < n)
    return number, RegionGraph(size[first], graph.known[first], left.between(number))


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


def _mutual_choices(borders: Borders, cost: Costs, known: Flags, limit: float) -> Places:
    """The rows whose two regions, both known, are each other's cheapest neighbours, below the
    limit."""
    # Whoever has a border below the limit has its cheapest there.
    rows = np.flatnonzero(cost < limit)
    ends, cost, lots = (borders.one[rows], borders.other[rows]), cost[rows], borders.lot[rows]
    least = np.full(known.size, np.inf)
    lot = np.full(known.size, np.iinfo(np.int64).max)
    for region in ends:
        np.minimum.at(least, region, cost)
    cheapest = [cost == least[region] for region in ends]
    for region, ties in zip(ends, cheapest, strict=True):
        np.minimum.at(lot, region[ties], lots[ties])
    chosen = np.flatnonzero(cheapest[0] & cheapest[1])
    for region in ends:
        at = region[chosen]
        chosen = chosen[(lot[at] == lots[chosen]) & known[at]]
    return rows[chosen]
