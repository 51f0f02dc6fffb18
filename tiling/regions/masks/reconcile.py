"""Masks that were found around the squares of a fixed lattice, reconciled into regions that are
apart.

Squares never hear of each other, so what lies at the line between two is found by both, and masks
lie across one another. All of them together have one order: the surest first, then the one that
begins first in raster order, then the largest, then that of the first square. In this order a mask
stays where no mask that stays before it shares `overlap` percent of the smaller of the two: greedy
suppression over the whole raster. A pixel then belongs to the first of the masks that stay and have
it, and an object is the largest 4-connected piece of what belongs to its mask.

Nothing of that asks how the work was cut. Overlaps are found square by square, suppression needs a
few numbers of each mask in the calling process, and the rest is local again: no mask reaches beyond
the margin of its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tiling.grid.window import Window
from tiling.io.spill import Map
from tiling.regions.components import OUTSIDE, Ids
from tiling.regions.labelling import LabelFiles, TileLabels
from tiling.regions.masks.masks import Mask, Masks, count_common, take_away
from tiling.regions.passes import Flags, Passes, Place

Look: TypeAlias = Callable[[Window], Masks]
"""Finds the masks that belong to a square of the lattice. Each lies within the margin around the
square and within the raster, and is its own largest piece. It has to pickle, and to find the same
again."""

Pairs = npt.NDArray[np.int64]
"""`(n, 2)` numbers of masks."""


@dataclass(frozen=True)
class Lattice:
    """Squares of a raster, and how far masks reach beyond the one that they belong to."""

    shape: tuple[int, int]
    core: int
    margin: int
    folder: Path
    """Where the masks of squares wait."""

    def file(self, square: Window, suffix: str) -> Path:
        """The file of a square, by what is in it."""
        return self.folder / f"{square.row}-{square.col}.{suffix}.npy"

    def near(self, window: Window) -> list[Window]:
        """The squares, in raster order, whose masks may reach into a window."""
        whole = Window.of_shape(*self.shape)
        reached = (window.pad(self.margin) & whole).on_grid(self.core)
        return list((reached & whole).blocks(self.core))

    def passes(self, map: Map) -> Passes:
        """Passes over the squares."""
        return Passes.over(self.shape, self.core, map)


class Found(NamedTuple):
    """Regions that masks became."""

    labels: LabelFiles
    ids: Ids
    """`(n,)` index of each one's first pixel, ascending."""
    score: Ids
    kind: Ids


class Keys(NamedTuple):
    """What masks are ordered by: parallel arrays."""

    first: Ids
    score: Ids
    area: Ids


def reconcile(
    look: Look, lattice: Lattice, *, overlap: int, least: int, tile: int, map: Map = map
) -> Found:
    """The regions of all masks that `look` finds; without those of fewer than `least` pixels.

    Masks that a square left in the folder of the lattice are taken as they are. The calling process
    holds four numbers of each mask and two of each pair of masks that exclude each other. `map` may
    work elsewhere, as long as results come in order and the folder is there too.
    """
    passes = lattice.passes(map)
    keys = passes.survey(partial(leave_masks, look, lattice))
    numbers = number_masks(keys)
    ranks = rank_masks(keys)

    def beside(place: Place) -> tuple[Window, dict[Window, Ids]]:
        square = passes.windows[place]
        return square, {
            one: numbers[at] + np.arange(keys[at].first.size)
            for one in lattice.near(square.pad(lattice.margin))
            if keys[at := _place(one, lattice)].first.size
        }

    found = passes.tell(partial(pair_masks, lattice, overlap), beside)
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *found])
    ranks[~suppress(ranks, pairs)] = OUTSIDE

    def staying(place: Place) -> tuple[Window, dict[Window, Ids]]:
        square, known = beside(place)
        return square, {one: ranks[of] for one, of in known.items()}

    settled = passes.tell(partial(settle, lattice, least), staying)
    ids, score, kind = (np.concatenate(column) for column in zip(*settled, strict=True))
    labels = LabelFiles(lattice.folder, lattice.shape, tile)
    Passes.over(lattice.shape, tile, map).survey(partial(paint, lattice, labels))
    first = np.argsort(ids)
    return Found(labels, ids[first], score[first], kind[first])


def _place(square: Window, lattice: Lattice) -> Place:
    return square.row // lattice.core, square.col // lattice.core


def number_masks(keys: Mapping[Place, Keys]) -> dict[Place, int]:
    """The number of the first mask of each square, where masks are numbered square by square."""
    counts = np.array([one.first.size for one in keys.values()], np.int64)
    return dict(zip(keys, (np.cumsum(counts) - counts).tolist(), strict=True))


