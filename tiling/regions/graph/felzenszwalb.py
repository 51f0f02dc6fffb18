"""Felzenszwalb & Huttenlocher's segmentation: from the lowest edge to the highest, unite two
components whose difference is no larger than that inside either of them, plus `scale` over its size
(2004, https://doi.org/10.1023/B:VISI.0000022288.19776.77).

Each decision depends on all before it, so this is sequential and needs the whole graph. Of equal
edges the one given first is taken first. Edges within a component, most of them in the end, are
dropped many at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.regions.graph.whole_graph import Groups, Reals
from tiling.regions.passes import Flags, Values

MOST_PIXELS = 10**7
"""Pixels that are nodes of a graph themselves: about 3 GB and a minute or two."""
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
    one, other, weight = one[order], other[order], weight[order]
    parent, room = list(range(size.size)), size.tolist()
    inner = [0.0] * size.size

    def is_similar(a: int, b: int, edge: float) -> bool:
        return edge <= min(inner[a] + scale / room[a], inner[b] + scale / room[b])

    def is_small(a: int, b: int, edge: float) -> bool:
        return min(room[a], room[b]) < least

    for unites in (is_similar, is_small) if least else (is_similar,):
        for start in range(0, one.size, _BATCH):
            batch = np.s_[start : start + _BATCH]
            roots = _find_roots(parent)
            a, b = roots[one[batch]], roots[other[batch]]
            apart = a != b
            rows = zip(a[apart].tolist(), b[apart].tolist(), weight[batch][apart], strict=True)
            for a_root, b_root, edge in rows:
                low, high = sorted((_find(parent, a_root), _find(parent, b_root)))
                if low != high and unites(low, high, edge):
                    parent[high] = low
                    room[low] += room[high]
                    inner[low] = edge
    _, groups = np.unique(_find_roots(parent), return_inverse=True)
    return groups


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


def _find(parent: list[int], node: int) -> int:
    """The root of a node; paths are halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _find_roots(parent: list[int]) -> npt.NDArray[np.intp]:
    """The root of every node; `parent` points at it then."""
    to = np.array(parent, np.intp)
    while not np.array_equal(onward := to[to], to):
        to = onward
    parent[:] = to.tolist()
    return to
