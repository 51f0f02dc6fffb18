"""Masks found around the squares of a lattice: the regions of a greedy choice over the whole
raster, whatever the tiles, the order of work and retries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from tests.chance import chances
from tests.tiling.regions.drawn import MAPS, mosaic
from tiling.grid.window import Window
from tiling.regions.masks.masks import Mask, Masks
from tiling.regions.masks.reconcile import Found, Lattice, reconcile, suppress
from tiling.regions.passes import Passes


@dataclass(frozen=True)
class Drawing:
    """Masks, each with the first pixel of the square it belongs to."""

    masks: tuple[tuple[tuple[int, int], Mask], ...]

    def __call__(self, square: Window) -> Masks:
        place = square.row, square.col
        return Masks.of(mask for owner, mask in self.masks if owner == place)


def drawn_masks(
    shape: tuple[int, int], core: int, margin: int, n: int, random: np.random.Generator
) -> Drawing:
    """Ragged masks around every square, many with equal scores, some of them twice."""
    whole, masks = Window.of_shape(*shape), []
    squares = list(whole.blocks(core))
    for _ in range(n):
        square = squares[random.integers(len(squares))]
        wide = square.pad(margin) & whole
        height, width = (int(random.integers(1, side + 1)) for side in wide.shape)
        row = wide.row + int(random.integers(wide.height - height + 1))
        col = wide.col + int(random.integers(wide.width - width + 1))
        pixels = random.random((height, width)) < random.choice([0.6, 0.8, 1])
        mask = Mask(row, col, pixels, int(random.integers(4)), int(random.integers(1, 3))).trim()
        if mask is None:
            continue
        masks.append(((square.row, square.col), mask))
        again = [w for w in squares if mask.window in (w.pad(margin) & whole)]
        masks += [((w.row, w.col), mask) for w in again if random.random() < 0.4]
    return Drawing(tuple(masks))


def greedily(
    drawing: Drawing, shape: tuple[int, int], core: int, overlap: int, least: int
) -> np.ndarray:
    """`(y, x)` first pixel of each pixel's object, or -1: one by one, on the whole raster."""
    squares = {(w.row, w.col): n for n, w in enumerate(Window.of_shape(*shape).blocks(core))}
    whole = []
    for owner, mask in drawing.masks:
        pixels = np.zeros(shape, bool)
        pixels[mask.window.within(Window.of_shape(*shape))] = mask.pixels
        first = int(np.flatnonzero(pixels)[0])
        whole.append(((-mask.score, first, -int(pixels.sum()), squares[owner]), pixels))
    kept: list[np.ndarray] = []
    for _, pixels in sorted(whole, key=lambda one: one[0]):
        if not any(
            (common := (pixels & other).sum())
            and 100 * common >= overlap * min(pixels.sum(), other.sum())
            for other in kept
        ):
            kept.append(pixels)
    found, taken = np.full(shape, -1), np.zeros(shape, bool)
    for pixels in kept:
        pieces, n = label(pixels & ~taken)
        taken |= pixels
        if n and (sizes := np.bincount(pieces.ravel())[1:]).max() >= least:
            rest = pieces == 1 + sizes.argmax()
            found[rest] = np.flatnonzero(rest)[0]
    return found


def found_by(drawing: Any, lattice: Lattice, tile: int, map: Any = map, **more: int) -> Found:
    asked = {"overlap": 50, "least": 1} | more
    return reconcile(drawing, lattice, tile=tile, map=map, **asked)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.integers(2, 17),
    st.integers(0, 9),
    st.integers(0, 25),
    st.sampled_from([1, 30, 50, 100]),
    st.sampled_from([1, 6]),
    st.tuples(st.integers(2, 40), st.sampled_from(MAPS)),
    st.integers(0, 9999),
)
def test_it_is_the_greedy_choice_whatever_tiles_retries_and_order(
    shape: tuple[int, int], core: int, margin: int, n: int, overlap: int, least: int,
    work: tuple[int, Any], seed: int,
) -> None:  # fmt: skip
    drawing = drawn_masks(shape, core, margin, n, np.random.default_rng(seed))
    expected = greedily(drawing, shape, core, overlap, least)
    with TemporaryDirectory() as folder:
        lattice = Lattice(shape, core, margin, Path(folder))
        found = found_by(drawing, lattice, *work, overlap=overlap, least=least)
        np.testing.assert_array_equal(mosaic(found.labels), expected)
    np.testing.assert_array_equal(found.ids, np.unique(expected[expected >= 0]))


