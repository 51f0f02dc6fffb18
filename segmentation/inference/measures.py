"""From probabilities to labels and confidence, and to measures of doubt, in whole percents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from segmentation.models.card import Card
from segmentation.segmenter import Measure, Prediction

if TYPE_CHECKING:
    import torch


def labels_and_confidence(
    card: Card,
    measures: Sequence[Measure],
    shares: torch.Tensor,
    valids: Sequence[npt.NDArray[np.bool_]],
) -> list[Prediction]:
    """What follows from probabilities `(batch, class, y, x)`; only bytes leave the device."""
    import torch

    with torch.inference_mode():
        best, index = shares.max(1)  # of equals the first
        labels = (
            torch.tensor(card.legend.values, dtype=torch.uint8, device=shares.device)[index]
            .cpu()
            .numpy()
        )
        confidence = _percent(best)
        found = {name: _percent(_MEASURES[name](shares)) for name in measures}
    return [
        Prediction(
            labels=np.where(valid, labels[i], np.uint8(0)),
            confidence=confidence[i],
            measures={name: values[i] for name, values in found.items()},
        )
        for i, valid in enumerate(valids)
    ]


def join_strips(strips: Sequence[Prediction]) -> Prediction:
    """The prediction of a chip, from those of its rows."""
    if len(strips) == 1:
        return strips[0]
    labels, confidences, measures = zip(*strips, strict=True)
    return Prediction(
        np.concatenate(labels),
        np.concatenate(confidences),
        {name: np.concatenate([found[name] for found in measures], 1) for name in measures[0]},
    )


def _percent(shares: torch.Tensor) -> npt.NDArray[np.uint8]:
    import torch

    return (100 * shares).round().nan_to_num().to(torch.uint8).cpu().numpy()


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, 1, y, x)`: 0 where one class is certain, 1 where all are equally likely."""
    import torch

    classes = torch.special.entr(shares).split(1, dim=1)
    # added as in `normalise_scores`
    return reduce(torch.add, classes).clamp(0, None) / math.log(max(2, len(classes)))


def _lead(shares: torch.Tensor) -> torch.Tensor:
    """`(batch, 1, y, x)`: the likeliest class less the second."""
    if shares.shape[1] == 1:
        return shares
    two = shares.topk(2, 1).values
    return two[:, :1] - two[:, 1:]


_MEASURES: dict[Measure, Callable[[torch.Tensor], torch.Tensor]] = {
    "probabilities": lambda shares: shares,
    "entropy": _entropy,
    "margin": _lead,
}
