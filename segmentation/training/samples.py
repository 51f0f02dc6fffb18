"""What training sees: pieces of scenes with their labels, and which part of the split each pixel
belongs to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.models.card import QUANTILES, BandCard, brief

TRAIN, VALIDATION, TEST = 1, 2, 3
"""Parts of a split; 0 is neither."""
PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""The same by name."""

_STRIP = 2**22
"""Pixels that are looked at together, about."""

_MOST_SEEN = 2**21
"""Pixels that the statistics of bands are taken from, about."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A rectangle of one scene with its labels. Arrays may be memory-mapped: take windows of them,
    never the whole."""

    pixels: npt.NDArray[Any]
    """`(band, y, x)` in the file's own dtype; physical value = pixels × scale + offset."""
    valid: npt.NDArray[np.bool_]
    """`(y, x)`: True iff every band has data."""
    labels: npt.NDArray[np.uint8]
    """`(y, x)`: a value of the legend, 0 = unlabelled or not valid."""
    part: npt.NDArray[np.uint8]
    """`(y, x)`: TRAIN, VALIDATION, TEST, or 0 where nobody may look at the label."""
    scale: tuple[float, ...]
    """For each band."""
    offset: tuple[float, ...]
    scene: str = ""
    """The scene it was cut from."""
    ids: npt.NDArray[np.int32] | None = None
    """`(y, x)`: the object of each pixel, 0 = none, -1 = nobody knows; None where labels are
    classes that stay what they are when a chip is turned."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Arrays in files travel as the files' names: another process maps them too."""
        arrays = (self.pixels, self.valid, self.labels, self.part, self.ids)
        return _opened, (tuple(map(_by_name, arrays)), self.scale, self.offset, self.scene)

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape

    def counts(self, part: int, values: Sequence[int]) -> npt.NDArray[np.int64]:
        """`(class,)`: labelled pixels of that part, for each class value."""
        found = np.zeros(256, np.int64)
        for rows in self.strips():
            found += np.bincount(self.labels[rows][self.part[rows] == part], minlength=256)
        return found[list(values)]

    def values(self) -> set[int]:
        """The classes there are, whatever part their pixels belong to."""
        return set().union(*(np.unique(self.labels[rows]).tolist() for rows in self.strips())) - {0}

    def strips(self) -> Iterator[slice]:
        """Rows to look at together: so many that what is made of them stays small."""
        rows = max(1, _STRIP // self.shape[1])
        for top in range(0, self.shape[0], rows):
            yield slice(top, min(top + rows, self.shape[0]))


class _InFile(NamedTuple):
    """An array that is mapped from a file."""

    path: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]


def _by_name(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | _InFile | None:
    # a part of a mapped array has the file's name too, and another base
    if isinstance(array, np.memmap) and isinstance(array.base, mmap) and array.flags.c_contiguous:
        return _InFile(str(array.filename), array.dtype, array.offset, array.shape)
    return array


def _opened(
    arrays: Sequence[npt.NDArray[Any] | _InFile | None],
    scale: tuple[float, ...],
    offset: tuple[float, ...],
    scene: str,
) -> Labelled:
    found: list[Any] = [
        np.memmap(one.path, one.dtype, "r", one.offset, one.shape)
        if isinstance(one, _InFile)
        else one
        for one in arrays
    ]
    pixels, valid, labels, part, ids = found
    return Labelled(pixels, valid, labels, part, scale, offset, scene, ids)


@dataclass(frozen=True, eq=False)
class Samples:
    """All that a training sees: pieces whose bands mean the same, in the same order."""

    pieces: tuple[Labelled, ...]
    bands: tuple[str, ...]
    units: tuple[str, ...]
    """For each band, "reflectance" or "dn"."""
    dtype: str
    """Of the files."""
    legend: Legend
    """The classes that are labelled, in the order of their values."""
    gsd: float
    """Ground sampling distance in metres."""
    facts: dict[str, Any]
    """Where it comes from, for the card: scenes, labels, split."""
    label: Callable[[npt.NDArray[np.int32]], npt.NDArray[np.uint8]] | None = None
    """Makes labels of the objects of a chip, which name directions and so are not turned with it;
    where pieces have `ids`."""

    def counts(self, part: int) -> npt.NDArray[np.int64]:
        """`(class,)`: labelled pixels of that part, in the legend's order."""
        return sum(
            (piece.counts(part, self.legend.values) for piece in self.pieces),
            np.zeros(len(self.legend), int),
        )

    def check_taught(self) -> None:
        """Raise `InputError` where no two classes are there to be told apart."""
        if np.count_nonzero(self.counts(TRAIN)) < 2:
            raise InputError(
                "the training part has one class only where the scene has data; label another, or "
                "split otherwise with "
                "--split"
            )

    def band_cards(self) -> tuple[BandCard, ...]:
        """Mean, spread and quantiles of each band where pixels are valid and no validation or test
        label lies."""
        total = sum(piece.valid.size for piece in self.pieces)
        step = max(1, round(math.sqrt(total / _MOST_SEEN)))
        seen = []
        for piece in self.pieces:
            at = (slice(None, None, step),) * 2
            use = piece.valid[at] & (piece.part[at] != VALIDATION) & (piece.part[at] != TEST)
            scale, offset = (
                np.reshape(numbers, (-1, 1)) for numbers in (piece.scale, piece.offset)
            )
            seen.append(piece.pixels[:, *at][:, use] * scale + offset)
        values = np.concatenate(seen, axis=1)
        return tuple(
            BandCard(
                name=name,
                units=units,
                dtype=self.dtype,
                mean=brief(band.mean()),
                std=brief(band.std()) or 1.0,
                quantiles=tuple(brief(q) for q in np.quantile(band, QUANTILES)),
            )
            for name, units, band in zip(self.bands, self.units, values, strict=True)
        )

    def chip(
        self, piece: Labelled, rows: slice = slice(None), cols: slice = slice(None)
    ) -> xr.Dataset:
        """A window of a piece as a segmenter would see it, see `segmentation.chip`."""
        return xr.Dataset(
            {
                "pixels": (("band", "y", "x"), piece.pixels[:, rows, cols]),
                "valid": (("y", "x"), piece.valid[rows, cols]),
            },
            coords={
                "band": list(self.bands),
                "scale": ("band", list(piece.scale)),
                "offset": ("band", list(piece.offset)),
                "units": ("band", list(self.units)),
            },
        )