def test_an_object_over_four_squares_that_each_of_them_finds_is_one(tmp_path: Path) -> None:
    pixels = np.ones((10, 12), bool)
    masks = [((row, col), Mask(11, 10, pixels, 9, 1)) for row in (0, 16) for col in (0, 16)]
    found = found_by(Drawing(tuple(masks)), Lattice((32, 32), 16, 12, tmp_path), 16)
    drawn = np.full((32, 32), -1)
    drawn[11:21, 10:22] = 11 * 32 + 10
    np.testing.assert_array_equal(mosaic(found.labels), drawn)
    assert (found.score.tolist(), found.kind.tolist()) == ([9], [1])


def test_what_the_surer_one_takes_leaves_the_larger_piece(tmp_path: Path) -> None:
    bar, across = np.ones((3, 20), bool), np.ones((9, 4), bool)
    masks = Drawing((((0, 0), Mask(5, 0, bar, 8, 1)), ((0, 0), Mask(2, 6, across, 9, 2))))
    found = found_by(masks, Lattice((20, 20), 20, 0, tmp_path), 7)
    pixels = mosaic(found.labels)
    assert (pixels[2:11, 6:10] == 2 * 20 + 6).all()
    assert (pixels[5:8, 10:] == 5 * 20 + 10).all()
    assert (pixels[5:8, :6] == -1).all()
    assert found.kind.tolist() == [2, 1]


def test_a_chain_of_suppression_is_decided_from_its_surest_end() -> None:
    """Each excludes the next: every second one stays, however long the chain."""
    (random,) = chances(1)
    n = 2001
    places = random.permutation(n)
    rank = np.empty(n, np.int64)
    rank[places] = np.arange(n)
    pairs = np.column_stack([places[:-1], places[1:]])
    turned = random.random(n - 1) < 0.5
    pairs[turned] = pairs[turned, ::-1]
    kept = suppress(rank, pairs[random.permutation(n - 1)])
    assert kept[places].tolist() == [place % 2 == 0 for place in range(n)]


def test_masks_come_back_from_their_file(tmp_path: Path) -> None:
    (random,) = chances(1)
    masks = [
        Mask(*random.integers(0, 99, 2).tolist(), random.random((h, w)) < 0.5, h, w)
        for h, w in random.integers(1, 12, (20, 2)).tolist()
    ]
    Masks.of(masks).save(tmp_path / "masks.npy")
    again = Masks.load(tmp_path / "masks.npy")
    assert again.areas.tolist() == [mask.pixels.sum() for mask in masks]
    for place, mask in enumerate(masks):
        np.testing.assert_array_equal(again[place].pixels, mask.pixels)
        assert again[place]._replace(pixels=0) == mask._replace(pixels=0)


def test_an_earlier_run_left_masks_and_nobody_looks_again(tmp_path: Path) -> None:
    drawing = drawn_masks((30, 30), 10, 5, 12, np.random.default_rng(3))
    lattice = Lattice((30, 30), 10, 5, tmp_path)
    once = mosaic(found_by(drawing, lattice, 9).labels)

    def refuse(square: Window) -> Masks:
        raise AssertionError(square)

    np.testing.assert_array_equal(mosaic(found_by(refuse, lattice, 30).labels), once)
    assert len(list(tmp_path.glob("*.found.npy"))) == len(Passes.over((30, 30), 10, map).windows)
