"""A training's own file: what it takes to go on at a step as if nothing had happened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from segmentation.errors import InputError
from segmentation.models.weights import CORRUPT

if TYPE_CHECKING:
    import torch


class Evaluation(NamedTuple):
    """Loss, learning rate and accuracy of a training at one step."""

    step: int
    loss: float
    """Mean since the last look."""
    rate: float
    mean_iou: float
    """On the validation part; NaN where there is none."""
    overall_accuracy: float


@dataclass
class State:
    """How far a training is: its step, the best one so far, and what was measured on the way."""

    step: int = 0
    best_step: int = 0
    best_iou: float = -1.0
    looks: list[Evaluation] = field(default_factory=list)


def save_checkpoint(
    file: Path, now: State, model: torch.nn.Module, averaged: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """Write what the run has become, whole or not at all."""
    import torch

    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": now.step,
        "best_step": now.best_step,
        "best_iou": now.best_iou,
        "looks": [tuple(look) for look in now.looks],
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "best": best,
    }
    try:
        torch.save(state, temporary)
        temporary.replace(file)
    except (OSError, RuntimeError) as error:  # the latter is torch's, of a full disk
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"cannot keep in {file.parent} what the training has become "
            f"({' '.join(str(error).split())[:160]}); is its "
            "disk full? make room there and give the same command again"
        ) from error


def load_checkpoint(
    file: Path, model: torch.nn.Module, averaged: torch.nn.Module, optimiser: torch.optim.Optimizer,
    device: torch.device,
) -> tuple[State, dict[str, torch.Tensor]]:  # fmt: skip
    """Go on from what an earlier process kept; it holds tensors and plain values, and nothing in it
    is run.

    Raises `InputError` where the file is damaged.
    """
    import torch

    try:
        kept = torch.load(file, map_location=device, weights_only=True)
        model.load_state_dict(kept["model"])
        averaged.load_state_dict(kept["averaged"])
        optimiser.load_state_dict(kept["optimiser"])
    except CORRUPT as error:
        raise InputError(
            f"{file}, from which the training would go on, is damaged ({type(error).__name__}); "
            "begin again with --fresh"
        ) from error
    looks = [Evaluation(*look) for look in kept["looks"]]
    return State(kept["step"], kept["best_step"], kept["best_iou"], looks), kept["best"]
