"""What a sample says of a scene, equal on every tile: how bands are counted, how much they vary,
how steep the image usually is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from segmentation.relief.gradient import gradient_heights
from segmentation.relief.quantum import Quantum, choose_quanta, quantise
from tiling.errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class Fit(BaseModel):
    """What was found in a sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: tuple[str, ...]
    quanta: tuple[Quantum, ...]
    """How each band is counted."""
    deviations: tuple[float, ...]
    """Standard deviation of each band, in counts."""
    gradient: int
    """Median height of the gradient, in sixteenths of a count per pixel."""

    @property
    def weights(self) -> tuple[float, ...]:
        """What squared differences of each band are multiplied by: 1 / variance; a constant band
        weighs nothing."""
        return tuple(1 / d**2 if d else 0.0 for d in self.deviations)

    def tolerances(self, physical: float | None, share: float) -> tuple[int, ...]:
        """A tolerance in the units of the bands as counts of each; where none is set, a share of
        each standard deviation."""
        if physical is None:
            return tuple(int(share * deviation) for deviation in self.deviations)
        # 0.03 is 299.99… ten-thousandths: a little of a count is let off.
        return tuple(int(physical / abs(one.step) + 5e-4) for one in self.quanta)


def fit_sample(sample: xr.Dataset, rounds: int = 1) -> Fit:
    """Facts of a sample, a chip of square blocks stacked along y, with the gradient after so many
    rounds of smoothing. Raises `InputError` where no pixel is valid."""
    if not sample["valid"].values.any():
        raise InputError("no pixel of the scene is valid; check its no data and mask")
    quanta = choose_quanta(sample)
    n, total, squares = 0, [0] * len(quanta), [0] * len(quanta)
    heights = []
    for block in blocks(sample):
        values, valid = quantise(block, quanta), block["valid"].values
        heights.append(gradient_heights(values, valid, rounds)[valid])
        n += int(valid.sum())
        for band, counts in enumerate(values):
            # What is not valid counts 0, and adds nothing.
            wide = counts.astype(np.int64)
            total[band] += int(wide.sum())
            squares[band] += int((wide * wide).sum())
    variances = [
        (n * square - one * one) / n**2 for one, square in zip(total, squares, strict=True)
    ]
    return Fit(
        bands=tuple(map(str, sample["band"].values)),
        quanta=quanta,
        deviations=tuple(variance**0.5 for variance in variances),
        gradient=int(np.median(np.concatenate(heights))),
    )


def blocks(sample: xr.Dataset) -> Iterator[xr.Dataset]:
    """The blocks of a sample, each a chip: what lies beside another block in it is no
    neighbour."""
    side = sample.sizes["x"]
    for top in range(0, sample.sizes["y"], side):
        yield sample.isel(y=slice(top, top + side))
