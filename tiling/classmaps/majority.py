"""The class of each object: the one that its pixels' scores name when they are added up.

Scores are whole numbers, the percent of each class or one vote of each pixel for its own, so their
sums are exact in whatever order tiles come. Of equal sums the first class wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio

from tiling.classmaps.raster import NO_CONFIDENCE, read_band
from tiling.grid.geobox import geobox_of
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.profiles import BLOCK, plain_profile
from tiling.io.spill import Map, map_array

TILE = 2 * BLOCK
"""Side of the tiles that are counted and written; it changes no result."""

Counts = npt.NDArray[np.int64]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ballot:
    """What votes, and for which classes: rasters of one grid; it travels to workers."""

    objects: Path
    """Numbers of objects, 1 … n; 0 where there is none."""
    classes: Path
    """Class of each pixel, 0 where there is none."""
    values: tuple[int, ...]
    """The classes, in the order in which equal sums are settled."""
    scores: Path | None = None
    """Percent of each class, a band each in the order of `values`; None: a pixel has one vote."""
    confidence: Path | None = None
    """How sure each pixel is by itself, in percent; None where nothing is known of that."""


class Tally(NamedTuple):
    """What a tile adds to the sums of objects."""

    objects: npt.NDArray[np.int64]
    """`(n,)` their numbers, each once."""
    scores: Counts
    """`(n, class)`."""


class Elected(NamedTuple):
    """Pixels of a tile with the class of their object."""

    labels: Labels
    """`(y, x)`."""
    confidence: Labels
    """`(y, x)`: the share of that class in the scores of the object, in percent, rounded; what was
    known of the pixel itself where that keeps its class."""


def add_scores(ballot: Ballot, n: int, target: Path, *, map: Map = map) -> Path:
    """Write the sums of scores of objects 1 … `n` as an array `(n, class) int64` in a .npy file.

    The file is mapped into memory, not held there. `map` may work elsewhere, as long as results
    come in order.
    """
    shape = (n, len(ballot.values))
    sums = map_array(target, np.int64, shape)
    for tally in map(partial(tally_tile, ballot), list(_tiles(ballot))):
        sums[tally.objects - 1] += tally.scores
    sums.flush()
    return target


def write_majority(
    ballot: Ballot, sums: Path, classes: Path, confidence: Path, *, map: Map = map
) -> None:
    """Write two plain GeoTIFFs, the class of each pixel's object and its share in percent.

    A pixel without an object keeps its class, and so does one whose object has no score at all;
    pixels without a class have none in either raster.
    """
    windows = list(_tiles(ballot))
    with open_dataset(str(ballot.classes)) as raster:
        grid = geobox_of(raster)
    with (
        rasterio.open(classes, "w", **plain_profile(grid, "uint8", 0)) as labels,
        rasterio.open(confidence, "w", **plain_profile(grid, "uint8", NO_CONFIDENCE)) as sure,
    ):
        elected = map(partial(elect, ballot, sums), windows)
        for window, pixels in zip(windows, elected, strict=True):
            labels.write(pixels.labels, 1, window=window.ranges)
            sure.write(pixels.confidence, 1, window=window.ranges)


def tally_tile(ballot: Ballot, window: Window) -> Tally:
    """What the pixels of a tile say of their objects."""
    numbers, labels = read_band(ballot.objects, window), read_band(ballot.classes, window)
    voting = (numbers > 0) & (labels > 0)
    objects, rank = np.unique(numbers[voting], return_inverse=True)
    sums = np.zeros((objects.size, len(ballot.values)), np.int64)
    if ballot.scores is None:
        ascending = np.searchsorted(sorted(ballot.values), labels[voting])
        column = np.argsort(ballot.values)[ascending]
        votes = np.bincount(rank * len(ballot.values) + column, minlength=sums.size)
        sums[:] = votes.reshape(sums.shape)
    else:
        for place, percents in enumerate(_read_scores(ballot.scores, window)):
            weights = np.where(percents == NO_CONFIDENCE, 0, percents)[voting]
            # sums of a tile stay far below 2⁵³, where floats are exact
            sums[:, place] = np.bincount(rank, weights, objects.size).astype(np.int64)
    return Tally(objects.astype(np.int64), sums)


def elect(ballot: Ballot, sums: Path, window: Window) -> Elected:
    """The pixels of a tile with the class of their object."""
    numbers, labels = read_band(ballot.objects, window), read_band(ballot.classes, window)
    objects, rank = np.unique(numbers, return_inverse=True)
    scores = np.zeros((objects.size, len(ballot.values)), np.int64)
    there = objects > 0
    scores[there] = np.load(sums, mmap_mode="r")[objects[there].astype(np.int64) - 1]
    total = scores.sum(axis=1)
    best = scores.max(axis=1)
    winner = np.asarray(ballot.values, np.uint8)[scores.argmax(axis=1)]
    share = (200 * best + total) // np.maximum(2 * total, 1)
    rank = rank.reshape(numbers.shape)
    elected = (labels > 0) & (total > 0)[rank]
    own = np.full_like(labels, NO_CONFIDENCE)
    if ballot.confidence is not None:
        own = read_band(ballot.confidence, window)
    return Elected(
        np.where(elected, winner[rank], labels).astype(np.uint8),
        np.where(elected, share[rank], own).astype(np.uint8),
    )


def _tiles(ballot: Ballot) -> Sequence[Window]:
    with open_dataset(str(ballot.classes)) as raster:
        return list(Window.of_shape(*raster.shape).blocks(TILE))


def _read_scores(path: Path, window: Window) -> npt.NDArray[np.uint8]:
    with open_dataset(str(path)) as raster:
        bands: npt.NDArray[np.uint8] = raster.read(window=window.ranges)
        return bands
