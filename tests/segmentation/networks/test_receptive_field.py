"""How far networks look: exact on kernels whose reach adds up, alike on every architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segmentation.models.bundle import Support
from segmentation.networks.receptive_field import (
    _middle,
    choose_margin,
    disagreement,
    effective_field,
    support,
    taper,
)
from tiling.grid.tiles import TileGrid


def test_support_is_what_the_kernels_add_up_to() -> None:
    kernels = torch.nn.Sequential(
        torch.nn.ZeroPad2d((2, 0, 0, 1)),
        torch.nn.Conv2d(1, 1, (2, 3)),
        torch.nn.Conv2d(1, 1, 3, padding=4, dilation=4),
    )
    assert support(kernels, 1, stride=2, reach=16) == Support(up=4, down=5, left=6, right=4)


def test_support_counts_the_worst_phase_of_a_stride() -> None:
    """Means of 4 × 4 blocks, given back to each pixel: the corner pixel sees 3 to either side."""
    assert support(blocks(4), 1, stride=4, reach=16) == Support(3, 3, 3, 3)


def test_support_is_found_wherever_it_ends() -> None:
    """Short ones on small chips, long ones on large chips, up to the reach and not beyond."""
    for reach in (60, 70, 200, 300):
        wide = torch.nn.Conv2d(1, 1, 3, padding=reach, dilation=reach)
        assert support(wide, 1, stride=4, reach=512) == Support(reach, reach, reach, reach)
        assert support(wide, 1, stride=4, reach=reach) is None


class Centred(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels - pixels.mean((2, 3), keepdim=True)


def blocks(size: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.AvgPool2d(size), torch.nn.Upsample(scale_factor=size))


def test_a_network_that_pools_the_whole_chip_has_no_support() -> None:
    assert support(Centred(), 1, stride=1, reach=16) is None


def test_nor_has_one_that_looks_through_windows_wider_than_its_stride() -> None:
    assert support(blocks(32), 1, stride=8, reach=128) is None


def two_classes(width: int) -> torch.nn.Conv2d:
    """Class 0 where `width` pixels across add up to more than two thirds of that."""
    blur = torch.nn.Conv2d(1, 2, (1, width), padding=(0, width // 2))
    with torch.no_grad():
        blur.weight[:] = torch.tensor([1.0, 0.0])[:, None, None, None]
        blur.bias[:] = torch.tensor([0.0, 0.72 * width])
    return blur


def test_the_effective_field_holds_its_share_of_the_gradient() -> None:
    """Weights of 0.9 in the middle, and 0.05 three and four pixels away."""
    kernel = torch.nn.Conv2d(1, 2, (1, 9), padding=(0, 4), bias=False)
    with torch.no_grad():
        kernel.weight[:] = 0
        kernel.weight[0, 0, 0, [4, 1, 8]] = torch.tensor([0.9, 0.05, 0.05])
    chips = [np.ones((1, 32, 32), np.float32)]
    found = [effective_field(kernel, chips, stride=4, share=share) for share in (0.5, 0.93, 0.99)]
    assert found == [0, 3, 4]


@pytest.mark.parametrize("shape", [(96, 104), (72, 200), (24, 16)])
def test_the_middle_holds_all_that_the_gradient_reaches(shape: tuple[int, int]) -> None:
    """Two convolutions under a stride of 8 reach 13 px: what lies farther from the middle is not
    computed."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 11, padding=5),
        torch.nn.AvgPool2d(8),
        torch.nn.Conv2d(4, 3, 1),
        torch.nn.Upsample(scale_factor=8),
    )
    chips = [np.random.default_rng(n).normal(size=(2, *shape)).astype(np.float32) for n in range(8)]
    middles = [_middle(chip, 16 + 8, 8) for chip in chips]
    assert all(
        middle.shape[1:] == tuple(min(size, size % 16 + 48) for size in shape) for middle in middles
    )
    for share in (0.3, 0.6, 0.9, 0.999):
        assert effective_field(model, middles, stride=8, share=share) == effective_field(
            model, chips, stride=8, share=share
        )


