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

    `of(logits (n, class), targets (n,), weights (n,), others)` looks at labelled pixels alone;
    with `others` those without a label are there too, with IGNORED for a target and a weight of 0.
    A weight says how much a pixel counts; losses of overlap, which are made to hold classes in
    balance, leave it aside.
    """

    summary: str
    of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, bool], torch.Tensor]
    chooses: bool = False
    """Whether it picks the labelled pixels by itself, which a graphics card has to wait for."""


def _entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)


def _sum_of(weights: torch.Tensor) -> torch.Tensor:
    """Of none it is next to nothing: their loss is then 0."""
    import torch

    return weights.sum().clamp(torch.finfo(weights.dtype).tiny)


def _cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, others: bool
) -> torch.Tensor:
    return (_entropy(logits, targets) * weights).sum() / _sum_of(weights)


def _focal(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, others: bool
) -> torch.Tensor:
    """Lin et al. 2017, arXiv:1708.02002, of the softmax. smp's sums up one sigmoid for each
    class."""
    entropy = _entropy(logits, targets)
    return ((1 - (-entropy).exp()) ** 2 * entropy * weights).sum() / _sum_of(weights)


def _smp(
    name: str, **settings: Any
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor, bool], torch.Tensor]:
    """A loss of segmentation-models-pytorch on a batch of one image whose pixels lie in a row."""

    def of(
        logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, others: bool
    ) -> torch.Tensor:
        import segmentation_models_pytorch.losses as losses

        ignored = IGNORED if others else None
        made = getattr(losses, name)("multiclass", ignore_index=ignored, **settings)
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
    "lovasz": Loss("a smooth stand-in for IoU itself; slower", _smp("LovaszLoss"), chooses=True),
}


def loss_named(
    name: str, class_weights: Sequence[float], boundary: float = 1.0, *, waits: bool = True
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The sum of the losses in `name`, such as `ce+dice`, of `logits (batch, class, y, x)` and
    `targets (batch, y, x)`.

    `class_weights` is one for each class, `boundary` how much more, or less, a pixel counts that
    touches another class. 0, with a gradient, where a batch has no label. Without `waits` nothing
    of it is read back while it is computed: the losses are of all pixels, those without a label at
    a weight of 0, and differ from the others in their last bits. Raises `InputError` for a name
    that is none.
    """
    names = [part.strip() for part in name.lower().split("+")]
    for part in names:
        if part not in LOSSES:
            raise InputError(
                f"loss {part!r} is none of {', '.join(LOSSES)}; a sum is written ce+dice"
            )

    losses = [LOSSES[part] for part in names]
    others = not (waits or any(loss.chooses for loss in losses))
    tables: dict[torch.device, torch.Tensor] = {}

    def total(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch

        labelled = targets != IGNORED
        if not others and not bool(labelled.any()):
            return logits.sum() * 0
        if logits.device not in tables:
            tables[logits.device] = torch.tensor(class_weights, device=logits.device)
        table, last = tables[logits.device], len(class_weights) - 1
        weights = torch.where(labelled, table[targets.long().clamp(max=last)], 0)
        if boundary != 1:
            weights = torch.where(on_boundary(targets), weights * boundary, weights)
        at = slice(None) if others else labelled
        seen = logits.permute(0, 2, 3, 1)[at].reshape(-1, logits.shape[1]).float()
        chosen, weights = targets[at].long().flatten(), weights[at].flatten()
        return torch.stack([loss.of(seen, chosen, weights, others) for loss in losses]).sum()

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
