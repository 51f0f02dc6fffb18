"""The objects of one chip, as plain arrays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import values
from segmentation.detection.network import MASK
from segmentation.inference.device import pool_of
from segmentation.models.card import Card

if TYPE_CHECKING:
    from torchvision.models.detection import MaskRCNN

SCORES = 10_000
"""Steps of a score: what decides about objects is a whole number."""
STEPS = 32
"""Steps of a pixel in which the middle of a box is told."""

_ONE_AT_A_TIME = threading.Lock()
"""Of chips on a graphics card."""

Pixels = npt.NDArray[np.float32]


class Instance(NamedTuple):
    """An object in a chip."""

    row: int
    col: int
    """Where `pixels` begin in the chip."""
    pixels: npt.NDArray[np.bool_]
    """`(y, x)`: which pixels of the rectangle are the object's."""
    score: int
    """How sure it is, in 1/`SCORES`."""
    channel: int
    """The place of its class in the legend, 1 or more."""
    centre: tuple[int, int]
    """Row and column of the middle of its box, in 1/`STEPS` pixel."""


class Boxes(NamedTuple):
    """What the network says of a chip: parallel arrays."""

    boxes: npt.NDArray[np.float64]
    """`(n, 4)`: left, top, right, bottom in pixels."""
    masks: npt.NDArray[np.float64]
    """`(n, 28, 28)`: probabilities, spread over the box."""
    scores: npt.NDArray[np.float64]
    channels: npt.NDArray[np.int64]


def normalise(chip: xr.Dataset, card: Card) -> Pixels:
    """`(band, y, x)` z-scores of a chip whose bands are the card's; 0 where nothing is valid."""
    seen = values(chip, [band.units for band in card.bands]).values
    mean, std = (
        np.array([getattr(band, name) for band in card.bands], np.float32)[:, None, None]
        for name in ("mean", "std")
    )
    return np.nan_to_num((seen - mean) / std, posinf=0, neginf=0).astype(np.float32)


def look(model: MaskRCNN, pixels: Pixels) -> Boxes:
    """What a network says of a chip, alone: on one core of a CPU, or on the network's card.

    Batches would save little beside masks, and a chip's numbers would hang on its neighbours.
    """
    device = next(model.parameters()).device
    if device.type == "cpu":
        return pool_of()[0].submit(_look, model, pixels).result()
    with _ONE_AT_A_TIME:
        return _look(model, pixels)


def _look(model: MaskRCNN, pixels: Pixels) -> Boxes:
    import torch
    from torchvision.models.detection.image_list import ImageList

    device = next(model.parameters()).device
    with torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(pixels))[None].to(device)
        features = model.backbone(batch)
        images = ImageList(batch, [(batch.shape[2], batch.shape[3])])
        proposals, _ = model.rpn(images, features)
        (said,), _ = model.roi_heads(features, proposals, images.image_sizes)
    return Boxes(
        said["boxes"].cpu().double().numpy(),
        said["masks"][:, 0].cpu().double().numpy(),
        said["scores"].cpu().double().numpy(),
        said["labels"].cpu().numpy(),
    )


def instances(said: Boxes, shape: tuple[int, int], least: int) -> Iterator[Instance]:
    """The objects of a chip of that shape whose score is `least` or more, each from its box and
    mask alone."""
    for box, mask, score, channel in zip(*said, strict=True):
        known = round(float(score) * SCORES)
        if known < least:
            continue
        (row, rows), (col, cols) = (
            _spread(box[side], box[side + 2], shape[axis]) for axis, side in ((0, 1), (1, 0))
        )
        pixels = rows @ np.pad(mask, 1) @ cols.T >= 0.5
        left, top, right, bottom = (round(float(edge) * STEPS) for edge in box)
        centre = (top + bottom) // 2, (left + right) // 2
        if pixels.any():
            yield Instance(row, col, pixels, known, int(channel), centre)


def _spread(low: float, high: float, size: int) -> tuple[int, npt.NDArray[np.float64]]:
    """The first pixel of a box along one axis, and `(pixels, 30)` how much each has of the values
    that a mask holds, a zero before and after them: linear interpolation at its middle."""
    first, stop = max(0, int(np.floor(low))), min(size, int(np.ceil(high)))
    middle = np.arange(first, max(first, stop)) + 0.5
    at = np.clip((middle - low) / max(high - low, 1e-6) * MASK + 0.5, 0, MASK + 1)
    below = np.minimum(at.astype(np.int64), MASK)
    rows = np.arange(middle.size)
    weights = np.zeros((middle.size, MASK + 2))
    weights[rows, below] = 1 - (at - below)
    weights[rows, below + 1] += at - below
    return first, weights