def test_disagreement_counts_the_labels_a_margin_changes() -> None:
    """Two classes, told apart by the sum of 9 pixels across: the outer 2 columns of a core want 4
    px around it."""
    blur, whole = two_classes(9), np.ones((1, 48, 48), np.float32)
    assert disagreement(blur, whole, core=16, margin=4) == 0
    # With one pixel more than the core there are 6 ones in reach of the first column: 0 + 5, and 7
    # of the second.
    assert disagreement(blur, whole, core=16, margin=1) == 2 / 16
    assert disagreement(blur, whole, core=16, margin=0) == 4 / 16


@given(st.integers(1, 200), st.integers(0, 60))
def test_weights_of_overlapping_chips_add_up_to_one(core: int, margin: int) -> None:
    weights = taper(core + 2 * margin, margin)
    assert (weights > 0).all()
    assert np.array_equal(weights, weights[::-1])
    if 2 * margin <= core:
        assert np.allclose(
            weights[: 2 * margin] + weights[len(weights) - 2 * margin :], 1, atol=1e-6
        )
        assert (weights[2 * margin : len(weights) - 2 * margin] == 1).all()


def test_the_margin_is_the_smallest_that_keeps_the_labels() -> None:
    """On noise, one that sees 10 px less than the 21-px sum reaches over changes labels near cuts;
    all of it, none."""
    rng = np.random.default_rng(0)
    chips = [(rng.random((1, 90, 70)) + 0.23).astype(np.float32) for _ in range(3)]
    blur = two_classes(21)
    reach = support(blur, 1, stride=2, reach=64)
    assert reach == Support(0, 0, 10, 10)

    def chosen(most: int | None, tolerated: float) -> tuple[int, float]:
        return choose_margin(
            blur, chips, tile=48, stride=2, support=reach, most=most, tolerated=tolerated
        )

    assert chosen(60, 0) == (10, 0)  # never more than the support
    margins = [chosen(most, 0) for most in (2, 4, 6, 8)]
    assert [margin for margin, _ in margins] == [2, 4, 6, 8]
    shares = [share for _, share in margins]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] > 0
    for (margin, share), (_, before) in zip(margins[1:], margins, strict=False):
        assert chosen(60, (share + before) / 2) == (margin, share)
    assert chosen(None, 0) == (10, 0)  # as far as it takes


def test_half_as_many_cuts_change_half_as_many_labels() -> None:
    chips = [(np.random.default_rng(1).random((1, 96, 96)) + 0.23).astype(np.float32)]
    blur, reach = two_classes(21), Support(0, 0, 10, 10)
    near, far = (
        choose_margin(blur, chips, tile=tile, stride=2, support=reach, most=4, tolerated=0)
        for tile in (48, 96)
    )
    assert near.disagreement == pytest.approx(2 * far.disagreement)


def test_networks_that_see_the_whole_chip_are_measured_blended() -> None:
    """The mean of each chip is taken from it: less so of one that is put together from two."""
    chips = [np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)]
    chips[0][0, :, :32] += 0.5
    margin, share = choose_margin(Centred(), chips, tile=32, stride=1, support=None, most=4)
    assert margin == 4
    assert 0.01 < share < 0.5
    assert share == disagreement(
        Centred(), np.pad(chips[0], ((0, 0), (4, 4), (4, 4))), 32, 4, 4, blend=True
    )


@pytest.mark.parametrize(
    ("tile", "stride"), [(32, 8), (36, 8), (33, 8), (144, 32), (40, 32), (50, 5), (7, 2)]
)
def test_chips_that_are_blended_are_whole_strides_long_whatever_the_tile(
    tile: int, stride: int
) -> None:
    lengths = set()

    class Strict(Centred):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            lengths.update(pixels.shape[-2:])
            return super().forward(pixels)

    chips = [
        np.random.default_rng(0).normal(size=(2, size, 96)).astype(np.float32) for size in (20, 96)
    ]
    margin = choose_margin(Strict(), chips, tile=tile, stride=stride, support=None).margin
    assert {length % stride for length in lengths} == {0}
    lattice = TileGrid(500, 500, tile, margin, stride, blend=True)
    assert lattice.chip_shape == (lattice.core_shape[0] + 2 * margin,) * 2  # it rounds nothing up
