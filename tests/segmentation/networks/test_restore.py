"""Weights come back into their network as they were, without a network of chance before them."""

from __future__ import annotations

import pytest
import torch

from segmentation.networks import restore
from segmentation.networks.architectures import ARCHITECTURES, build, stride_of
from segmentation.networks.restore import _build_for
from tests.segmentation.small_networks import DEMO_ENCODER, a_card


@pytest.mark.parametrize(
    ("architecture", "encoder", "light"),
    [
        ("unet", DEMO_ENCODER, True),
        ("unet", "resnet18", True),
        ("segformer", "mit_b0", False),  # it reads numbers back while it is made
        ("dpt", ARCHITECTURES["dpt"].encoder, None),
        ("fcn", "resnet18", True),
    ],
)
def test_a_network_with_its_weights_is_the_one_that_had_them(
    architecture: str, encoder: str, light: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = a_card(architecture=architecture, encoder=encoder, options={})
    torch.manual_seed(1)
    trained = build(card)
    weights = {name: tensor.float() for name, tensor in trained.state_dict().items()}
    built = []
    monkeypatch.setattr(restore, "build", lambda card: built.append(card) or build(card))

    again = _build_for(card, weights)

    assert light in (None, not built)
    assert again.training
    for name, tensor in again.state_dict().items():
        kept = trained.state_dict()[name]
        assert tensor.dtype == kept.dtype
        assert torch.equal(tensor, kept)
        assert tensor.data_ptr() != weights[name].data_ptr()
    assert all(one.requires_grad for one in again.parameters())
    chip = torch.rand(1, len(card.bands), 2 * stride_of(trained), 3 * stride_of(trained))
    with torch.inference_mode():
        assert torch.equal(again.eval()(chip), trained.eval()(chip))


def test_weights_of_another_network_are_told() -> None:
    card = a_card(architecture="unet", encoder=DEMO_ENCODER, options={})
    with pytest.raises(RuntimeError):
        _build_for(card, {"nothing": torch.zeros(1)})
