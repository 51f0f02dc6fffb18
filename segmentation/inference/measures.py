"""From probabilities to labels and confidence, and to measures of doubt, in whole percents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from segmentation.models.card import Card
from segmentation.segmenter import Measure, Prediction

if TYPE_CHECKING:
    import torch


def decide(
    values: torch.Tensor, measures: Sequence[Measure], shares: torch.Tensor, valid: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What follows from probabilities `(batch, class, y, x)`, as uint8 where they are: `labels` and
    `confidence (batch, y, x)`, and each of the measures `(batch, band, y, x)`.

    `values (class) uint8` are those of the legend, and `valid (batch, y, x)` says where there is a
    label.
    """
    best, index = shares.max(1)  # of equals the first
    labels = values[index].masked_fill_(~valid, 0)
    found = {"labels": labels, "confidence": _percent(best)}
    for name in measures:
        found[name] = _MEASURES[name](shares)
    return found


def bands_of(measure: Measure, card: Card) -> int:
    """How many bands a measure has."""
    return {"probabilities": len(card.legend), "layers": card.channels}.get(measure, 1)


def join_strips(strips: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What was decided of chips, from that of their rows."""
    import torch

    if len(strips) == 1:
        return strips[0]
    return {name: torch.cat([strip[name] for strip in strips], -2) for name in strips[0]}


def predictions(
    found: Mapping[str, npt.NDArray[np.uint8]], measures: Sequence[Measure], count: int
) -> list[Prediction]:
    """What was decided of the first `count` chips."""
    return [
        Prediction(
            labels=found["labels"][i],
            confidence=found["confidence"][i],
            measures={name: found[name][i] for name in measures},
        )
        for i in range(count)
    ]


def legend_values(card: Card, device: str = "cpu") -> torch.Tensor:
    """The values of the legend's classes, `(class) uint8`, on a device."""
    import torch

    return torch.tensor(card.legend.values, dtype=torch.uint8, device=device)


def _percent(shares: torch.Tensor) -> torch.Tensor:
    import torch

    return (100 * shares).round().nan_to_num().to(torch.uint8)


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, 1, y, x)`: 0 where one class is certain, 1 where all are equally likely."""
    import torch

    classes = torch.special.entr(shares).split(1, dim=1)
    # added as in `settle`
    return reduce(torch.add, classes).clamp(0, None) / math.log(max(2, len(classes)))


def _lead(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, 1, y, x)`: the likeliest class less the second."""
    if shares.shape[1] == 1:
        return shares
    two = shares.topk(2, 1).values
    return two[:, :1] - two[:, 1:]


def _layers(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, channel, y, x)`: 1 for each class but the first that is as likely as that: it
    reaches its threshold."""
    import torch

    return (shares[:, 1:] >= shares[:, :1]).to(torch.uint8)


_MEASURES: dict[Measure, Callable[[torch.Tensor], torch.Tensor]] = {
    "probabilities": _percent,
    "entropy": lambda shares: _percent(_entropy(shares)),
    "margin": lambda shares: _percent(_lead(shares)),
    "layers": _layers,
}
