"""The way of pixels to the device: normalised there, in constant batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import check_units, values
from segmentation.errors import InputError
from segmentation.inference.device import Device
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch


BATCH: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Chips in one call of the network. A constant: what is computed never follows how much memory
happens to be free."""


Ranges = tuple[tuple[float, float], ...]
"""The values of each band, in its units, that become 0 and 1; empty where none do."""


def normalise(chip: xr.Dataset, card: Card, ranges: Ranges = ()) -> npt.NDArray[np.float32]:
    """What the network sees: `(band, y, x)` in the card's order, as its preprocessing says; plain:
    (value − mean) / std, and 0 where not valid.

    Raises `InputError` where a band's values are not in the units the network was trained on.
    """
    import torch

    with torch.inference_mode():
        return on_device([chip], card, "cpu", ranges)[0].contiguous().numpy()


def on_device(
    chips: Sequence[xr.Dataset], card: Card, device: Device, ranges: Ranges = ()
) -> torch.Tensor:
    """Chips as the network sees them, `(batch, band, y, x) float32` in channels_last; what travels
    is as filed."""
    import torch

    names = list(card.band_names)
    ordered = [
        chip if list(chip["band"].values) == names else chip.sel(band=names) for chip in chips
    ]
    first = ordered[0]
    check_units(first, [band.units for band in card.bands])
    filed = (
        common_shape(name, [chip[name].values for chip in ordered], device)
        for name in ("pixels", "valid")
    )
    pixels, valid = (array.to(device, non_blocking=True) for array in filed)
    # One operation after the other in float32, as everywhere: fused they would round otherwise.
    seen = pixels.to(torch.float32, memory_format=torch.channels_last, copy=True)

    def each(numbers: npt.ArrayLike) -> torch.Tensor:
        """Numbers `(band)` or `(batch, band)` beside the pixels."""
        return torch.as_tensor(np.asarray(numbers, np.float32), device=device)[..., None, None]

    scaling = card.preprocessing
    seen.mul_(each(first["scale"].values)).add_(each(first["offset"].values))
    if scaling.of_scene:
        low, high = np.array(check_ranges(ranges, card), np.float64).T
        seen.sub_(each(low)).div_(each(np.where(high > low, high - low, 1))).clamp_(0, 1)
    elif scaling.normalisation == "per-chip":
        mean, std = statistics(ordered, BATCH[device]).swapaxes(0, 1)
        seen.sub_(each(mean)).div_(each(std))
    if (scaling.factor, scaling.offset) != (1, 0):
        seen.mul_(scaling.factor).add_(scaling.offset)
    seen.sub_(each([band.mean for band in card.bands])).div_(each([b.std for b in card.bands]))
    if len(scaling.padding) == 1:
        return seen.masked_fill_(~valid[:, None], scaling.padding[0])
    return torch.where(valid[:, None], seen, each(scaling.padding))


def check_ranges(ranges: Ranges, card: Card) -> Ranges:
    """The ranges, if there is one for each band; else `InputError`."""
    if len(ranges) == len(card.bands):
        return ranges
    raise InputError(
        f"{card.name} is normalised by the {card.preprocessing.normalisation} of a scene, and was "
        "not fitted to one; call fit with a sample of the scene first"
    )


def measure_ranges(sample: xr.Dataset, card: Card) -> Ranges:
    """The ranges of each band in a sample of a scene, as the card's preprocessing says."""
    seen = values(sample.sel(band=list(card.band_names)), [band.units for band in card.bands])
    valid = seen.values[:, sample["valid"].values].astype(np.float64)
    if not valid.size:
        raise InputError(f"the sample that {card.name} is fitted to has no valid pixel")
    low, high = np.percentile(valid, card.preprocessing.range_percentiles, axis=1)
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def statistics(chips: Sequence[xr.Dataset], batch: int) -> npt.NDArray[np.float64]:
    """Mean and standard deviation `(batch, 2, band)` of the valid pixels of each chip, as physical
    values; 0 and 1 beyond the last chip, and a deviation of 1 where all values are equal.

    Of the stored numbers in double precision on the CPU, in the order of the chip's rows: a chip
    is cut from the fixed lattice, so they are the same whoever computes them.
    """
    found = np.zeros((batch, 2, chips[0].sizes["band"]))
    found[:, 1] = 1
    for chip, (mean, std) in zip(chips, found, strict=False):
        valid = chip["valid"].values
        for at, (band, scale, offset) in enumerate(
            zip(chip["pixels"].values, chip["scale"].values, chip["offset"].values, strict=True)
        ):
            stored = band[valid].astype(np.float64)
            mean[at] = stored.mean() * scale + offset
            std[at] = stored.std() * abs(scale) or 1
    return found


def common_shape(name: str, arrays: Sequence[npt.NDArray[Any]], device: Device) -> torch.Tensor:
    """The arrays as one batch: a single one as it is, more in memory that each lane makes once.

    For a GPU it is page-locked: the device copies from there by itself.
    """
    import torch

    if BATCH[device] == 1:
        return torch.from_numpy(arrays[0])[None]
    kept: dict[str, torch.Tensor] = _lane.__dict__.setdefault("kept", {})
    dtype, shape = torch.from_numpy(arrays[0][:0]).dtype, (BATCH[device], *arrays[0].shape)
    if name not in kept or (kept[name].dtype, kept[name].shape) != (dtype, shape):
        kept[name] = torch.zeros(shape, dtype=dtype, pin_memory=device == "cuda")
    filled = kept[name].numpy()
    filled[: len(arrays)] = arrays
    filled[len(arrays) :] = 0
    return kept[name]


_lane = threading.local()
