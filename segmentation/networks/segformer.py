"""SegFormer as segmentation-models-pytorch has it, or to the bit of its logits as transformers has
it."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import torch

_TRANSFORMERS_EPSILON = 1e-5
"""Of every layer norm there; the authors' own blocks have 1e-6."""


class Segformer(smp.Segformer):  # type: ignore[misc]  # the library has no types
    """A light head on features of four scales (Xie et al. 2021, arXiv:2105.15203).

    With `decoder_transformers`, layer norms and the step back to full resolution are those of that
    library's `SegformerForSemanticSegmentation`: logits of a quarter are laid at the centres of
    their pixels, where the other way spreads them from corner to corner.
    """

    def __init__(
        self, encoder_name: str, *, decoder_transformers: bool = False, **settings: Any
    ) -> None:
        super().__init__(encoder_name, **settings)
        if not decoder_transformers:
            return
        for part in self.encoder.modules():
            if isinstance(part, torch.nn.LayerNorm):
                part.eps = _TRANSFORMERS_EPSILON
        head: Any = self.segmentation_head
        head[1] = torch.nn.Upsample(
            scale_factor=head[1].scale_factor, mode="bilinear", align_corners=False
        )
