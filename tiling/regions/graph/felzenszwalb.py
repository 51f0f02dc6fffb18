"""Felzenszwalb & Huttenlocher's segmentation: from the lowest edge to the highest, unite two
components whose difference is no larger than that inside either of them, plus `scale` over its size
(2004, https://doi.org/10.1023/B:VISI.0000022288.19776.77).

Each decision depends on all before it, so this is sequential and needs the whole graph. Of equal
edges the one given first is taken first. Edges within a component, most of them in the end, are
dropped many at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.regions.graph.whole_graph import Groups, Reals
from tiling.regions.passes import Flags, Values

MOST_PIXELS = 10**7
"""Pixels that are nodes of a graph themselves: about 4 GB and two minutes."""
_BATCH = 1 << 16


def unite_similar(
    one: npt.NDArray[np.integer],
    other: npt.NDArray[np.integer],
    weight: Reals,
    size: npt.NDArray[np.integer],
    *,
    scale: float,
    least: int = 0,
) -> Groups:
    """Component 0 … m - 1 of each node of a graph with `(edges,)` ends and weights and `(n,)` node
    sizes, in the order of their first nodes.

    Components smaller than `least` go to the neighbour across their lowest edge afterwards.
    """
    order = np.argsort(weight, kind="stable")
    ends, weight = np.stack([one, other])[:, order], weight[order]
    parent = np.arange(size.size)
    room, inner = size.astype(np.int64), np.zeros(size.size)
    for smallest in (None, least) if least else (None,):
        for start in range(0, weight.size, _BATCH):
            batch = np.s_[start : start + _BATCH]
            roots = _find_roots(parent, ends[:, batch])
            apart = roots[0] != roots[1]
            nodes, number = np.unique(roots[:, apart], return_inverse=True)
            forest = _Forest(list(range(nodes.size)), room[nodes].tolist(), inner[nodes].tolist())
            low, high = np.sort(number.reshape(2, -1), axis=0).tolist()
            _take_edges(forest, low, high, weight[batch][apart].tolist(), scale, smallest)
            parent[nodes], room[nodes], inner[nodes] = nodes[forest.parent], *forest[1:]
    _, groups = np.unique(_find_roots(parent, np.arange(size.size)), return_inverse=True)
    return groups


class _Forest(NamedTuple):
    """Components as trees, in plain lists: a loop reads them three times as fast as arrays."""

    parent: list[int]
    room: list[int]
    """Size of each root's component ..."""
    inner: list[float]
    """... and its highest edge."""


def _take_edges(
    forest: _Forest,
    low: list[int],
    high: list[int],
    weight: list[float],
    scale: float,
    smallest: int | None,
) -> None:
    """Unite across edges, one after the other: where both sides are as different inside, or, with
    `smallest`, where one side is smaller. The lower node is the root."""
    parent, room, inner = forest
    for node, beyond, edge in zip(low, high, weight, strict=True):
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        while parent[beyond] != beyond:
            parent[beyond] = beyond = parent[parent[beyond]]
        if node == beyond:
            continue
        if smallest is None:
            if edge > inner[node] + scale / room[node] or (
                edge > inner[beyond] + scale / room[beyond]
            ):
                continue
        elif room[node] >= smallest and room[beyond] >= smallest:
            continue
        if beyond < node:
            node, beyond = beyond, node
        parent[beyond] = node
        room[node] += room[beyond]
        inner[node] = edge


def segment_pixels(values: Values, valid: Flags, *, scale: float, least: int = 0) -> Groups:
    """`(y, x)` component 1 … m of each valid pixel of `(band, y, x)`, in raster order of first
    pixels, 0 elsewhere; neighbours at sides and corners are compared by their distance over bands.

    Raises `InputError` for more than 10⁷ px.
    """
    if valid.size > MOST_PIXELS:
        raise InputError(
            f"{valid.size} px are too many to be compared one by one (10⁷); clip the raster, or "
            f"begin with superpixels"
        )
    height, width = valid.shape
    node = np.full(valid.shape, -1)
    node[valid] = np.arange(np.count_nonzero(valid))
    ends: list[npt.NDArray[np.integer]] = []
    weights: list[Reals] = []
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        here = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        there = np.s_[down:, max(0, right) : width - max(0, -right)]
        both = valid[here] & valid[there]
        ends.append(np.stack([node[here][both], node[there][both]]))
        difference = values[:, *here].astype(np.float64) - values[:, *there]
        weights.append(np.sqrt((difference * difference).sum(0))[both])
    one, other = np.concatenate(ends, axis=1)
    sizes = np.ones(np.count_nonzero(valid), np.int64)
    groups = unite_similar(one, other, np.concatenate(weights), sizes, scale=scale, least=least)
    found = np.zeros(valid.shape, np.intp)
    found[valid] = groups + 1
    return found


def _find_roots(parent: Groups, nodes: Groups) -> Groups:
    """The roots of some nodes of any shape, which point at them then."""
    to = parent[nodes]
    while not np.array_equal(onward := parent[to], to):
        to = onward
    parent[nodes] = to
    return to
