"""The way of pixels to a network: as they are filed to its device, and standardised there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import check_units, values
from segmentation.errors import InputError
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch

Ranges = tuple[tuple[float, float], ...]
"""The values of each band, in its units, that become 0 and 1; empty where none do."""


def normalise(chip: xr.Dataset, card: Card, ranges: Ranges = ()) -> npt.NDArray[np.float32]:
    """What the network sees: `(band, y, x)` in the card's order, as its preprocessing says; plain:
    (value − mean) / std, and 0 where not valid.

    Raises `InputError` where a band's values are not in the units the network was trained on.
    """
    import torch

    packed = pack_chips([chip], card)
    with torch.inference_mode():
        batch = {name: torch.from_numpy(array)[None] for name, (array,) in packed.items()}
        return Standardiser(card, "cpu", ranges)(batch)[0].contiguous().numpy()


def pack_chips(chips: Sequence[xr.Dataset], card: Card) -> dict[str, list[npt.NDArray[Any]]]:
    """What a `Standardiser` needs to know of chips, an array a chip: pixels as they are filed, in
    the card's order of bands, where they are valid, and how they scale.

    Raises `InputError` where a band's values are not in the units the network was trained on.
    """
    names, units = list(card.band_names), [band.units for band in card.bands]
    ordered = [
        chip if list(chip["band"].values) == names else chip.sel(band=names) for chip in chips
    ]
    for chip in ordered:
        check_units(chip, units)
    packed = {name: [chip[name].values for chip in ordered] for name in ("pixels", "valid")}
    for name in ("scale", "offset"):
        packed[name] = [chip[name].values.astype(np.float32) for chip in ordered]
    if card.preprocessing.normalisation == "per-chip":
        packed["statistics"] = [statistics(chip).astype(np.float32) for chip in ordered]
    return packed


class Standardiser:
    """Chips as a network sees them, `(batch, band, y, x) float32` in channels_last.

    Its constants are made once and stay on the device, by torch's name of it.
    """

    def __init__(self, card: Card, device: str, ranges: Ranges = ()) -> None:
        import torch

        def each(numbers: npt.ArrayLike) -> torch.Tensor:
            """Numbers `(band)` beside the pixels."""
            return torch.as_tensor(np.asarray(numbers, np.float32), device=device)[:, None, None]

        self._scaling = card.preprocessing
        self._mean = each([band.mean for band in card.bands])
        self._std = each([band.std for band in card.bands])
        padding = self._scaling.padding
        self._padding = padding[0] if len(padding) == 1 else each(padding)
        if self._scaling.of_scene:
            low, high = np.array(check_ranges(ranges, card), np.float64).T
            self._low, self._range = each(low), each(np.where(high > low, high - low, 1))

    def __call__(self, seen: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of the tensors that `pack_chips` names, `(batch, …)`."""
        import torch

        # One operation after the other in float32, as everywhere: fused they would round otherwise.
        pixels = seen["pixels"].to(torch.float32, memory_format=torch.channels_last, copy=True)
        scaling, valid = self._scaling, seen["valid"][:, None]
        pixels.mul_(seen["scale"][..., None, None]).add_(seen["offset"][..., None, None])
        if scaling.of_scene:
            pixels.sub_(self._low).div_(self._range).clamp_(0, 1)
        elif scaling.normalisation == "per-chip":
            mean, std = seen["statistics"][..., None, None].unbind(1)
            pixels.sub_(mean).div_(std)
        if (scaling.factor, scaling.offset) != (1, 0):
            pixels.mul_(scaling.factor).add_(scaling.offset)
        pixels.sub_(self._mean).div_(self._std)
        if isinstance(self._padding, torch.Tensor):
            return torch.where(valid, pixels, self._padding)
        return pixels.masked_fill_(~valid, self._padding)


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


def statistics(chip: xr.Dataset) -> npt.NDArray[np.float64]:
    """Mean and standard deviation `(2, band)` of the valid pixels of a chip, as physical values; a
    deviation of 1 where all values are equal. Some pixel must be valid.

    Of the stored numbers in double precision on the CPU, in the order of the chip's rows: a chip
    is cut from the fixed lattice, so they are the same whoever computes them.
    """
    found, valid = np.zeros((2, chip.sizes["band"])), chip["valid"].values
    for at, (band, scale, offset) in enumerate(
        zip(chip["pixels"].values, chip["scale"].values, chip["offset"].values, strict=True)
    ):
        stored = band[valid].astype(np.float64)
        found[:, at] = stored.mean() * scale + offset, stored.std() * abs(scale) or 1
    return found
