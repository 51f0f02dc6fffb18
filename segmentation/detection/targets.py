"""Objects as a detector learns them: chips of scenes with a box and a mask for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from segmentation.detection.find import Pixels, normalise
from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.models.card import Card
from segmentation.training.samples import TRAIN, Labelled, Samples

LEAST = 4
"""Pixels below which what a chip shows of an object is none."""
_OFTEN = 0.75
"""Share of chips that are laid around an object, others lie anywhere."""
_MOST = 200
"""Objects of a chip that are learnt from."""

Ids = npt.NDArray[np.int32]


class Target(NamedTuple):
    """The objects of a chip: parallel arrays."""

    boxes: npt.NDArray[np.float32]
    """`(n, 4)`: left, top, right, bottom, in pixels."""
    masks: npt.NDArray[np.uint8]
    """`(n, y, x)`"""
    channels: npt.NDArray[np.int64]
    """The place of each one's class in the legend, 1 or more."""


@dataclass(frozen=True, eq=False)
class ObjectSamples:
    """Pieces of scenes, and which object each pixel belongs to."""

    samples: Samples
    ids: tuple[Ids, ...]
    """For each piece `(y, x)`: an object from 1 on, 0 = none, -1 = nobody knows."""
    channels: tuple[npt.NDArray[np.int64], ...]
    """For each piece the place in the legend of object 0, 1, 2 …"""
    legend: Legend
    """What is no object, then the classes of objects."""

    @cached_property
    def boxes(self) -> tuple[npt.NDArray[np.int64], ...]:
        """For each piece `(n, 4)` first row and column, height and width of every object in the
        training part."""
        return tuple(map(_boxes, self.samples.pieces, self.ids))

    def sizes(self) -> npt.NDArray[np.int64]:
        """`(n, 2)` height and width of all objects in the training part, in pixels; `InputError`
        where there are none."""
        sizes = np.concatenate([boxes[:, 2:] for boxes in self.boxes])
        if not len(sizes):
            raise InputError(
                "no object lies in the training part where the scene has data; label more, or "
                "split otherwise with --split"
            )
        return sizes


def _boxes(piece: Labelled, ids: Ids) -> npt.NDArray[np.int64]:
    seen = np.where(piece.part == TRAIN, np.maximum(ids, 0), 0)
    slices = [one for one in find_objects(seen) if one is not None]
    rows = [(a.start, b.start, a.stop - a.start, b.stop - b.start) for a, b in slices]
    return np.array(rows, np.int64).reshape(-1, 4)


def target_of(ids: Ids, channels: npt.NDArray[np.int64]) -> Target:
    """The objects of a chip, those with the lowest numbers where they are very many."""
    numbers, counts = np.unique(ids[ids > 0], return_counts=True)
    numbers = numbers[counts >= LEAST][:_MOST]
    masks = (ids == numbers[:, None, None]).astype(np.uint8)
    rows, cols = masks.any(2), masks.any(1)
    boxes = [
        (across[0], down[0], across[-1] + 1, down[-1] + 1)
        for down, across in (
            (np.flatnonzero(row), np.flatnonzero(col)) for row, col in zip(rows, cols, strict=True)
        )
    ]
    return Target(
        np.array(boxes, np.float32).reshape(-1, 4), masks, channels[numbers].astype(np.int64)
    )


def draw_chip(
    samples: ObjectSamples, card: Card, side: int, light: float, random: np.random.Generator
) -> tuple[Pixels, Target]:
    """A chip of the training part at random, turned and mirrored, and its objects. What belongs to
    another part, or nobody knows, is not shown."""
    counts = np.array([len(boxes) for boxes in samples.boxes])
    number = int(random.choice(counts.size, p=counts / counts.sum()))
    piece, ids = samples.samples.pieces[number], samples.ids[number]
    place = _place(samples.boxes[number], piece.shape, side, random)
    rows, cols = (slice(max(0, at), max(0, at) + side) for at in place)
    chip = samples.samples.chip(piece, rows, cols)
    hidden = (piece.part[rows, cols] != TRAIN) | (ids[rows, cols] < 0)
    pixels = normalise(chip, card)
    pixels[:, hidden] = 0
    shape = hidden.shape
    seen = np.zeros((len(pixels), side, side), np.float32)
    seen[:, : shape[0], : shape[1]] = pixels
    there = np.zeros((side, side), np.int32)
    there[: shape[0], : shape[1]] = np.where(hidden, 0, ids[rows, cols])
    return _turn(seen, target_of(there, samples.channels[number]), light, random)


def _place(
    boxes: npt.NDArray[np.int64], shape: tuple[int, int], side: int, random: np.random.Generator
) -> tuple[int, int]:
    """The first row and column of a chip within a piece, where it is large enough."""
    if random.random() < _OFTEN:
        row, col, height, width = boxes[random.integers(len(boxes))].tolist()
        shift = random.integers(-side // 4, side // 4 + 1, 2).tolist()
        middle = (row + height // 2 + shift[0], col + width // 2 + shift[1])
        wanted = [at - side // 2 for at in middle]
    else:
        wanted = [int(random.integers(max(1, length - side + 1))) for length in shape]
    row, col = (
        min(max(at, 0), max(0, length - side)) for at, length in zip(wanted, shape, strict=True)
    )
    return row, col


def _turn(
    pixels: Pixels, target: Target, light: float, random: np.random.Generator
) -> tuple[Pixels, Target]:
    """A chip and its objects in one of eight positions, in another light."""
    turns, mirrored = int(random.integers(4)), bool(random.integers(2))

    def turn(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        array = np.rot90(array, turns, (1, 2))
        return np.ascontiguousarray(array[:, :, ::-1] if mirrored else array)

    gain, shift = random.normal(0, light, (2, len(pixels), 1, 1)).astype(np.float32)
    there = np.any(pixels != 0, axis=0)
    lit = np.where(there, pixels * (1 + gain) + shift, 0).astype(np.float32)
    masks = turn(target.masks).astype(np.uint8)
    numbers = np.arange(1, len(masks) + 1, dtype=np.int32)
    flat = (masks * numbers[:, None, None]).max(axis=0, initial=0).astype(np.int32)
    turned = target_of(flat, np.append(0, target.channels)) if len(masks) else target
    return turn(lit).astype(np.float32), turned
