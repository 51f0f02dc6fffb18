"""A U-Net whose first features have the resolution of the pixels themselves, beside a reading of
each pixel alone.

The libraries' encoders halve the resolution in their first convolution, made for photographs in
which neighbours are alike. Pixels of 10 m are often a thing each: a road, a hedge, a speck of tree.
There, what the pixel itself says must reach the classifier unblurred; what lies around it says the
rest.
"""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch.nn.functional import interpolate, max_pool2d, pad

ENCODER = "plain"
"""The one encoder it has: its own."""

MOST_MEMBERS = 16

_COMPARED = ((0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (1, 1), (1, -1))
"""How many rows below and columns beside a pixel those lie that it is compared with."""
_FARTHEST = 3


class FullUNet(torch.nn.Module):
    """Pixel by pixel through two 1×1 layers, through a U-Net (Ronneberger et al. 2015,
    arXiv:1505.04597), and together.

    `decoder_channels` are the features at each resolution, the full one first; there is one more of
    them than
    `encoder_depth` says. With several `members` as many networks, each begun and trained on its
    own, give the mean of their probabilities: what one of them learnt by chance the others outvote
    (Lakshminarayanan et al. 2017, arXiv:1612.01474). With `differences` that many features of each
    pixel are compared with those of pixels beside and below it, which convolutions, that add up,
    learn but slowly: what tells two things apart is how they differ.
    """

    def __init__(
        self,
        encoder_name: str = ENCODER,
        encoder_weights: str | bool | None = None,
        in_channels: int = 3,
        classes: int = 1,
        encoder_depth: int = 3,
        decoder_channels: tuple[int, ...] = (16, 32, 64, 96),
        members: int = 1,
        differences: int = 0,
    ) -> None:
        super().__init__()
        if encoder_name != ENCODER:
            raise ValueError(f"it has but its own encoder, {ENCODER}")
        if len(decoder_channels) != encoder_depth + 1:
            raise ValueError(
                f"a depth of {encoder_depth} takes {encoder_depth + 1} decoder_channels"
            )
        if not 1 <= members <= MOST_MEMBERS:
            raise ValueError(f"it has 1 to {MOST_MEMBERS} members")
        self.members = torch.nn.ModuleList(
            _Member(in_channels, classes, decoder_channels, differences) for _ in range(members)
        )

    @property
    def encoder(self) -> torch.nn.Module:
        """The encoder of the first member; those of the others are alike."""
        return cast(_Member, self.members[0]).encoder

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, class, y, x)` of `(batch, band, y, x)`.

        In training `(members × batch, class, y, x)`, one member after the other: each answers for
        itself.
        """
        each = [member(pixels) for member in self.members]
        if self.training:
            return torch.cat(each)
        if len(each) == 1:
            return cast(torch.Tensor, each[0])
        return torch.stack([logits.log_softmax(1) for logits in each]).logsumexp(0) - math.log(
            len(each)
        )


class _Member(torch.nn.Module):
    """One of them."""

    def __init__(
        self, in_channels: int, classes: int, channels: tuple[int, ...], differences: int
    ) -> None:
        super().__init__()
        alone = 2 * channels[0]
        self.pixel = torch.nn.Sequential(*_layer(in_channels, alone, 1), *_layer(alone, alone, 1))
        self.compared = _Differences(alone, differences) if differences else None
        alone += 3 * differences
        self.encoder = _Encoder(alone, channels)
        self.decoder = torch.nn.ModuleList(
            torch.nn.Sequential(*_layer(coarse + fine, fine, 3))
            for fine, coarse in itertools.pairwise(channels)
        )
        self.head = torch.nn.Sequential(
            *_layer(alone + channels[0], 2 * channels[0], 1),
            torch.nn.Conv2d(2 * channels[0], classes, 1),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        alone = self.pixel(pixels)
        if self.compared is not None:
            alone = torch.cat((alone, self.compared(alone)), 1)
        *finer, around = self.encoder(alone)
        for features, join in zip(reversed(finer), reversed(self.decoder), strict=True):
            around = join(
                torch.cat((interpolate(around, scale_factor=2, mode="nearest"), features), 1)
            )
        return cast(torch.Tensor, self.head(torch.cat((alone, around), 1)))


class _Differences(torch.nn.Module):
    """How far some features of each pixel are from those of pixels beside and below it."""

    def __init__(self, in_channels: int, features: int) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(in_channels, features, 1)
        self.joined = torch.nn.Sequential(*_layer(features * len(_COMPARED), 3 * features, 1))

    def forward(self, alone: torch.Tensor) -> torch.Tensor:
        far = _FARTHEST
        around = pad(self.features(alone), (far, far, 0, far), mode="replicate")

        def shifted(down: int, across: int) -> torch.Tensor:
            rows = slice(down, (down - far) or None)
            return around[..., rows, slice(far + across, (across - far) or None)]

        here = shifted(0, 0)
        return cast(
            torch.Tensor,
            self.joined(torch.cat([(here - shifted(*by)).abs() for by in _COMPARED], 1)),
        )


class _Encoder(torch.nn.Module):
    """Features of every resolution, the full one first."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.output_stride = 2 ** (len(channels) - 1)
        self.first = torch.nn.Sequential(*_layer(in_channels, channels[0], 3))
        self.deeper = torch.nn.ModuleList(
            torch.nn.Sequential(*_layer(fine, coarse, 3), *_layer(coarse, coarse, 3))
            for fine, coarse in itertools.pairwise(channels)
        )

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        found = [self.first(pixels)]
        for block in self.deeper:
            found.append(block(max_pool2d(found[-1], 2)))
        return found


def _layer(channels: int, out: int, size: int) -> tuple[torch.nn.Module, ...]:
    return (
        torch.nn.Conv2d(channels, out, size, padding=size // 2, bias=False),
        torch.nn.BatchNorm2d(out),
        torch.nn.ReLU(inplace=True),
    )
