"""Shi & Malik's normalised cut: a graph is cut in two where the similarity lost is least, as a
share of all that either side has; the same again for the parts, while this share is below a
threshold (2000, https://doi.org/10.1109/34.868688).

The second eigenvector of the normalised graph puts its nodes in order; of all cuts of this order
the best is taken (theirs: one of some evenly spaced). It needs the whole graph, and its result is a
function of it: the same from any tiles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array, csr_array, dia_array, eye_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh, splu

from tiling.regions.graph.whole_graph import Groups, Reals
from tiling.regions.passes import Flags

_DENSE = 200
"""Nodes up to which all eigenvectors are computed, which never fails to converge."""
_SHIFT = 1 + 1e-4
_LEAST = 1e-6
"""Similarities below count as none: what they alone connect costs nothing to cut, and by hundreds
they would have as many eigenvalues of nearly 1."""


def cut_graph(
    one: npt.NDArray[np.integer],
    other: npt.NDArray[np.integer],
    similarity: Reals,
    n: int,
    *,
    most: float = 0.001,
) -> Groups:
    """Part 0 … m - 1 of each of `n` nodes, in the order of their first nodes, from `(edges,)` ends
    and similarities between 0 and 1.

    A part is cut as long as its best cut costs less than `most`, from 0 to 2. Every node is as
    similar to itself as can be.
    """
    strong = similarity >= _LEAST
    ends, similarity = np.stack([one, other])[:, strong].astype(np.intp), similarity[strong]
    rows, cols = np.concatenate([ends, ends[::-1]], axis=1)
    both = np.concatenate([similarity, similarity])
    whole = csr_array((both, (rows, cols)), shape=(n, n)) + dia_array(
        (np.ones((1, n)), [0]), shape=(n, n)
    )
    graph = csr_array(whole)
    _, part = connected_components(graph, directed=False)
    waiting = [np.flatnonzero(part == number) for number in range(int(part.max(initial=-1)) + 1)]
    name = np.arange(n)
    while waiting:
        nodes = waiting.pop()
        side, cost = find_best_cut(csr_array(graph[nodes][:, nodes]))
        if cost < most:
            waiting += [nodes[side], nodes[~side]]
        else:
            name[nodes] = nodes[0]
    _, groups = np.unique(name, return_inverse=True)
    return groups


def find_best_cut(graph: csr_array) -> tuple[Flags, float]:
    """The nodes on one side of the best cut along the second eigenvector, and what it costs;
    infinite where a graph has no two nodes."""
    n = graph.shape[0]
    if n < 2:
        return np.zeros(n, bool), np.inf
    degree: Reals = np.asarray(graph.sum(axis=0)).ravel()
    order = np.argsort(_second_vector(graph, degree), kind="stable")
    rank = np.empty(n, np.intp)
    rank[order] = np.arange(n)
    edges = graph.tocoo()
    low, high = rank[edges.row], rank[edges.col]
    across = low < high
    # An edge is lost in the cuts between its two ends.
    lost = np.bincount(low[across], edges.data[across], n)
    lost -= np.bincount(high[across], edges.data[across], n)
    cut, inside = np.cumsum(lost)[:-1], np.cumsum(degree[order])
    cost = np.maximum(cut, 0) * (1 / inside[:-1] + 1 / (inside[-1] - inside[:-1]))
    best = int(np.argmin(cost))
    return rank <= best, float(cost[best])


def _second_vector(graph: csr_array, degree: Reals) -> Reals:
    """The eigenvector of the second least eigenvalue of the normalised Laplacian, as `(n,)` values
    of nodes whose first is not negative."""
    root = 1 / np.sqrt(degree)
    n = degree.size
    scale = dia_array((root[None], [0]), shape=(n, n))
    alike = csr_array(scale @ graph @ scale)
    if n <= _DENSE:
        vectors = np.linalg.eigh(alike.toarray())[1]
    else:
        # Those nearest a value a little above 1, which is the greatest: so few steps are needed
        # where eigenvalues crowd. The matrix that is solved is definite: no pivots.
        beyond = csc_array(alike - _SHIFT * eye_array(n))
        factors = splu(
            beyond,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        solve = LinearOperator((n, n), factors.solve, dtype=np.float64)
        start = np.random.default_rng(0).random(n)
        values, vectors = eigsh(
            csc_array(alike), k=2, sigma=_SHIFT, OPinv=solve, v0=start, tol=1e-5
        )
        vectors = vectors[:, np.argsort(values)]
    second: Reals = vectors[:, -2] * root
    return -second if second[0] < 0 else second
