"""Several dates as one image: what each pixel becomes, from the chips of one window in the order of
their dates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import values
from segmentation.errors import InputError
from segmentation.spectral import indices

Kind = Literal["median", "mean", "latest", "max", "best-clear"]

METHODS = "median, mean, latest, max=INDEX, such as max=NDVI, and best-clear or best-clear=PIXELS"

REACH, FARTHEST = 50, 500
"""How far from a pixel that is not valid a date is as clear as can be, in pixels, unless a person
says otherwise, and at most."""


class Method(NamedTuple):
    """How the dates of a pixel become one."""

    kind: Kind
    by: str = ""
    """The spectral index whose greatest value decides, for `max` alone."""
    reach: int = 0
    """For `best-clear` the pixels within which one that is not valid tells; they are read around a
    window."""

    def __str__(self) -> str:
        by = self.by or str(self.reach or "")
        return f"{self.kind}={by}" if by else self.kind


class Composite(NamedTuple):
    """What a window of several dates becomes."""

    pixels: npt.NDArray[np.float32]
    """`(band, y, x)` in the units of the chips; NaN where no date is valid."""
    looks: npt.NDArray[np.uint16]
    """`(y, x)`: of how many dates the pixel is valid, whichever of them it shows."""


def method_of(text: str) -> Method:
    """The method a person named; `InputError` where there is none of that name."""
    kind, equals, index = text.partition("=")
    if kind == "max" and index:
        return Method("max", indices.find(index).name)
    if kind == "best-clear":
        if not equals:
            return Method("best-clear", reach=REACH)
        if index.isdecimal() and 1 <= int(index) <= FARTHEST:
            return Method("best-clear", reach=int(index))
        raise InputError(f"best-clear={index} is no number of pixels from 1 to {FARTHEST}")
    if not equals and kind in ("median", "mean", "latest"):
        return Method(kind)  # type: ignore[arg-type]
    raise InputError(f"there is no method {text!r} of a composite; there are {METHODS}")


Core = tuple[slice, slice]
"""Rows and columns of a chip."""

WHOLE = slice(None), slice(None)


def combine(
    chips: Iterator[xr.Dataset], count: int, method: Method, core: Core = WHOLE
) -> Composite:
    """One image of `count` chips of one window with the same bands, at least one, in the order of
    their dates.

    The image is of the `core` of the chips; around it lie `method.reach` pixels, or as many as
    there are.

    A date counts where its pixel is valid in all bands. Per band `median` is the middle value, of
    an even number of dates the mean of the two in the middle, and `mean` the arithmetic mean,
    summed in 64 bits: numpy's nanmedian and nanmean along the dates. `latest` and `max` keep all
    bands of one date: the last valid one, and that with the greatest value of the index; of equal
    values the last one's. A date on which the index is undefined is shown where it is defined on
    none. `best-clear` keeps all bands of the date on which the nearest pixel that is not valid is
    farthest, from centre to centre; beyond `method.reach` all are as far. Only `median` holds all
    chips at once.
    """
    if method.kind == "median":
        return _median(chips, count)
    if method.kind == "mean":
        return _mean(chips)
    return _best(chips, method, core)


def _median(chips: Iterator[xr.Dataset], count: int) -> Composite:
    first = values(next(chips)).values
    stack = np.empty((count, *first.shape), np.float32)
    stack[0] = first
    for place, chip in enumerate(chips, start=1):
        stack[place] = values(chip).values
    looks = np.count_nonzero(~np.isnan(stack[:, 0]), axis=0).astype(np.uint16)
    stack.sort(axis=0)  # NaN last
    middle = [
        np.take_along_axis(stack, place[None, None].astype(np.intp), axis=0)[0]
        for place in (np.maximum(looks, 1) - 1 >> 1, looks >> 1)
    ]
    # of odd numbers both are the same place; of none both are NaN
    return Composite((middle[0] + middle[1]) / np.float32(2), looks)


def _mean(chips: Iterator[xr.Dataset]) -> Composite:
    sums, looks = np.empty(0), np.empty(0, np.uint16)
    for place, chip in enumerate(chips):
        seen, valid = values(chip).values, chip["valid"].values
        if place == 0:
            sums, looks = np.zeros(seen.shape), np.zeros(valid.shape, np.uint16)
        np.add(sums, seen, out=sums, where=valid)
        looks += valid
    with np.errstate(invalid="ignore"):
        np.divide(sums, looks, out=sums)
    return Composite(sums.astype(np.float32), looks)


def _best(chips: Iterator[xr.Dataset], method: Method, core: Core) -> Composite:
    """The pixels of the date that ranks highest; of the last of those that rank alike."""
    pixels, best = np.empty(0, np.float32), np.empty(0, np.float32)
    looks = np.empty(0, np.uint16)
    for place, chip in enumerate(chips):
        inner = chip.isel(y=core[0], x=core[1])
        seen, valid = values(inner).values, inner["valid"].values
        if place == 0:
            pixels = np.full_like(seen, np.nan)
            best = np.full(valid.shape, -np.inf, np.float32)
            looks = np.zeros(valid.shape, np.uint16)
        rank = best
        if method.by:
            rank = np.nan_to_num(indices.compute(method.by, inner), nan=-np.inf)
        elif method.reach:
            rank = clearness(chip["valid"].values, method.reach)[core]
        taken = valid & (rank >= best)
        np.copyto(pixels, seen, where=taken)
        best = np.where(taken, rank, best)
        looks += valid
    return Composite(pixels, looks)


def clearness(valid: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.float32]:
    """`(y, x)`: how far each pixel is from the nearest that is not valid, in pixels from centre to
    centre; `reach` at most. What lies beyond the edge tells nothing."""
    from scipy.ndimage import distance_transform_edt

    if valid.all():
        return np.full(valid.shape, reach, np.float32)
    far = np.minimum(distance_transform_edt(valid), reach)
    return far.astype(np.float32)


def check_bands(method: Method, available: Sequence[str]) -> None:
    """Raise `InputError` where a method needs bands that are not there."""
    if method.by:
        indices.index_bands(method.by, available)
