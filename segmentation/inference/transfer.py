"""The way of pixels to the device: normalised there, in constant batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import check_units
from segmentation.inference.device import Device
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch


BATCH: dict[Device, int] = {"cpu": 1, "cuda": 4}
"""Chips in one call of the network. A constant: what is computed never follows how much memory
happens to be free."""


def normalise(chip: xr.Dataset, card: Card) -> npt.NDArray[np.float32]:
    """What the network sees: `(band, y, x)` in the card's order, (value − mean) / std, and 0 where
    not valid.

    Raises `InputError` where a band's values are not in the units the network was trained on.
    """
    import torch

    with torch.inference_mode():
        return on_device([chip], card, "cpu")[0].contiguous().numpy()


def on_device(chips: Sequence[xr.Dataset], card: Card, device: Device) -> torch.Tensor:
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
    factors = [
        first["scale"].values,
        first["offset"].values,
        *zip(*((b.mean, b.std) for b in card.bands), strict=True),
    ]
    scale, offset, mean, std = (
        torch.tensor(f, dtype=torch.float32, device=device)[:, None, None] for f in factors
    )
    seen.mul_(scale).add_(offset).sub_(mean).div_(std)
    return seen.masked_fill_(~valid[:, None], 0)


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
