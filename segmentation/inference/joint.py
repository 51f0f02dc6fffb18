"""A network and trees on the same pixels: the mean of the logarithms of what both hold likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.forests.forest import load_trees, probabilities
from segmentation.forests.pixel_features import margin_of, parse_features
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch

Scores = npt.NDArray[np.float32]

LEAST = 1e-4
"""What a class counts as that one of them holds impossible: else the other would have no say."""


def join(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Probabilities `(batch, class, …)` of two: their geometric mean, which sums up to one."""
    return ((one.clamp(LEAST).log() + other.clamp(LEAST).log()) / 2).softmax(1)


def pack_trees(bundle: Bundle, chips: Sequence[xr.Dataset]) -> dict[str, list[Scores]]:
    """What trees beside a network hold likely, `(class, y, x)` of each chip, by the name `beside`;
    nothing where there are none."""
    if bundle.card.beside is None:
        return {}
    trees = load_trees(bundle)
    return {"beside": [probabilities(trees, bundle.card, chip) for chip in chips]}


def margin_with_trees(card: Card, margin: int) -> int:
    """A network's margin, or the next multiple of its stride that trees beside it can see all
    around a core in."""
    if card.beside is None:
        return margin
    around, stride = margin_of(parse_features(card.beside.features)), card.network.stride
    return max(margin, -(-around // stride) * stride)
