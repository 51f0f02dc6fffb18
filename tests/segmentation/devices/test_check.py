"""What is asked of a device before it works: does its memory suffice, does a chip's answer depend
on its place, do captured kernels say what they say one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from segmentation.devices.check import Fitness, batch_size, examine, indifferent
from segmentation.errors import InputError
from tests.segmentation.devices.stand_ins import LateCard

Tensors = Mapping[str, torch.Tensor]


@pytest.fixture
def seen() -> Tensors:
    return {"pixels": torch.randn(4, 2, 3, 3), "valid": torch.ones(4, 3, 3, dtype=torch.bool)}


def alone(seen: Tensors) -> dict[str, torch.Tensor]:
    return {"x": seen["pixels"].sum(1)}


def by_place(seen: Tensors) -> dict[str, torch.Tensor]:
    return {"x": seen["pixels"].sum(1) + torch.arange(len(seen["pixels"]))[:, None, None]}


def by_neighbours(seen: Tensors) -> dict[str, torch.Tensor]:
    return {"x": seen["pixels"].sum(1) + seen["pixels"].mean()}


def by_the_last(seen: Tensors) -> dict[str, torch.Tensor]:
    return {"x": seen["pixels"].sum(1) + 1e-6 * seen["pixels"][-1].sum()}


@pytest.mark.parametrize(
    ("compute", "expected"),
    [(alone, True), (by_place, False), (by_neighbours, False), (by_the_last, False)],
)
def test_what_depends_on_place_or_neighbours_gets_batches_of_one(
    seen: Tensors, compute: Any, expected: bool
) -> None:
    before = {name: tensor.clone() for name, tensor in seen.items()}
    assert indifferent(compute, seen) is expected
    assert all(torch.equal(seen[name], tensor) for name, tensor in before.items())
    assert examine(LateCard(), compute, seen) == Fitness(4 if expected else 1, True)


class Forgetful(LateCard):
    """What it repeats is not what it was told."""

    def repeat(self, work: Any) -> Any:
        return lambda: None


class Refusing(LateCard):
    """As CUDA, where a network reads numbers back while it runs."""

    def repeat(self, work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("card", [Forgetful(), Refusing()])
def test_what_cannot_be_captured_is_computed_kernel_by_kernel(seen: Tensors, card: Any) -> None:
    assert examine(card, alone, seen) == Fitness(4, False)


def test_a_batch_that_does_not_fit_is_refused(seen: Tensors) -> None:
    assert examine(LateCard(free=2**30, peak=2**27), alone, seen).size == 4
    with pytest.raises(InputError, match=r"batch of 4 .* 2\.0 GiB .* 1\.0 GiB are free; .*--tile"):
        examine(LateCard(free=2**30, peak=2**29), alone, seen)


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


def test_one_chip_that_does_not_fit_is_refused_and_a_fault_stays_one(seen: Tensors) -> None:
    def large(seen: Tensors) -> dict[str, torch.Tensor]:
        raise OutOfMemoryError

    def wrong(seen: Tensors) -> dict[str, torch.Tensor]:
        raise RuntimeError("illegal")

    with pytest.raises(InputError, match="--tile"):
        examine(LateCard(), large, seen)
    with pytest.raises(RuntimeError, match="illegal"):
        examine(LateCard(), wrong, seen)


def test_batches_are_counted_in_pixels() -> None:
    assert batch_size(1152**2) == 4
    assert batch_size(192**2) == 144
    assert batch_size(4224**2) == 1
