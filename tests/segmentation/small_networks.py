"""Networks for tests: small, untrained, with statistics unlike those of a fresh one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from segmentation.inference import runtimes
from segmentation.inference.labelling import InferenceOptions, Probabilities
from segmentation.inference.transfer import pack_chips
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import BandCard, Bundle, Card, NetworkModel, Support, save
from segmentation.networks.architectures import build
from segmentation.segmenter import Prediction
from tests.segmentation.chips import make_chip
from tiling.grid.window import Window

BANDS = ("green", "red", "nir")
DEMO_ENCODER = "tu-tf_mobilenetv3_small_minimal_100"


def a_card(**changes: Any) -> Card:
    """A shallow U-Net of stride 8 with three bands and four classes, unless told otherwise.

    `changes` are fields of the card, of its network, or `bands`, `mean` and `std` as plain values
    for each band.
    """
    network: dict[str, Any] = {
        "architecture": "unet",
        "encoder": DEMO_ENCODER,
        "options": {"encoder_depth": 3, "decoder_channels": (24, 16, 16)},
        "tile": 64,
        "margin": 32,
        "stride": 8,
        "support": Support(30, 37, 30, 37),
        "disagreement": 0,
    }
    plain = {"bands": BANDS, "mean": (0.09, 0.08, 0.3), "std": (0.03, 0.05, 0.1)}
    fields: dict[str, Any] = {
        "name": "test",
        "gsd": 10,
        "legend": LAND_COVER.subset(1, 3, 5, 6),
        "training": {},
        "metrics": {},
        "licence": "CC0-1.0",
    }
    for name, value in changes.items():
        (plain if name in plain else network if name in NetworkModel.model_fields else fields)[
            name
        ] = value
    bands = [
        BandCard(name=band, mean=mean, std=std)
        for band, mean, std in zip(plain["bands"], plain["mean"], plain["std"], strict=True)
    ]
    return Card(bands=tuple(bands), model=NetworkModel(**network), **fields)


@cache
def lively_state(card_json: str) -> dict[str, torch.Tensor]:
    """Random weights for a card's network; its batch norms shift and scale, and padding is not
    nothing to them."""
    torch.manual_seed(0)
    model = build(Card.model_validate_json(card_json))
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for statistic in (part.running_mean, part.bias):
                torch.nn.init.normal_(statistic, std=0.3)
            for statistic in (part.running_var, part.weight):
                torch.nn.init.uniform_(statistic, 0.5, 2)
    state = model.state_dict()
    for name in state:
        if name.startswith("segmentation_head"):
            # logits as large as a trained network's, and with them their rounding
            state[name] = state[name] / 4
    return state


def a_bundle(folder: Path, **changes: Any) -> Bundle:
    """A bundle of random weights in `folder`."""
    card = a_card(**changes)
    return save(folder, card, lively_state(card.model_dump_json()))


def shares_of(bundle: Bundle, chip: xr.Dataset, **wish: Any) -> npt.NDArray[np.float32]:
    """`(class, y, x)`: what the bundle's network alone says of a chip on the CPU."""
    options = InferenceOptions(**wish)
    look = Probabilities(runtimes.engine(bundle, "cpu", "torch"), options)
    packed = pack_chips([chip], bundle.card)
    with torch.inference_mode():
        return look({name: torch.from_numpy(array)[None] for name, (array,) in packed.items()})[
            0
        ].numpy()


def scene_of(height: int, width: int, seed: int = 0) -> xr.Dataset:
    """A raster of digital numbers with a scale, a tenth of it invalid."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 5000, (len(BANDS), height, width)).astype(np.uint16)
    return make_chip(pixels, BANDS, scale=1e-4, valid=rng.random((height, width)) > 0.1)


def chip_of(scene: xr.Dataset, window: Window) -> xr.Dataset:
    """The pixels of a window that may reach past the raster, where nothing is valid."""
    rows, cols = (
        np.arange(start, start + n)
        for start, n in ((window.row, window.height), (window.col, window.width))
    )
    height, width = scene["valid"].shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))
    at = np.ix_(rows.clip(0, height - 1), cols.clip(0, width - 1))
    return make_chip(
        scene["pixels"].values[:, *at], BANDS, scale=1e-4, valid=scene["valid"].values[at] & inside
    )


def same(a: Prediction, b: Prediction) -> bool:
    assert a.confidence is not None
    assert b.confidence is not None
    return np.array_equal(a.labels, b.labels) and np.array_equal(a.confidence, b.confidence)
