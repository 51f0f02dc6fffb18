"""Sigmoids with thresholds, probabilities said by a network itself, and means of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segmentation.inference.arrays import class_logits, decide_classes, softmax
from segmentation.inference.measures import decide
from segmentation.inference.network import Network
from segmentation.inference.transfer import normalise
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import load
from segmentation.models.card import Card, Member
from segmentation.models.processing import Activation, Preprocessing
from segmentation.networks.architectures import build, stride_of
from segmentation.networks.outputs import Ensemble, as_class_logits
from segmentation.networks.restore import load_for_inference, load_network
from tests.segmentation.small_networks import DEMO_ENCODER, a_bundle, a_card, scene_of


class Said(torch.nn.Module):
    """A network that says what it is given."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels


def classes(said: torch.Tensor, activation: Activation, count: int) -> np.ndarray[Any, Any]:
    """Places in the legend `(y, x)`, and with them the shares' sum."""
    shares = as_class_logits(Said(), activation, count)(said).softmax(1)
    assert torch.allclose(shares.sum(1), torch.ones(1))
    return shares.argmax(1)[0].numpy()


seeds, cuts = st.integers(0, 99), st.floats(0.05, 0.95)


@given(seeds, cuts, st.booleans())
@settings(max_examples=30)
def test_one_channel_is_two_classes(seed: int, cut: float, in_network: bool) -> None:
    logits = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(seed)) * 4
    share = logits.double().sigmoid()
    activation = Activation(function="sigmoid", thresholds=(cut,), in_network=in_network)
    found = classes(share.float() if in_network else logits, activation, 2)
    sure = (share[0, 0] - cut).abs().numpy() > 1e-5
    assert np.array_equal(found[sure], (share[0, 0].numpy() > cut)[sure])


@given(seeds, cuts, st.integers(2, 4))
@settings(max_examples=30)
def test_several_channels_are_the_likeliest_above_its_threshold_or_none(
    seed: int, cut: float, channels: int
) -> None:
    logits = torch.randn(1, channels, 9, 9, generator=torch.Generator().manual_seed(seed)) * 3
    share = logits[0].double().sigmoid().numpy()
    activation = Activation(function="sigmoid", thresholds=(cut,))
    expected = np.where((share > cut).any(0), share.argmax(0) + 1, 0)
    assert np.array_equal(classes(logits, activation, channels + 1), expected)


def test_thresholds_of_their_own_compare_odds() -> None:
    logits = torch.tensor([0.9, 0.6]).logit()[None, :, None, None]
    # 0.9 is 1 × the odds of its threshold, 0.6 is 6 × those of 0.2
    for thresholds, place in (((0.9, 0.2), 2), ((0.5, 0.5), 1), ((0.95, 0.7), 0)):
        activation = Activation(function="sigmoid", thresholds=thresholds)
        assert classes(logits, activation, 3).item() == place


@given(seeds, st.sampled_from([1, 60]), st.booleans())
@settings(max_examples=20)
def test_layers_are_the_channels_that_reach_their_thresholds(
    seed: int, spread: int, in_network: bool
) -> None:
    """However far apart logits are, for torch and for NumPy."""
    logits = torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(seed)) * spread
    share, edges = logits.double().sigmoid().numpy(), np.array([0.2, 0.5, 0.9])[:, None, None]
    activation = Activation(
        function="sigmoid", thresholds=(0.2, 0.5, 0.9), in_network=in_network, several="layers"
    )
    said = logits.sigmoid() if in_network else logits
    shares = as_class_logits(Said(), activation, 4)(said).softmax(1)
    there = torch.ones((1, 9, 9), dtype=torch.bool)
    values = torch.arange(1, 5, dtype=torch.uint8)
    found = decide(values, ("layers",), shares, there)["layers"].numpy()
    by_numpy = decide_classes(
        (1, 2, 3, 4), ("layers",), softmax(class_logits(said.numpy(), activation, 4)), there.numpy()
    )["layers"]
    sure = np.abs(share - edges) > 1e-5
    for layers in (found, by_numpy):
        assert np.array_equal(layers[sure], (share >= edges)[sure])


def test_layers_are_of_a_sigmoid_and_an_argmax_is_not_mentioned() -> None:
    with pytest.raises(ValidationError, match="layers are the channels of a sigmoid"):
        Activation(several="layers")
    said = Activation(function="sigmoid").model_dump()
    assert "several" not in said
    assert Activation(function="sigmoid", several="layers").model_dump()["several"] == "layers"


def test_a_single_channel_s_shares_are_its_probability() -> None:
    logits = torch.linspace(-5, 5, 11)[None, None, None]
    shares = as_class_logits(Said(), Activation(function="sigmoid"), 2)(logits).softmax(1)
    assert torch.allclose(shares[0, 1], logits[0, 0].sigmoid())


