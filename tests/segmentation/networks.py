"""Networks for tests: small, untrained, with statistics unlike those of a fresh one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from segmentation.bundle import Bundle, Card, save
from segmentation.legend import LAND_COVER
from segmentation.network import build

BANDS = ("green", "red", "nir")
DEMO_ENCODER = "tu-tf_mobilenetv3_small_minimal_100"


def a_card(**changes: Any) -> Card:
    """A shallow U-Net of stride 8 with three bands and four classes, unless told otherwise."""
    fields: dict[str, Any] = {
        "name": "test",
        "architecture": "Unet",
        "encoder": DEMO_ENCODER,
        "options": {"encoder_depth": 3, "decoder_channels": (24, 16, 16)},
        "bands": BANDS,
        "mean": (0.09, 0.08, 0.3),
        "std": (0.03, 0.05, 0.1),
        "gsd": 10,
        "legend": LAND_COVER.subset(1, 3, 5, 6),
        "tile": 64,
        "margin": 32,
        "stride": 8,
        "support": None,
        "disagreement": 0,
        "training": {},
        "metrics": {},
        "licence": "CC0-1.0",
    }
    return Card(**fields | changes)


@cache
def lively_state(card_json: str) -> dict[str, torch.Tensor]:
    """Random weights for a card's network; its batch norms shift and scale, and padding is not nothing to them."""
    torch.manual_seed(0)
    model = build(Card.model_validate_json(card_json))
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for statistic in (part.running_mean, part.bias):
                torch.nn.init.normal_(statistic, std=0.3)
            for statistic in (part.running_var, part.weight):
                torch.nn.init.uniform_(statistic, 0.5, 2)
    return model.state_dict()


def a_bundle(folder: Path, **changes: Any) -> Bundle:
    """A bundle of random weights in `folder`."""
    card = a_card(**changes)
    return save(folder, card, lively_state(card.model_dump_json()))
