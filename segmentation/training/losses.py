"""What training makes small: losses by name, and sums of them such as `ce+dice`; unlabelled pixels
never count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segmentation.errors import InputError

if TYPE_CHECKING:
    import torch

IGNORED = 255
"""Target of a pixel without a label."""


@dataclass(frozen=True)
class Loss:
    """One loss: its summary for a person, and how it is computed.

    `of(logits (n, class), targets (n,), weights (n,))` looks at labelled pixels alone. A weight
    says how much a pixel counts; losses of overlap, which are made to hold classes in balance,
    leave it aside.
    """

    summary: str
    of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    return (cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()


def _focal(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Lin et al. 2017, arXiv:1708.02002, of the softmax. smp's sums up one sigmoid for each
    class."""
    from torch.nn.functional import cross_entropy

    entropy = cross_entropy(logits, targets, reduction="none")
    return ((1 - (-entropy).exp()) ** 2 * entropy * weights).sum() / weights.sum()


def _smp(
    name: str, **settings: Any
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """A loss of segmentation-models-pytorch on a batch of one image whose pixels lie in a row."""

    def of(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        import segmentation_models_pytorch.losses as losses

        made = getattr(losses, name)("multiclass", **settings)
        return made(logits.T[None, :, :, None], targets[None, :, None])

    return of


LOSSES: dict[str, Loss] = {
    "ce": Loss("cross entropy: honest probabilities, frequent classes first", _cross_entropy),
    "focal": Loss("cross entropy that looks away from what is easy", _focal),
    "dice": Loss("overlap as F1; rare classes count like frequent ones", _smp("DiceLoss")),
    "jaccard": Loss("overlap as IoU", _smp("JaccardLoss")),
    "tversky": Loss(
        "overlap that minds most what is missed", _smp("TverskyLoss", alpha=0.3, beta=0.7)
    ),
    "lovasz": Loss("a smooth stand-in for IoU itself; slower", _smp("LovaszLoss")),
}


def loss_named(
    name: str, class_weights: Sequence[float], boundary: float = 1.0
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The sum of the losses in `name`, such as `ce+dice`, of `logits (batch, class, y, x)` and
    `targets (batch, y, x)`.

    `class_weights` is one for each class, `boundary` how much more, or less, a pixel counts that
    touches another class. 0, with a gradient, where a batch has no label. Raises `InputError` for a
    name that is none.
    """
    names = [part.strip() for part in name.lower().split("+")]
    for part in names:
        if part not in LOSSES:
            raise InputError(
                f"loss {part!r} is none of {', '.join(LOSSES)}; a sum is written ce+dice"
            )

    def total(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch

        labelled = targets != IGNORED
        if not bool(labelled.any()):
            return logits.sum() * 0
        chosen = targets[labelled].long()
        weights = torch.tensor(class_weights, dtype=torch.float32, device=logits.device)[chosen]
        if boundary != 1:
            weights = torch.where(on_boundary(targets)[labelled], weights * boundary, weights)
        seen = logits.permute(0, 2, 3, 1)[labelled].float()
        parts = [LOSSES[part].of(seen, chosen, weights) for part in names]
        return torch.stack(parts).sum()

    return total


def on_boundary(targets: torch.Tensor) -> torch.Tensor:
    """`(batch, y, x) bool`: whether one of the eight neighbours is labelled as another class."""
    import torch
    from torch.nn.functional import max_pool2d

    labelled = targets != IGNORED
    codes = targets.float()[:, None]
    highest = max_pool2d(torch.where(labelled[:, None], codes, -1.0), 3, 1, 1)[:, 0]
    lowest = -max_pool2d(torch.where(labelled[:, None], -codes, -float(IGNORED)), 3, 1, 1)[:, 0]
    return labelled & (highest != lowest)


def weights_of(counts: Sequence[int], power: float) -> tuple[float, ...]:
    """A weight for each class: its frequency to the power of `-power`; over all pixels their mean
    is 1.

    0 weighs all pixels alike, 1 all classes. Classes without a pixel get 1.
    """
    total = sum(counts)
    raw = [(total / count) ** power if count else 0.0 for count in counts]
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / total
    return tuple(weight / mean if count else 1.0 for weight, count in zip(raw, counts, strict=True))
