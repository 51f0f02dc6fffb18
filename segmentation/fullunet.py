"""A U-Net whose first features have the resolution of the pixels themselves, beside a reading of each pixel alone.

The libraries' encoders halve the resolution in their first convolution, made for photographs in which neighbours are
alike. Pixels of 10 m are often a thing each: a road, a hedge, a speck of tree. There, what the pixel itself says must
reach the classifier unblurred; what lies around it says the rest.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch.nn.functional import interpolate, max_pool2d

ENCODER = "plain"
"""The one encoder it has: its own."""


class FullUNet(torch.nn.Module):
    """Pixel by pixel through two 1×1 layers, through a U-Net (Ronneberger et al. 2015, arXiv:1505.04597), and together.

    `decoder_channels` are the features at each resolution, the full one first; one fewer than `encoder_depth` + 1 are
    not enough.
    """

    def __init__(
        self,
        encoder_name: str = ENCODER,
        encoder_weights: str | bool | None = None,
        in_channels: int = 3,
        classes: int = 1,
        encoder_depth: int = 3,
        decoder_channels: tuple[int, ...] = (16, 32, 64, 96),
    ) -> None:
        super().__init__()
        if encoder_name != ENCODER:
            raise ValueError(f"it has but its own encoder, {ENCODER}")
        if len(decoder_channels) != encoder_depth + 1:
            raise ValueError(f"a depth of {encoder_depth} takes {encoder_depth + 1} decoder_channels")
        alone = 2 * decoder_channels[0]
        self.pixel = torch.nn.Sequential(*_layer(in_channels, alone, 1), *_layer(alone, alone, 1))
        self.encoder = _Encoder(alone, decoder_channels)
        self.decoder = torch.nn.ModuleList(
            torch.nn.Sequential(*_layer(coarse + fine, fine, 3))
            for fine, coarse in itertools.pairwise(decoder_channels)
        )
        self.head = torch.nn.Sequential(
            *_layer(alone + decoder_channels[0], alone, 1), torch.nn.Conv2d(alone, classes, 1)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, class, y, x)` of `(batch, band, y, x)`."""
        alone = self.pixel(pixels)
        *finer, around = self.encoder(alone)
        for features, join in zip(reversed(finer), reversed(self.decoder), strict=True):
            around = join(torch.cat((interpolate(around, scale_factor=2, mode="nearest"), features), 1))
        return cast(torch.Tensor, self.head(torch.cat((alone, around), 1)))


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