def test_a_softmax_in_the_network_is_taken_back() -> None:
    logits = torch.randn(1, 4, 5, 5)
    again = as_class_logits(Said(), Activation(in_network=True), 4)(logits.softmax(1)).softmax(1)
    assert torch.allclose(again, logits.softmax(1), atol=1e-5)


def test_what_says_logits_of_classes_is_left_alone() -> None:
    network = Said()
    assert as_class_logits(network, Activation(), 4) is network


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
@pytest.mark.parametrize("in_network", [False, True])
def test_probabilities_of_an_ensemble_are_means(function: str, in_network: bool) -> None:
    activation = Activation.model_validate({"function": function, "in_network": in_network})

    def shares(said: torch.Tensor) -> torch.Tensor:
        return said.softmax(1) if function == "softmax" else said.sigmoid()

    class Times(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return shares(pixels * self.factor) if in_network else pixels * self.factor

    pixels = torch.randn(2, 3, 6, 6)
    said = Ensemble([Times(1), Times(-2), Times(0.5)], activation)(pixels)
    mean = torch.stack([shares(pixels * factor) for factor in (1, -2, 0.5)]).mean(0)
    assert torch.allclose(said if in_network else shares(said), mean, atol=1e-6)


# ------------------------------------------------------------------------------------------ bundles

SEVERAL = {
    "encoder": "resnet18",
    "options": {},
    "stride": 32,
    "support": None,
    "further": (
        Member(architecture="fpn", encoder="resnet18"),
        Member(
            architecture="unet",
            encoder=DEMO_ENCODER,
            options={"encoder_depth": 3, "decoder_channels": (24, 16, 16)},
        ),
    ),
}


@pytest.mark.slow
def test_a_bundle_of_several_networks_says_their_mean(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "several", **SEVERAL)
    again = load(bundle.folder)
    assert again.card == bundle.card
    model = load_network(again).eval()
    assert isinstance(model, Ensemble)
    assert stride_of(model) == 32
    chip = scene_of(64, 64)
    pixels = torch.from_numpy(normalise(chip, again.card))[None]
    with torch.inference_mode():
        mean = torch.stack([one(pixels).softmax(1) for one in model.networks]).mean(0)
        apart = (load_for_inference(again)(pixels).softmax(1) - mean).abs()
    # Folded norms round otherwise, and logits of random weights are large.
    assert apart.mean() < 1e-4
    labels = Network(bundle=str(bundle.folder), device="cpu")(chip).labels
    best = np.array(again.card.legend.values, np.uint8)[mean[0].argmax(0).numpy()]
    assert np.mean(labels[chip["valid"].values] == best[chip["valid"].values]) > 0.999


def test_a_bundle_with_a_sigmoid_has_a_channel_less_than_classes(tmp_path: Path) -> None:
    two = LAND_COVER.subset(1, 5)
    activation = Activation(function="sigmoid", thresholds=(0.3,))
    bundle = a_bundle(tmp_path / "one", legend=two, activation=activation)
    assert bundle.card.channels == 1
    chip = scene_of(64, 64)
    pixels = torch.from_numpy(normalise(chip, bundle.card))[None]
    with torch.inference_mode():
        said = load_network(bundle).eval()(pixels)
    assert said.shape[1] == 1
    share = said[0, 0].double().sigmoid().numpy()
    expected = np.where(share > 0.3, *reversed(two.values))
    prediction = Network(bundle=str(bundle.folder), device="cpu")(chip)
    sure = chip["valid"].values & (np.abs(share - 0.3) > 1e-3)
    assert np.array_equal(prediction.labels[sure], expected[sure])
    assert not prediction.labels[~chip["valid"].values].any()


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"preprocessing": Preprocessing(padding=(1.0, 2.0))}, "2 numbers for 3 bands"),
        ({"preprocessing": Preprocessing(normalisation="per-chip")}, "its support is null"),
        ({"activation": Activation(function="sigmoid", thresholds=(0.1, 0.2))},
         "2 thresholds for 3 channels"),
        ({"activation": Activation(function="sigmoid"), "legend": LAND_COVER.subset(1)},
         "needs two classes or more"),
    ],
)  # fmt: skip
def test_a_card_says_one_thing_for_each(changes: dict[str, Any], fact: str) -> None:
    with pytest.raises(ValidationError, match=fact):
        a_card(**changes)


def test_an_old_card_says_nothing_of_what_it_could_not() -> None:
    told = a_card().model_dump(mode="json")["model"]
    assert not {"preprocessing", "activation", "further"} & set(told)
    assert Card.model_validate(a_card().model_dump(mode="json")) == a_card()
    assert load("demo").digest == (
        "77d7172329089d8d7edb882e04c7163601856675d4c18a49140f6f7cc415837e"
    )
    assert build(a_card()).training
