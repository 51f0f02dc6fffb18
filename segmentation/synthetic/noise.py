"""Noise by hash: every value follows from a key and a place, whatever the block."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]  # float32, but for absolute coordinates
Hashes = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


def key(seed: int, name: str) -> np.uint32:
    return np.uint32(crc32(f"{seed} {name}".encode()))


def mix(bits: Hashes) -> Hashes:
    """An avalanche of 32 bits: a permutation in which each output bit depends on every input bit.

    The multipliers and shifts are Chris Wellons' "lowbias32"
    (https://nullprogram.com/blog/2018/07/31/).
    """
    bits = bits ^ (bits >> np.uint32(16))
    bits *= np.uint32(0x7FEB352D)
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(0x846CA68B)
    bits ^= bits >> np.uint32(16)
    return bits


def hash(key: np.uint32 | Hashes, *coordinates: npt.NDArray[Any]) -> Hashes:
    """32 random bits for integer coordinates, broadcast against each other."""
    bits: Any = key
    for coordinate in coordinates:
        bits = mix(coordinate.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1) ^ bits)
    return bits


def unit(bits: Hashes) -> Floats:
    """Random bits as numbers in [0, 1)."""
    return (bits >> 8).astype(np.float32) * 2**-24


def again(bits: Hashes, salt: int) -> Floats:
    """Another number in [0, 1) from the same bits."""
    return unit(mix(bits ^ np.uint32(salt * 0x632BE5AB & 0xFFFFFFFF)))


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def taps(
    positions: npt.NDArray[np.float64], wavelength: float
) -> tuple[npt.NDArray[np.int64], list[Floats]]:
    """The first of the four knots, `wavelength` apart, whose cubic B-splines reach a position, and
    their weights."""
    at = positions / wavelength
    knot = np.floor(at)
    t = (at - knot).astype(np.float32)
    s = 1 - t
    weights = [s * s * s, 3 * t * t * t - 6 * t * t + 4, 3 * s * s * s - 6 * s * s + 4, t * t * t]
    return knot.astype(np.int64) - 1, [weight / 6 for weight in weights]


def blend(four: Iterable[Floats], weights: Iterable[Floats]) -> Floats:
    a, b, c, d = (values * weight for values, weight in zip(four, weights, strict=True))
    return a + b + c + d


# A cubic B-spline smooths uniform numbers to 151/315 of their variance per axis; these factors give
# spread 1 back.
_ALONG_A_LINE, IN_THE_PLANE = 5.0, 7.226


def wave(bits: Hashes, positions: npt.NDArray[np.float64], wavelength: float) -> Floats:
    """Smooth noise along a line, of mean 0 and spread 1; another line for each value of `bits`."""
    knot, weights = taps(positions, wavelength)
    return blend((unit(hash(bits, knot + t)) - 0.5 for t in range(4)), weights) * _ALONG_A_LINE
