"""Can a device do this work, and how? Asked once, with batches of its shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from segmentation.devices.staged import SLOTS, Memory
from segmentation.errors import InputError

if TYPE_CHECKING:
    from segmentation.devices.staged import Compute, Tensors

BATCH_PIXELS = 4 * 1152**2
"""Pixels of chips that a graphics card gets in one batch, at most, but one chip at least. A
constant: what is computed never follows how much memory happens to be free."""


class Card(Memory, Protocol):
    """A device that tells of its memory."""

    def free_bytes(self) -> int:
        """Bytes that this process may still take there."""

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """Bytes that `work` takes at its peak, beside those taken before."""


class Fitness(NamedTuple):
    """How a device does a piece of work."""

    size: int
    """Items in a batch."""
    captures: bool
    """Whether a captured graph gives what its kernels give one by one, to the last bit."""


def batch_size(pixels: int) -> int:
    """Chips of so many pixels in a batch on a graphics card."""
    return max(1, BATCH_PIXELS // pixels)


def examine(card: Card, compute: Compute, seen: Tensors) -> Fitness:
    """How the card computes batches like `seen`, whose items all differ.

    Raises `InputError` where it has too little memory for them.
    """
    size = len(next(iter(seen.values())))
    check_memory(card, compute, seen)
    if size > 1 and not indifferent(compute, seen):
        seen, size = {name: tensor[:1] for name, tensor in seen.items()}, 1
    return Fitness(size, captures(card, compute, seen))


def check_memory(card: Card, compute: Compute, seen: Tensors) -> None:
    """Refuse batches like `seen` that would not fit into the card's memory: nothing is computed in
    smaller ones unasked, for their size decides bits."""
    size = len(next(iter(seen.values())))
    one = {name: tensor[:1] for name, tensor in seen.items()}
    sent = sum(tensor.numel() * tensor.element_size() for tensor in seen.values())
    free = card.free_bytes()
    try:
        needed = size * card.peak_bytes(lambda: compute(one)) + SLOTS * sent
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        needed = free + 1
    if needed > free:
        raise InputError(
            f"a batch of {size} chips would take {needed / 2**30:.1f} GiB or more of the graphics "
            f"card, and {free / 2**30:.1f} GiB are free; take a smaller --tile, or end what else "
            "computes on the card"
        )


def indifferent(compute: Compute, seen: Tensors) -> bool:
    """Whether an item gets the same answers, to the last bit, in every place of a batch and beside
    any others.

    Kernels that share out a sum by the place of its result fail this, and PyTorch promises nothing:
    https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html
    """
    import torch

    size = len(next(iter(seen.values())))
    expected = {name: found.clone() for name, found in compute(seen).items()}
    for turn in range(size):
        turned = {name: tensor.roll(turn, 0) for name, tensor in seen.items()}
        for tensor in turned.values():  # another neighbour in the last place
            tensor[-1] = tensor[0] if turn % 2 else 0
        here = [place for place in range(size) if (place + turn) % size != size - 1]
        there = [(place + turn) % size for place in here]
        for name, found in compute(turned).items():
            if not torch.equal(found[there], expected[name][here]):
                return False
    return True


def captures(card: Card, compute: Compute, seen: Tensors) -> bool:
    """Whether what the card repeats gives the same answers as a call, to the last bit."""
    import torch

    expected = {name: found.clone() for name, found in compute(seen).items()}
    found = {name: torch.zeros_like(tensor) for name, tensor in expected.items()}

    def work() -> None:
        for name, tensor in compute(seen).items():
            found[name].copy_(tensor)

    try:
        run = card.repeat(work)
        for tensor in found.values():
            tensor.zero_()
        run()
        card.finish()
    except RuntimeError:  # a network that reads numbers back while it runs, for one
        return False
    return all(torch.equal(found[name], tensor) for name, tensor in expected.items())
