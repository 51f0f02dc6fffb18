"""The fully convolutional network of torchvision, on any encoder of segmentation-models-pytorch."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate


class FCN(torch.nn.Module):
    """torchvision's `FCNHead` on the last features of an encoder, which are kept at an eighth of
    the resolution."""

    def __init__(
        self,
        encoder_name: str,
        encoder_weights: str | bool | None = None,
        in_channels: int = 3,
        classes: int = 1,
        encoder_depth: int = 5,
        encoder_output_stride: int = 8,
        **settings: object,
    ) -> None:
        from segmentation_models_pytorch.encoders import get_encoder
        from torchvision.models.segmentation.fcn import FCNHead

        super().__init__()
        self.encoder = get_encoder(
            encoder_name,
            in_channels=in_channels,
            depth=encoder_depth,
            weights=encoder_weights,
            output_stride=encoder_output_stride,
            **settings,
        )
        self.classifier = FCNHead(self.encoder.out_channels[-1], classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits of every pixel; between those of an eighth of the resolution they are linear."""
        logits = self.classifier(self.encoder(pixels)[-1])
        return interpolate(logits, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
