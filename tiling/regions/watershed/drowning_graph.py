"""A graph that drowns: regions, the passes between them, and what goes over which at once.

See `tiling.regions.watershed.drowning` for the law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from tiling.regions.order import mark_first, number_groups, order_keys
from tiling.regions.passes import Flags
from tiling.regions.watershed.basins import jump
from tiling.regions.watershed.criteria import Criterion, Facts, Places
from tiling.regions.watershed.saddles import PLACE_BITS, Saddles


class Graph(NamedTuple):
    """Regions 0 … n - 1 and the passes between them, in any order; two regions may have several."""

    facts: Facts
    known: Flags
    """Whether all of a region, and all its passes, are here."""
    settled: Flags
    one: Places
    other: Places
    saddle: Saddles

    def lowest_passes(self) -> Places:
        """`(n,)` number of each region's lowest pass; the number of passes where it has none."""
        n = self.known.size
        lowest, number = np.full(n, np.iinfo(np.uint64).max, np.uint64), np.full(n, self.one.size)
        for ends in (self.one, self.other):
            np.minimum.at(lowest, ends, self.saddle)
        for ends in (self.one, self.other):
            # No two passes are equal, so one of them is that low.
            (at,) = np.nonzero(self.saddle == lowest[ends])
            number[ends[at]] = at
        return number

    def unite(self, to: Places) -> tuple[Graph, Places]:
        """The graph of groups, `to` giving a region of the group of each, and their numbers."""
        group, roots = number_groups(to)
        n = roots.size
        known, settled = np.ones(n, bool), np.zeros(n, bool)
        known[group[~self.known]] = False
        settled[group[self.settled]] = True
        one, other = group[self.one], group[self.other]
        apart = one != other
        facts = self.facts.merge(group, n)
        return Graph(facts, known, settled, one[apart], other[apart], self.saddle[apart]), group


def drown(graph: Graph, criterion: Criterion) -> tuple[Places, Graph]:
    """Let everything drown whose fate is known: the group of each region, and the graph of
    groups."""
    group = np.arange(graph.known.size)
    while True:
        graph, to = _choose(graph, criterion)
        if np.array_equal(to, np.arange(to.size)):
            return group, graph
        graph, number = graph.unite(jump(to))
        group = number[group]


def _choose(graph: Graph, criterion: Criterion) -> tuple[Graph, Places]:
    """The graph with settled what is large now, and where each region goes at once; itself, if it
    stays or waits."""
    regions, lowest = np.arange(graph.known.size), graph.lowest_passes()
    asked = np.flatnonzero(graph.known & ~graph.settled)
    alone = lowest[asked] == graph.one.size
    settled = graph.settled.copy()
    settled[asked[alone]] = True
    asked = asked[~alone]
    heights = (graph.saddle[lowest[asked]] >> np.uint64(PLACE_BITS)).astype(np.int64)
    small = criterion.is_small(graph.facts.where(asked), heights)
    settled[asked[~small]] = True
    goes, to = asked[small], regions.copy()
    one, other = graph.one[lowest[goes]], graph.other[lowest[goes]]
    to[goes] = np.where(one == goes, other, one)
    if not criterion.confluent:
        target = to[goes]
        waits = ~(settled[target] | (to[target] == goes))
        to[goes[waits]] = goes[waits]
    # Each goes over its lowest pass, and no two passes are equal: no circle is longer than two.
    mutual = (to[to] == regions) & (to > regions)
    to[mutual] = regions[mutual]
    return graph._replace(settled=settled), to


def find_spanning_forest(graph: Graph, chosen: Places) -> Places:
    """Which of some passes, given by number, are in the minimum spanning forest."""
    n = graph.known.size
    chosen = chosen[np.argsort(graph.saddle[chosen])]
    ends = np.sort([graph.one[chosen], graph.other[chosen]], axis=0)
    # The lowest between each two; a sparse array would add them up.
    order, pair = order_keys(ends[0] * n + ends[1])
    lowest = order[mark_first(pair)]
    weights = csr_array((lowest + 1.0, tuple(ends[:, lowest])), shape=(n, n))
    forest = np.sort(minimum_spanning_tree(weights).data.astype(np.intp)) - 1
    return chosen[forest]
