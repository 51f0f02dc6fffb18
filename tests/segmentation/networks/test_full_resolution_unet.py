"""The U-Net of full resolution."""

from __future__ import annotations

import pytest
import torch

from segmentation.errors import InputError
from segmentation.networks.architectures import ARCHITECTURES, build, stride_of
from segmentation.networks.full_resolution_unet import FullUNet
from segmentation.networks.receptive_field import support
from tests.segmentation.small_networks import a_card


def test_it_is_built_by_name_at_any_depth() -> None:
    for depth, channels in ((1, (8, 8)), (3, (8, 8, 16, 16)), (4, (8, 8, 8, 8, 8))):
        card = a_card(
            architecture="fullunet",
            encoder="plain",
            options={"encoder_depth": depth, "decoder_channels": channels},
        )
        model = build(card)
        assert stride_of(model) == 2**depth
        assert model(torch.zeros(1, 3, 2 * 2**depth, 3 * 2**depth)).shape == (
            1,
            4,
            2 * 2**depth,
            3 * 2**depth,
        )


def test_its_own_encoder_is_the_only_one() -> None:
    with pytest.raises(InputError, match="nearest encoder that works is plain"):
        build(a_card(architecture="fullunet", encoder="resnet18", options={}))
    assert ARCHITECTURES["fullunet"].encoder == "plain"


def test_a_single_pixel_reaches_its_own_label_unblurred() -> None:
    """A network that knows its pixel alone: what is around it changes nothing."""
    torch.manual_seed(0)
    model = FullUNet(in_channels=2, classes=3).eval()
    with torch.no_grad():
        model.members[0].head[0].weight[:, 32:] = 0  # deaf to the U-Net
    chip = torch.randn(1, 2, 16, 16)
    other = torch.randn(1, 2, 16, 16)
    other[:, :, 5, 7] = chip[:, :, 5, 7]
    with torch.inference_mode():
        assert torch.allclose(model(chip)[:, :, 5, 7], model(other)[:, :, 5, 7], atol=1e-6)
        assert not torch.allclose(model(chip)[:, :, 5, 8], model(other)[:, :, 5, 8], atol=1e-3)


def test_it_looks_a_finite_way() -> None:
    model = FullUNet(in_channels=2, classes=3, encoder_depth=2, decoder_channels=(8, 8, 8)).eval()
    found = support(model, 2, stride=4)
    assert found is not None
    assert max(found) < 32


def test_differences_are_of_neighbours_wherever_a_chip_lies() -> None:
    torch.manual_seed(0)
    model = FullUNet(in_channels=2, classes=3, differences=4).eval()
    compared = model.members[0].compared
    alone = torch.randn(1, 32, 12, 14)
    with torch.inference_mode():
        features = compared.features(alone)
        steps = ((0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (1, 1), (1, -1))
        each = [(features - features.roll((-down, -right), (2, 3))).abs() for down, right in steps]
        expected = compared.joined(torch.cat(each, 1))[:, :, :-3, 3:-3]
        assert torch.allclose(compared(alone)[:, :, :-3, 3:-3], expected, atol=1e-6)
        flat = torch.ones(1, 32, 12, 14)  # and at the rim of a chip nothing differs
        assert torch.allclose(compared(flat), compared(flat)[:, :, :1, :1].expand(1, 12, 12, 14))
    found = support(model, 2, stride=8)
    assert found is not None
    assert max(found) < 64
    assert FullUNet(in_channels=2, classes=3).members[0].compared is None


def test_several_members_give_the_mean_of_their_probabilities() -> None:
    torch.manual_seed(0)
    model = FullUNet(in_channels=2, classes=3, members=3).eval()
    chip = torch.randn(2, 2, 16, 16)
    with torch.inference_mode():
        each = [member(chip).softmax(1) for member in model.members]
        assert torch.allclose(model(chip).softmax(1), torch.stack(each).mean(0), atol=1e-6)
        assert not torch.allclose(each[0], each[1], atol=1e-2)
        model.train()
        assert model(chip).shape == (6, 3, 16, 16)
        model.eval()
    assert stride_of(model) == stride_of(FullUNet(in_channels=2, classes=3))


def test_a_member_learns_for_itself() -> None:
    """The loss of all at once moves each as its own loss would."""
    torch.manual_seed(0)
    model = FullUNet(
        in_channels=2, classes=3, members=2, encoder_depth=1, decoder_channels=(4, 4)
    ).train()
    chip, targets = torch.randn(2, 2, 8, 8), torch.randint(0, 3, (2, 8, 8))
    torch.nn.functional.cross_entropy(model(chip), targets.repeat(2, 1, 1)).backward()
    together = model.members[1].head[1].weight.grad.clone()
    model.zero_grad()
    torch.nn.functional.cross_entropy(model.members[1](chip), targets).backward()
    assert torch.allclose(together, model.members[1].head[1].weight.grad / 2, atol=1e-6)
