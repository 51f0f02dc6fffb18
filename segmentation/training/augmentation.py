"""How one labelled chip becomes many: turned, mirrored, nearer, farther, under another light.

Pixels are floating point, in any number of bands, normalised, and what has no data is 0 before and
after. The usual libraries are made for pictures: their changes of light want three channels within
0…1 and cut off what is outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Augmentation:
    """How far chips are changed; 0 leaves them."""

    light: float = 0.1
    """Standard deviation of a gain, and of an offset in standard deviations: once for all bands,
    once for each."""
    noise: float = 0.0
    """Standard deviation of what each pixel gets of its own, at most; in standard deviations of the
    band."""
    scale: float = 0.2
    """Largest logarithm of a change of scale."""
    lost_band: float = 0.0
    """How often a chip lacks a band: it is 0 throughout, its mean."""


def apply_symmetry(pixels: npt.NDArray[Any], symmetry: int) -> npt.NDArray[Any]:
    """`(…, y, x)` under one of the eight symmetries of the square, 0…7; 0 leaves it as it is."""
    if symmetry & 4:
        pixels = pixels.swapaxes(-1, -2)
    if symmetry & 2:
        pixels = pixels[..., ::-1]
    return pixels[..., ::-1, :] if symmetry & 1 else pixels


def sample_crop_size(length: int, augmentation: Augmentation, rng: np.random.Generator) -> int:
    """The length of the chip to read so that, resized to `length`, it is nearer or farther by
    chance."""
    if not augmentation.scale:
        return length
    return max(
        8, round(length * float(np.exp(rng.uniform(-augmentation.scale, augmentation.scale))))
    )


def resize_places(length: int, wanted: int) -> npt.NDArray[np.int64]:
    """`(wanted,)`: which of `length` pixels in a row each is, at another length."""
    return ((np.arange(wanted) + 0.5) * length / wanted).astype(np.int64)


def resize(pixels: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """`(…, y, x)`, square, at another length, each pixel the nearest: no value arises that was not
    there."""
    if pixels.shape[-1] == length:
        return pixels
    places = resize_places(pixels.shape[-1], length)
    return pixels[..., places[:, None], places]


def jitter_radiometry(
    pixels: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """`(band, y, x)` under another light, as between sensors, days and atmospheres; 0 where not
    valid."""
    bands = (len(pixels), 1, 1)
    light = augmentation.light
    gain = rng.normal(1, light) * rng.normal(1, light / 2, bands)
    offset = rng.normal(0, light) + rng.normal(0, light / 2, bands)
    seen = pixels * gain.astype(np.float32) + offset.astype(np.float32)
    if augmentation.noise:
        seen += rng.normal(0, rng.uniform(0, augmentation.noise), pixels.shape).astype(np.float32)
    if augmentation.lost_band and len(pixels) > 1:
        seen *= rng.random(bands) >= augmentation.lost_band
    seen *= valid
    return seen
