"""A network and trees on the same pixels: the mean of the logarithms of what both hold likely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from segmentation.forests.forest import load_trees, probabilities
from segmentation.forests.pixel_features import margin_of, parse_features
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch

LEAST = 1e-4
"""What a class counts as that one of them holds impossible: else the other would have no say."""


def join(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Probabilities `(batch, class, …)` of two: their geometric mean, which sums up to one."""
    return ((one.clamp(LEAST).log() + other.clamp(LEAST).log()) / 2).softmax(1)


def join_trees(shares: torch.Tensor, bundle: Bundle, chips: Sequence[xr.Dataset]) -> torch.Tensor:
    """Probabilities `(batch, class, y, x)` of a network, joined with those of the trees beside it;
    as they are where there are none.

    A batch may be longer than there are chips.
    """
    import torch

    card = bundle.card
    if card.beside is None:
        return shares
    trees = load_trees(bundle)
    said = np.stack([probabilities(trees, card, chip) for chip in chips])
    with torch.inference_mode():
        joined = join(shares[: len(chips)], torch.from_numpy(said).to(shares.device))
        return torch.cat([joined, shares[len(chips) :]])


def margin_with_trees(card: Card, margin: int) -> int:
    """A network's margin, or the next multiple of its stride that trees beside it can see all
    around a core in."""
    if card.beside is None:
        return margin
    around, stride = margin_of(parse_features(card.beside.features)), card.network.stride
    return max(margin, -(-around // stride) * stride)