def rank_masks(keys: Mapping[Place, Keys]) -> Ids:
    """`(n,)` the place of each mask in the order of all."""
    first, score, area = (np.concatenate(column) for column in zip(*keys.values(), strict=True))
    rank = np.empty(first.size, np.int64)
    rank[np.lexsort((np.arange(first.size), -area, first, -score))] = np.arange(first.size)
    return rank


def suppress(rank: Ids, pairs: Pairs) -> Flags:
    """`(n,)` which masks stay, of ranks that are all different, where no two of a pair may: from
    the first rank on each stays unless one before it that stays forbids it."""
    before, after = np.where(rank[pairs[:, :1]] < rank[pairs[:, 1:]], pairs, pairs[:, ::-1]).T
    by_rank = np.argsort(rank[before])
    before, after = before[by_rank], after[by_rank]
    starts = np.flatnonzero(np.append(True, before[1:] != before[:-1])[: before.size])
    stays = np.ones(rank.size, bool)
    for start, stop in pairwise([*starts.tolist(), before.size]):
        if stays[before[start]]:
            stays[after[start:stop]] = False
    return stays


# --- passes ---------------------------------------------------------------------------------------


def leave_masks(look: Look, lattice: Lattice, square: Window) -> Keys:
    """First pass over a square: leaves its masks, unless they are there, and tells what they are
    ordered by."""
    file = lattice.file(square, "found")
    if not file.exists():
        look(square).save(file)
    masks = Masks.load(file)
    return Keys(masks.firsts(lattice.shape[1]), masks.score, masks.areas)


def pair_masks(lattice: Lattice, overlap: int, known: tuple[Window, Mapping[Window, Ids]]) -> Pairs:
    """Second pass over a square: the pairs of masks that exclude each other, of which the first is
    its own and the second has a larger number. `known` says the numbers of masks by their
    square."""
    square, numbers = known
    if square not in numbers:
        return np.zeros((0, 2), np.int64)
    own, pairs = numbers[square], list[tuple[int, int]]()
    masks = Masks.load(lattice.file(square, "found"))
    for other, theirs in numbers.items():
        if theirs[0] < own[0]:
            continue
        others = masks if other == square else Masks.load(lattice.file(other, "found"))
        for place, beyond, common, smaller in _overlaps(masks, others):
            if own[place] < theirs[beyond] and 100 * common >= overlap * smaller:
                pairs.append((own[place], theirs[beyond]))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _overlaps(masks: Masks, others: Masks) -> Iterator[tuple[int, int, int, int]]:
    """Places of two masks that share pixels, how many, and the pixels of the smaller."""
    areas, beyond = masks.areas.tolist(), others.areas.tolist()
    for place in range(len(masks)):
        mask = masks[place]
        for other in others.meeting(mask.window).tolist():
            if common := count_common(mask, others[other]):
                yield place, other, common, min(areas[place], beyond[other])


def settle(
    lattice: Lattice, least: int, known: tuple[Window, Mapping[Window, Ids]]
) -> tuple[Ids, Ids, Ids]:
    """Third pass over a square: leaves what each of its masks that stay is left with, and tells the
    first pixel, the score and the kind of each. `known` says the ranks of masks, -1 of those that
    go, square by square."""
    square, ranks = known
    beside = [
        (Masks.load(lattice.file(other, "found")), order)
        for other, order in ranks.items()
        if (order != OUTSIDE).any()
    ]
    own, objects = Masks.load(lattice.file(square, "found")), []
    for place, rank in enumerate(ranks.get(square, np.zeros(0, np.int64)).tolist()):
        left = None if rank == OUTSIDE else _keep_rest(own[place], rank, beside)
        if left is not None and left.pixels.sum() >= least:
            objects.append(left)
    settled = Masks.of(objects)
    settled.save(lattice.file(square, "objects"))
    return settled.firsts(lattice.shape[1]), settled.score, settled.kind


def _keep_rest(mask: Mask, rank: int, beside: Sequence[tuple[Masks, Ids]]) -> Mask | None:
    """A mask without the pixels of those before it."""
    for others, order in beside:
        for other in others.meeting(mask.window).tolist():
            if OUTSIDE < order[other] < rank:
                mask = take_away(mask, others[other])
    return mask.trim()


def paint(lattice: Lattice, labels: LabelFiles, window: Window) -> None:
    """Last pass, over a tile: leaves which object each pixel belongs to."""
    pixels = np.full(window.shape, -1, np.int64)
    ids = list[int]()
    for square in lattice.near(window):
        objects = Masks.load(lattice.file(square, "objects"))
        for place in objects.meeting(window).tolist():
            mask = objects[place]
            both = mask.window & window
            pixels[both.within(window)][mask.pixels[both.within(mask.window)]] = len(ids)
            ids.append(mask.first(lattice.shape[1]))
    labels.write(window, TileLabels.of(np.array([*ids, OUTSIDE], np.int64), pixels))
