"""Normalised cuts are the best of all along the second eigenvector, and scikit-image's where its
evenly spaced ones reach them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from skimage.graph import cut_normalized, rag_mean_color

from tests.chance import chances
from tests.tiling.regions.drawn import Array
from tiling.regions.graph.normalised_cut import cut_graph, find_best_cut


def draw_graph(n: int, chance: np.random.Generator) -> tuple[Array, Array]:
    """`(2, edges)` ends of a connected graph, each pair once, and similarities."""
    chain = np.stack([np.arange(n - 1), np.arange(1, n)])
    more = np.sort(chance.integers(0, n, (2, 2 * n)), axis=0)
    ends = np.unique(np.concatenate([chain, more[:, more[0] < more[1]]], axis=1), axis=1)
    return ends, chance.random(ends.shape[1])


def matrix_of(ends: Array, similarity: Array, n: int) -> Array:
    matrix = np.eye(n)
    matrix[ends[0], ends[1]] = matrix[ends[1], ends[0]] = similarity
    return matrix


def cost_of(matrix: Array, side: Array) -> float:
    lost = matrix[side][:, ~side].sum()
    return float(lost / matrix[side].sum() + lost / matrix[~side].sum())


@pytest.mark.parametrize("n", [2, 3, 9, 230])
def test_the_best_cut_is_no_dearer_than_any_along_the_eigenvector(n: int) -> None:
    for chance in chances(4):
        ends, similarity = draw_graph(n, chance)
        matrix = matrix_of(ends, similarity, n)
        side, cost = find_best_cut(csr_array(matrix))
        assert 0 < side.sum() < n
        np.testing.assert_allclose(cost, cost_of(matrix, side), rtol=1e-9)
        root = 1 / np.sqrt(matrix.sum(0))
        vectors = np.linalg.eigh(np.eye(n) - root[:, None] * matrix * root)[1]
        second = vectors[:, 1] * root
        costs = [cost_of(matrix, second > level) for level in np.sort(second)[:-1]]
        np.testing.assert_allclose(cost, min(costs), rtol=1e-6)


def test_clear_parts_are_those_of_scikit_image() -> None:
    """A picture of four colours under 48 superpixels, and some noise."""
    chance = np.random.default_rng(5)
    colours = np.array([[20, 20, 20], [200, 30, 30], [30, 200, 40], [40, 60, 210]])
    place = np.kron([[0, 1], [2, 3]], np.ones((24, 32), int))
    image = colours[place] + chance.integers(0, 8, (*place.shape, 3))
    rows, cols = np.indices(place.shape)
    superpixels = rows // 8 * 8 + cols // 8
    graph = rag_mean_color(image, superpixels, mode="similarity", sigma=80)
    ends = np.array([(min(edge), max(edge)) for edge in graph.edges]).T
    similarity = np.array([graph.edges[edge]["weight"] for edge in graph.edges])
    theirs = cut_normalized(superpixels, graph, thresh=0.05, rng=1)
    ours = cut_graph(*ends, similarity, int(superpixels.max()) + 1, most=0.05)[superpixels]
    pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1)
    assert pairs.shape[1] == np.unique(ours).size == np.unique(theirs).size == 4


def test_what_does_not_hang_together_is_apart_and_one_node_is_a_part() -> None:
    groups = cut_graph(np.array([0, 3]), np.array([2, 4]), np.array([0.9, 0.9]), 6, most=0)
    assert groups.tolist() == [0, 1, 0, 2, 2, 3]
