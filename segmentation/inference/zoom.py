"""Chips at a network's own pixel size, and what it says of them brought back to the scene's pixels.

A zoom is a whole number: 2 makes 2 × 2 pixels of each, by bilinear interpolation; -3 makes one of
3 × 3, their mean; 1 leaves them as they are. Chips begin at multiples of it from the scene's first
pixel, so a pixel of another size has one value, whichever chip it is seen in. Pixels that are not
valid, or beyond the chip, are left out of both, as if the others alone were there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import gcd
from typing import Any

import numpy as np
import xarray as xr

from segmentation.segmenter import Footprint

_STRIP = 256
"""Rows of a scene whose probabilities are brought back at once: what follows from them is bytes."""


def zoom_footprint(own: Footprint, zoom: int) -> Footprint:
    """How a scene is cut, in its pixels, for a model that wants `own`, in those that it sees."""
    tile, margin, stride, blend = own
    if zoom > 1:
        # chips begin on the stride and are as long as before; beyond their edge is no neighbour
        return Footprint(
            max(1, tile // zoom), -(-margin // zoom) + 1, stride // gcd(stride, zoom), blend
        )
    if zoom == 1:
        return own
    if blend:
        # whole strides of its own pixels, or they would begin between two of them
        tile += tile % 2 if stride % 2 == 0 else 0
        margin = next(m for m in range(margin, margin + stride) if (tile + 2 * m) % stride == 0)
    else:
        margin += 1  # what lies at a core's edge is interpolated with the next one
    return Footprint(tile * -zoom, margin * -zoom, stride * -zoom, blend)


def zoom_chip(chip: xr.Dataset, zoom: int) -> xr.Dataset:
    """A chip at another pixel size: `pixels (band, y, x) float32`, valid where any pixel that it is
    made of is. Its sides must be multiples of a negative `zoom`."""
    if zoom == 1:
        return chip
    pixels, valid = chip["pixels"].values.astype(np.float32), chip["valid"].values
    with np.errstate(invalid="ignore"):  # what 0 is divided by 0 is not valid
        if zoom > 1:
            seen, there = enlarge(pixels, valid, zoom), valid.repeat(zoom, 0).repeat(zoom, 1)
        else:
            seen, there = shrink(pixels, valid, -zoom)
    seen = np.where(there, seen, np.float32(0))
    return xr.Dataset(
        {"pixels": (("band", "y", "x"), seen), "valid": (("y", "x"), there)},
        coords={name: chip[name] for name in ("band", "scale", "offset", "units")},
    )


def restore(shares: Any, valid: Any, zoom: int) -> Iterator[tuple[slice, Any]]:
    """Probabilities `(batch, class, y, x)` of zoomed chips as those of the scene's pixels, in
    strips of its rows from the top. `valid (batch, y, x)` says where a zoomed chip's pixels are.

    Both are arrays of NumPy, or tensors on one device, and so are the strips. Of several pixels in
    one the mean; of one pixel in several by bilinear interpolation between the centres. Anything
    where the scene's pixel is not valid.
    """
    if zoom == 1:
        yield slice(0, shares.shape[2]), shares
        return
    valid = valid[:, None]
    if zoom > 1:
        # a pixel is valid with all that were made of it, or with none
        found, _ = shrink(shares, valid | True, zoom)
        yield slice(0, found.shape[2]), found
        return
    factor, rows = -zoom, shares.shape[2]
    step = max(1, _STRIP // factor)
    for first, last in pairwise([*range(0, rows, step), rows]):
        # a row more on each side, which those at the edge of the strip lie between
        seen = slice(max(0, first - 1), last + 1)
        strip = enlarge(shares[:, :, seen], valid[:, :, seen], factor)
        above = factor * (first - seen.start)
        yield (
            slice(factor * first, factor * last),
            strip[:, :, above : above + factor * (last - first)],
        )


def shrink(values: Any, valid: Any, factor: int) -> tuple[Any, Any]:
    """The mean of the valid ones of each `factor` × `factor` pixels of `values (…, y, x)`, and
    where there is any; NaN where there is none."""
    library = _library_of(values)
    total, count = 0.0, 0.0
    filled, weights = library.where(valid, values, 0), _numbers(valid, values)
    # one after the other, so that each pixel adds up in one order, wherever in an array it lies
    for row in range(factor):
        for col in range(factor):
            total = total + filled[..., row::factor, col::factor]
            count = count + weights[..., row::factor, col::factor]
    return total / count, count > 0


def enlarge(values: Any, valid: Any, factor: int) -> Any:
    """`values (…, y, x)` with `factor` × `factor` pixels for each, interpolated bilinearly between
    the centres of those that are valid; NaN where none of them is."""
    filled, weights = _library_of(values).where(valid, values, 0), _numbers(valid, values)
    for axis in (-2, -1):
        filled, weights = _stretch(filled, factor, axis), _stretch(weights, factor, axis)
    return filled / weights


def _stretch(values: Any, factor: int, axis: int) -> Any:
    """Values along one axis interpolated between neighbours; what lies beyond an end is 0."""
    library = _library_of(values)
    upright = values.swapaxes(axis, -1)
    nothing = library.zeros_like(upright[..., :1])
    before = library.concatenate([nothing, upright[..., :-1]], -1)
    after = library.concatenate([upright[..., 1:], nothing], -1)
    phases = []
    for place in range(factor):
        from_centre = (place + 0.5) / factor - 0.5
        near = abs(from_centre)
        phases.append(upright * (1 - near) + (before if from_centre < 0 else after) * near)
    # beside each value what was made of it
    found = library.stack(phases, -1).reshape(*upright.shape[:-1], -1)
    return found.swapaxes(axis, -1)


def _numbers(valid: Any, like: Any) -> Any:
    """1 where something holds and 0 elsewhere, of a dtype of numbers."""
    return _library_of(like).asarray(valid, dtype=like.dtype)


def _library_of(values: Any) -> Any:
    """NumPy or torch, which call what is needed here by the same names."""
    if isinstance(values, np.ndarray):
        return np
    import torch

    return torch
