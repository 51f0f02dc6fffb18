"""Chips to learn from: laid around labels drawn by chance, changed by chance, and all of it decided
by a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.models.card import Card
from segmentation.training.augmentation import (
    apply_symmetry,
    jitter_radiometry,
    resize,
    resize_places,
    sample_crop_size,
)
from segmentation.training.losses import IGNORED
from segmentation.training.recipe import Recipe
from segmentation.training.samples import Labelled, Samples

_MOST_PLACES = 200_000
"""Pixels of each class that chips are laid on, at most: positions are kept in memory."""


@dataclass(frozen=True, eq=False)
class PixelIndex:
    """Labelled pixels of some parts, by class: what chips are laid on."""

    by_class: tuple[npt.NDArray[np.int32], ...]
    """`(n, 3)` piece, row, column for each class of the legend."""
    odds: npt.NDArray[np.float64]
    """How likely each class is to be the one a chip is laid on."""

    @classmethod
    def of(cls, samples: Samples, parts: Sequence[int], balance: float, seed: int) -> PixelIndex:
        """`balance` 0 draws pixels alike, 1 classes; a class's odds are its frequency to the power
        of 1 − balance."""
        rng = np.random.default_rng((seed, 1))
        counts = np.sum([samples.counts(part) for part in parts], axis=0)
        chosen = [
            np.arange(n)
            if n <= _MOST_PLACES
            else np.sort(rng.choice(n, _MOST_PLACES, replace=False, shuffle=False))
            for n in counts.tolist()
        ]
        found: list[list[npt.NDArray[np.int32]]] = [[np.empty((0, 3), np.int32)] for _ in counts]
        passed = [0] * len(counts)
        for number, piece in enumerate(samples.pieces):
            for strip in piece.strips():
                labels = np.where(np.isin(piece.part[strip], parts), piece.labels[strip], 0)
                for index, value in enumerate(samples.legend.values):
                    here = np.flatnonzero(labels == value)
                    first, last = np.searchsorted(
                        chosen[index], (passed[index], passed[index] + len(here))
                    )
                    rows, cols = np.divmod(
                        here[chosen[index][first:last] - passed[index]], piece.shape[1]
                    )
                    places = np.stack((np.full(len(rows), number), rows + strip.start, cols), 1)
                    found[index].append(places.astype(np.int32))
                    passed[index] += len(here)
        odds = np.where(counts > 0, counts.astype(float) ** (1 - balance), 0)
        return cls(tuple(map(np.concatenate, found)), odds / odds.sum())

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Piece, row and column of one pixel."""
        places = self.by_class[rng.choice(len(self.odds), p=self.odds)]
        piece, row, col = places[rng.integers(len(places))].tolist()
        return piece, row, col


class NormalisedWindow(NamedTuple):
    """A window as a network sees it: normalised pixels, and which of them are valid."""

    pixels: npt.NDArray[np.float32]
    """`(band, y, x)`: normalised, 0 where not valid."""
    valid: npt.NDArray[np.bool_]


def window_of(
    array: npt.NDArray[Any], row: int, col: int, height: int, width: int
) -> npt.NDArray[Any]:
    """A window of `(…, y, x)` that may reach past it: there it is 0."""
    window = np.zeros((*array.shape[:-2], height, width), array.dtype)
    inside = array[..., max(0, row) : max(0, row + height), max(0, col) : max(0, col + width)]
    top, left = max(0, -row), max(0, -col)
    window[..., top : top + inside.shape[-2], left : left + inside.shape[-1]] = inside
    return window


def read_normalised(
    piece: Labelled, card: Card, row: int, col: int, height: int, width: int
) -> NormalisedWindow:
    """A window of a piece as the card's network sees it, as
    `segmentation.inference.transfer.normalise` would make it."""
    bands = (len(card.bands), 1, 1)
    scale, offset = (
        np.reshape(np.asarray(numbers, np.float32), bands)
        for numbers in (piece.scale, piece.offset)
    )
    mean = np.reshape(np.array([band.mean for band in card.bands], np.float32), bands)
    std = np.reshape(np.array([band.std for band in card.bands], np.float32), bands)
    valid = window_of(piece.valid, row, col, height, width)
    pixels = (
        window_of(piece.pixels, row, col, height, width).astype(np.float32) * scale + offset - mean
    ) / std
    return NormalisedWindow(np.where(valid, pixels, np.float32(0)), valid)


def read_targets(
    piece: Labelled,
    samples: Samples,
    parts: Sequence[int],
    row: int,
    col: int,
    height: int,
    width: int,
) -> npt.NDArray[np.uint8]:
    """`(y, x)`: the index in the legend of the labels of some parts, IGNORED elsewhere."""
    part = window_of(piece.part, row, col, height, width)
    targets = _find_targets(samples, window_of(piece.labels, row, col, height, width))
    return np.where(np.isin(part, parts), targets, np.uint8(IGNORED))


def _find_targets(samples: Samples, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The index in the legend of each label, IGNORED for what is none of it."""
    index = np.full(256, IGNORED, np.uint8)
    index[list(samples.legend.values)] = np.arange(len(samples.legend))
    return index[labels]


def _label_turned(
    piece: Labelled, samples: Samples, row: int, col: int, length: int, chip: int, symmetry: int
) -> npt.NDArray[np.uint8]:
    """The targets of a chip whose labels name directions: made of its objects once they have its
    length and are turned as it is."""
    assert piece.ids is not None  # of such labels
    assert samples.label is not None
    places = resize_places(length, chip) + 1
    places = np.concatenate([[0], places, [length + 1]])  # what lies beside the chip
    ids = window_of(piece.ids, row - 1, col - 1, length + 2, length + 2)[places[:, None], places]
    labels = samples.label(apply_symmetry(ids, symmetry))
    return _find_targets(samples, labels[1:-1, 1:-1])


def make_batch(
    samples: Samples,
    places: PixelIndex,
    recipe: Recipe,
    card: Card,
    parts: Sequence[int],
    key: Sequence[int],
    mine: slice = slice(None),
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """`(batch, band, y, x)` and `(batch, y, x)`: chips around drawn pixels, changed by chance, as
    `key` decides.

    The recipe is settled. `mine` is the share of one of several processes: each chip follows from
    key and number alone.
    """
    made = []
    for number in range(recipe.batch)[mine]:
        rng = np.random.default_rng((*key, number))
        piece_number, row, col = places.draw(rng)
        piece, length = (
            samples.pieces[piece_number],
            sample_crop_size(recipe.chip, recipe.augmentation, rng),
        )
        row, col = (int(at - rng.integers(length)) for at in (row, col))
        pixels, valid = read_normalised(piece, card, row, col, length, length)
        targets = read_targets(piece, samples, parts, row, col, length, length)
        symmetry = int(rng.integers(8))
        pixels, valid, targets = (
            apply_symmetry(resize(each, recipe.chip), symmetry) for each in (pixels, valid, targets)
        )
        if piece.ids is not None:
            turned = _label_turned(piece, samples, row, col, length, recipe.chip, symmetry)
            targets = np.where(targets == IGNORED, targets, turned)
        made.append((jitter_radiometry(pixels, valid, recipe.augmentation, rng), targets))
    pixels, targets = (np.stack(column) for column in zip(*made, strict=True))
    return pixels, targets
