"""Felzenszwalb & Huttenlocher's segmentation is scikit-image's, and that of a loop over edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import felzenszwalb

from tests.tiling.regions.drawn import Array
from tiling.errors import InputError
from tiling.regions.graph.felzenszwalb import segment_pixels, unite_similar


def number(labels: Array) -> Array:
    """Labels by their first pixels, from 1."""
    _, first, of = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return (rank[of] + 1).reshape(labels.shape)


def one_by_one(
    ends: Array, weight: Array, size: Array, scale: float, least: int
) -> list[frozenset[int]]:
    """Sets of nodes, from the lowest edge to the highest."""
    part = {node: frozenset([node]) for node in range(size.size)}
    inner = {frozenset([node]): 0.0 for node in range(size.size)}
    order = sorted(range(weight.size), key=lambda edge: (weight[edge], edge))
    for small in (False, True):
        for edge in order:
            a, b = part[int(ends[0, edge])], part[int(ends[1, edge])]
            if a == b:
                continue
            areas = [int(size[list(each)].sum()) for each in (a, b)]
            rooms = [inner[each] + scale / area for each, area in zip((a, b), areas, strict=True)]
            if min(areas) < least if small else weight[edge] <= min(rooms):
                inner[a | b] = float(weight[edge])
                part.update(dict.fromkeys(a | b, a | b))
    return sorted(set(part.values()), key=min)


@settings(max_examples=60)
@given(
    n=st.integers(1, 20),
    edges=st.integers(0, 60),
    seed=st.integers(0, 9999),
    scale=st.sampled_from([0.0, 3.0, 50.0]),
    least=st.sampled_from([0, 5]),
)
def test_edges_are_taken_from_the_lowest_to_the_highest(
    n: int, edges: int, seed: int, scale: float, least: int
) -> None:
    chance = np.random.default_rng(seed)
    ends, weight = chance.integers(0, n, (2, edges)), np.float64(chance.integers(0, 9, edges))
    size = chance.integers(1, 6, n)
    groups = unite_similar(*ends, weight, size, scale=scale, least=least)
    expected = one_by_one(ends, weight, size, scale, least)
    assert [frozenset(np.flatnonzero(groups == g).tolist()) for g in range(len(expected))] == (
        expected
    )


@pytest.mark.parametrize("scale", [30.0, 300.0])
@pytest.mark.parametrize("least", [0, 12])
def test_pixels_are_parted_as_scikit_image_parts_them(scale: float, least: int) -> None:
    """Where no two edges are equal."""
    chance = np.random.default_rng(int(scale) + least)
    blocks = np.kron(chance.random((3, 5, 4)), np.ones((9, 11)))
    image = blocks + 0.1 * chance.random(blocks.shape)
    found = segment_pixels(image, np.ones(image.shape[1:], bool), scale=scale / 255, least=least)
    theirs = felzenszwalb(image, scale=scale, sigma=0, min_size=least, channel_axis=0)
    assert 1 < found.max() < 2000
    np.testing.assert_array_equal(found, number(theirs))


def test_pixels_without_data_are_in_no_component() -> None:
    valid = np.ones((4, 7), bool)
    valid[:, 3] = False
    found = segment_pixels(np.zeros((1, 4, 7), int), valid, scale=1)
    assert found.tolist() == [[1, 1, 1, 0, 2, 2, 2]] * 4


def test_too_many_pixels_are_refused() -> None:
    nothing = np.broadcast_to(False, (10_000, 1_001))
    with pytest.raises(InputError, match="begin with superpixels"):
        segment_pixels(np.zeros((1, 1, 1)), nothing, scale=1)
