"""Losses against formulas, scikit-learn-like counts and the library they come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.training.losses import IGNORED, LOSSES, loss_named, on_boundary, weights_of

EVEN = (1.0, 1.0, 1.0)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    targets = torch.randint(0, 3, (2, 8, 8), generator=generator).to(torch.uint8)
    targets[0, :4] = IGNORED
    return logits, targets


@pytest.mark.parametrize("name", LOSSES)
def test_unlabelled_pixels_do_not_count(
    name: str, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    logits, targets = batch
    other = logits.clone()
    other[0, :, :4] = 9 * torch.randn(3, 4, 8)
    loss = loss_named(name, EVEN)
    assert loss(logits, targets) == loss(other, targets)


@pytest.mark.parametrize("name", LOSSES)
def test_a_better_answer_costs_less(name: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, targets = batch
    right = 8 * torch.nn.functional.one_hot(targets.long() % IGNORED, 3).permute(0, 3, 1, 2).float()
    loss = loss_named(name, EVEN)
    costs = [float(loss(share * right, targets)) for share in (1.0, 0.2, 0.0, -0.2)]
    assert costs == sorted(costs)
    assert costs[0] < 0.01


def test_cross_entropy_is_torchs(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    weights = (0.5, 2.0, 3.0)
    expected = torch.nn.functional.cross_entropy(
        logits, targets.long(), torch.tensor(weights), ignore_index=IGNORED
    )
    assert torch.isclose(loss_named("ce", weights)(logits, targets), expected)


def test_overlaps_are_those_of_counts() -> None:
    """Answers so sure that the softmax is 0 or 1: Dice and Jaccard are then what they are for
    sets."""
    truth = torch.tensor([[[0, 0, 0, 1, 1, 1]]], dtype=torch.uint8)
    said = torch.tensor([[[0, 0, 1, 1, 1, 0]]])
    logits = 1000.0 * torch.nn.functional.one_hot(said, 2).permute(0, 3, 1, 2)
    for name, overlap in (("dice", 2 / 3), ("jaccard", 1 / 2)):
        assert float(loss_named(name, (1.0, 1.0))(logits, truth)) == pytest.approx(
            1 - overlap, abs=1e-4
        )


def test_focal_is_its_formula(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, targets = batch
    labelled = targets != IGNORED
    chosen = (
        logits.softmax(1).permute(0, 2, 3, 1)[labelled].gather(1, targets[labelled].long()[:, None])
    )
    expected = (-((1 - chosen) ** 2) * chosen.log()).mean()
    assert torch.isclose(loss_named("focal", EVEN)(logits, targets), expected)


def test_a_sum_is_the_sum(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    one, two = (loss_named(name, EVEN)(*batch) for name in ("ce", "lovasz"))
    assert torch.isclose(loss_named("ce+lovasz", EVEN)(*batch), one + two)


def test_boundaries_are_where_neighbours_differ() -> None:
    targets = torch.full((1, 6, 6), 0, dtype=torch.uint8)
    targets[:, :, 3:] = 1
    targets[:, 5] = IGNORED
    found = on_boundary(targets)[0].numpy()
    expected = np.zeros((6, 6), bool)
    expected[:5, 2:4] = True
    assert np.array_equal(found, expected)  # what is unlabelled is no other class


def test_boundary_pixels_weigh_what_they_should() -> None:
    targets = torch.zeros(1, 4, 6, dtype=torch.uint8)
    targets[:, :, 3:] = 1
    logits = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    entropy = torch.nn.functional.cross_entropy(logits, targets.long(), reduction="none")
    weight = torch.where(on_boundary(targets), 3.0, 1.0)
    expected = (entropy * weight).sum() / weight.sum()
    assert torch.isclose(loss_named("ce", (1.0, 1.0), boundary=3)(logits, targets), expected)


def test_a_batch_without_labels_costs_nothing_and_teaches_nothing() -> None:
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = loss_named("ce+dice", (1.0, 1.0))(
        logits, torch.full((1, 4, 4), IGNORED, dtype=torch.uint8)
    )
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_class_weights_follow_frequencies() -> None:
    assert weights_of([10, 1000], 0) == (1, 1)
    assert weights_of([10, 1000], 1) == pytest.approx((50.5, 0.505))
    rare, often, absent = weights_of([10, 1000, 0], 0.5)
    assert rare / often == pytest.approx(10)
    assert (10 * rare + 1000 * often) / 1010 == pytest.approx(1)
    assert absent == 1


def test_a_name_that_is_none_is_a_mistake() -> None:
    with pytest.raises(InputError, match="'dise' is none of ce, focal, dice"):
        loss_named("ce+dise", EVEN)


@pytest.mark.parametrize("boundary", [1.0, 3.0])
@pytest.mark.parametrize("name", [*LOSSES, "ce+dice"])
@given(seed=st.integers(0, 99))
@settings(max_examples=5)
def test_what_is_not_waited_for_says_the_same(name: str, boundary: float, seed: int) -> None:
    """Loss and gradient over all pixels are those of the labelled ones; of none they are 0."""
    torch.manual_seed(seed)
    targets = torch.randint(0, 3, (2, 6, 7), dtype=torch.uint8)
    targets[torch.rand(targets.shape) < (1.0 if seed == 0 else 0.6)] = IGNORED
    found = []
    for waits in (True, False):
        logits = torch.linspace(-3, 3, 252).reshape(2, 3, 6, 7).sin().requires_grad_()
        loss = loss_named(name, (0.5, 1, 4), boundary, waits=waits)(logits, targets)
        (gradient,) = torch.autograd.grad(loss, logits)
        found.append((loss.detach(), gradient))
    torch.testing.assert_close(*found)
