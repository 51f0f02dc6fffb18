"""Pixels as whole numbers: what is added up from them is the same in any order.

Reflectance counts in ten-thousandths. Digital numbers that are whole stay as they are. Others are
counted in steps that a sample of the scene suggests, a thousandth of its standard deviation or
less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import xarray as xr

LARGEST = 2**19
"""Greatest size of a whole number: squared differences of thousands of bands stay below 2⁶³. It is
52 in reflectance; what lies beyond is cut off."""

REFLECTANCE_STEP = 1e-4
FINENESS = 1000
"""Steps in a standard deviation, at least."""


class Quantum(BaseModel):
    """How a band is counted: the physical value is origin + step × whole number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: float = 0.0
    step: float = 1.0

    def count(self, physical: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """The whole numbers nearest to physical values; 0 where those are not finite."""
        steps = np.rint((physical - self.origin) / self.step)
        return np.clip(np.nan_to_num(steps), -LARGEST, LARGEST).astype(np.int32)

    def restore(self, counts: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Physical values of counts, or of means of them."""
        return self.origin + self.step * np.asarray(counts, np.float64)


def quantise(chip: xr.Dataset, quanta: Sequence[Quantum]) -> npt.NDArray[np.int32]:
    """The pixels of a chip as whole numbers `(band, y, x) int32`, one quantum for each band; 0
    where the chip is not valid."""
    valid = chip["valid"].values
    counts = np.empty(chip["pixels"].shape, np.int32)
    for band, quantum in enumerate(quanta):
        shift = _whole_shift(chip, band, quantum)
        if shift is None:
            counts[band] = quantum.count(_physical(chip, band))
        else:
            stored = chip["pixels"].values[band]
            if stored.dtype.itemsize > 2:
                stored = np.clip(stored.astype(np.int64), -2 * LARGEST, 2 * LARGEST)
            counts[band] = stored
            counts[band] += np.int32(shift)
            np.clip(counts[band], -LARGEST, LARGEST, out=counts[band])
    counts *= valid
    return counts


def choose_quanta(sample: xr.Dataset) -> tuple[Quantum, ...]:
    """How each band of a scene is counted, from a sample of it: a chip as in
    `segmentation.chip`."""
    return tuple(_choose_quantum(sample, band) for band in range(sample.sizes["band"]))


def _choose_quantum(sample: xr.Dataset, band: int) -> Quantum:
    if sample["units"].values[band] == "reflectance":
        return Quantum(step=REFLECTANCE_STEP)
    pixels = sample["pixels"].values[band][sample["valid"].values]
    if pixels.dtype.kind in "iub" and _fits(pixels):
        offset, scale = (float(sample[name].values[band]) for name in ("offset", "scale"))
        return Quantum(origin=offset, step=scale)
    physical = _physical(sample, band)[sample["valid"].values]
    deviation = float(physical.std()) if physical.size else 0.0
    # A power of two: dividing by it rounds nothing.
    step = 2.0 ** math.floor(math.log2(deviation / FINENESS)) if deviation > 0 else 1.0
    mean = float(physical.mean()) if physical.size else 0.0
    return Quantum(origin=step * round(mean / step), step=step)


def _whole_shift(chip: xr.Dataset, band: int, quantum: Quantum) -> int | None:
    """By how much counts exceed the whole numbers that a band is stored in; None where it is stored
    otherwise, or in steps of another size."""
    scale, offset = (float(chip[name].values[band]) for name in ("scale", "offset"))
    shift = (offset - quantum.origin) / quantum.step
    if chip["pixels"].dtype.kind not in "iu" or scale != quantum.step:
        return None
    return round(shift) if abs(shift - round(shift)) < 1e-6 and abs(shift) < LARGEST else None


def _fits(pixels: npt.NDArray[np.integer]) -> bool:
    """Whether whole numbers may stay as they are."""
    return not pixels.size or (int(pixels.min()) >= -LARGEST and int(pixels.max()) <= LARGEST)


def _physical(chip: xr.Dataset, band: int) -> npt.NDArray[np.float64]:
    """`(y, x) float64` values of one band; the sum and product of a pixel alone, so that no chip
    shows in them."""
    pixels = chip["pixels"].values[band].astype(np.float64)
    scale, offset = (float(chip[name].values[band]) for name in ("scale", "offset"))
    return pixels * scale + offset
