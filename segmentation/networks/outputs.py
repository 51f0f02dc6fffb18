"""What networks say, brought to one form: a logit for each class of a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch

from segmentation.models.processing import LEAST_SHARE, MOST_ODDS, Activation


class Ensemble(torch.nn.Module):
    """Several networks on the same pixels, whose probabilities are averaged.

    It says what one of them would: logits of the mean, or the mean itself where they say
    probabilities.
    """

    def __init__(self, members: Sequence[torch.nn.Module], activation: Activation) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)
        self._activation = activation

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        return tuple(self.members)

    @property
    def encoder(self) -> torch.nn.Module:
        """The encoder of the first one."""
        return cast(torch.nn.Module, self.members[0].encoder)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        each = torch.stack([member(pixels).float() for member in self.members])
        if self._activation.in_network:
            return each.mean(0)
        if self._activation.function == "softmax":
            return each.log_softmax(2).logsumexp(0) - math.log(len(each))
        log_sigmoid = torch.nn.functional.logsigmoid
        return log_sigmoid(each).logsumexp(0) - log_sigmoid(-each).logsumexp(0)


class ClassLogits(torch.nn.Module):
    """A network whose channels are no logits of classes, and the step that makes them so.

    The softmax of what it says has its largest share where the activation's class is. Of one
    channel with a threshold of ½ the shares are its probability and the rest.
    """

    cuts: torch.Tensor

    def __init__(self, network: torch.nn.Module, activation: Activation, classes: int) -> None:
        super().__init__()
        self.network, self._activation = network, activation
        cuts = torch.tensor(activation.cuts(classes), dtype=torch.float64).logit()
        self.register_buffer("cuts", cuts.float()[:, None, None], persistent=False)

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        return (self.network,)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        said = self.network(pixels).float()
        if self._activation.function == "softmax":
            return cast(torch.Tensor, said.clamp(LEAST_SHARE).log())
        odds = (said.logit(LEAST_SHARE) if self._activation.in_network else said) - self.cuts
        if self._activation.has_layers:
            odds = odds.clamp(-MOST_ODDS, MOST_ODDS)
        # Where all others lie below their thresholds, the first class's 0 is the largest.
        return torch.cat([torch.zeros_like(odds[:, :1]), odds], 1)


def as_class_logits(
    network: torch.nn.Module, activation: Activation, classes: int
) -> torch.nn.Module:
    """The network, saying a logit for each of so many classes; itself where it does already."""
    if activation.function == "softmax" and not activation.in_network:
        return network
    return ClassLogits(network, activation, classes)
