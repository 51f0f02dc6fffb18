"""From labelled objects to a detector, judged on objects that it has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segmentation.accuracy.instances import ObjectAccuracy
from segmentation.detection.network import build
from segmentation.detection.recipe import DetectorRecipe, chip_side, choose_model, count_steps
from segmentation.detection.start import Start, starting_weights
from segmentation.detection.targets import ObjectSamples, Target, draw_chip
from segmentation.detection.validation import judge
from segmentation.inference.device import device_of
from segmentation.models.card import Card, brief
from segmentation.training.samples import TEST, VALIDATION

if TYPE_CHECKING:
    import torch
    from torchvision.models.detection import MaskRCNN

Progress = Callable[[str, int, int], None]

_LOOKS = 4
"""How often a training is judged on the validation part; the best of its weights are kept."""
_SAVED = 100
"""Steps after which a training that was killed goes on from what it left."""
_WARM = 50
"""Steps until the rate is at its highest."""
_CLIP = 5.0
"""Length of the gradient, at most."""


class Look(NamedTuple):
    """A look at the validation part."""

    step: int
    loss: float
    """Mean of the steps since the look before."""
    ap: float
    ap50: float


@dataclass(frozen=True)
class TrainedDetector:
    """A detector that was trained: its card, its weights, how it was judged."""

    card: Card
    state: dict[str, torch.Tensor]
    looks: tuple[Look, ...]
    validation: ObjectAccuracy | None
    test: ObjectAccuracy | None
    notes: tuple[str, ...]


def train_detector(
    samples: ObjectSamples,
    recipe: DetectorRecipe,
    *,
    name: str,
    licence: str,
    scratch: Path,
    progress: Progress,
    start: Start = None,
) -> TrainedDetector:
    """Train a detector on the train part; judge it on validation and, if there is one, test part.

    `scratch` keeps what a killed training goes on from.
    """
    import torch

    model, cut = choose_model(samples, recipe, coco=start == "coco")
    if start is not None and start != "coco":
        model = start.card.detector.model_copy(update={"tile": model.tile, "margin": model.margin})
    card = Card(
        name=name,
        bands=samples.samples.band_cards(),
        gsd=samples.samples.gsd,
        legend=samples.legend,
        model=model,
        training={},
        metrics={},
        licence=licence,
    )
    torch.manual_seed(recipe.seed)
    network = build(card)
    notes = [cut, *starting_weights(network, card, start)]
    objects = len(samples.sizes())
    steps = count_steps(recipe, objects, multiplications(network, card))
    run = _Run(samples, recipe.model_copy(update={"steps": steps}), card, scratch / "run.pt")
    looks = run.learn(network, progress)
    validation = judge(network, samples, card, VALIDATION)
    test = judge(network, samples, card, TEST)
    facts = _facts(samples, run.recipe, objects, start)
    metrics = _metrics("validation", validation) | _metrics("test", test)
    card = card.model_copy(update={"training": facts, "metrics": metrics})
    notes += [_say("validation", validation), _say("test", test)]
    return TrainedDetector(
        card, network.cpu().state_dict(), tuple(looks), validation, test,
        tuple(filter(None, notes)),
    )  # fmt: skip


def multiplications(network: MaskRCNN, card: Card) -> float:
    """Of one chip that is learnt from, counted and not measured, its objects aside."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    side = chip_side(card.detector)
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        network.eval().backbone(torch.zeros(1, len(card.bands), side, side))
    rois = 128 * (49 * card.detector.width + 4 * card.detector.width) * 4 * card.detector.width
    masks = 32 * 14 * 14 * 9 * 4 * card.detector.width**2
    return float(counted.get_total_flops() / 2) + rois + masks


@dataclass
class _Run:
    """One training: what it learns from, how, and where it is kept."""

    samples: ObjectSamples
    recipe: DetectorRecipe
    """Settled."""
    card: Card
    file: Path

    def learn(self, network: MaskRCNN, progress: Progress) -> list[Look]:
        """Train a network, which has its best weights afterwards; tells how it went."""
        import torch

        device = device_of(self.recipe.device)
        network.to(device)
        optimizer = torch.optim.AdamW(
            [one for one in network.parameters() if one.requires_grad],
            lr=self.recipe.rate,
            weight_decay=self.recipe.decay,
        )
        known = self._resume(network, optimizer)
        steps, looks, losses = self.recipe.steps, known["looks"], known["losses"]
        every = max(1, -(-steps // _LOOKS))
        for step in range(known["step"], steps):
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.rate * _share(step, steps)
            losses.append(self._step(network, optimizer, step))
            progress("train", step + 1, steps)
            if (step + 1) % every == 0 or step + 1 == steps:
                looks.append(self._look(network, step + 1, losses))
                losses = known["losses"] = []
                if _is_best(looks):
                    known["best"] = {k: v.cpu().clone() for k, v in network.state_dict().items()}
            if (step + 1) % _SAVED == 0 or step + 1 == steps:
                self._keep(network, optimizer, known | {"step": step + 1})
        network.load_state_dict(known["best"])
        network.eval()
        return list(looks)

    def _step(self, network: MaskRCNN, optimizer: torch.optim.Optimizer, step: int) -> float:
        """One step, which follows from its number: a training that goes on draws the same chips."""
        import torch

        random = np.random.default_rng([self.recipe.seed, step])
        torch.manual_seed(int(random.integers(2**31)))
        side = chip_side(self.card.detector)
        drawn = [
            draw_chip(self.samples, self.card, side, self.recipe.light, random)
            for _ in range(self.recipe.batch)
        ]
        loss = losses_of(network, drawn)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        length = torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
        if math.isfinite(float(length)):
            optimizer.step()
        return float(loss.detach())

    def _look(self, network: MaskRCNN, step: int, losses: list[float]) -> Look:
        judged = judge(network.eval(), self.samples, self.card, VALIDATION)
        ap, ap50 = (judged.mean.ap, judged.mean.ap50) if judged else (math.nan, math.nan)
        return Look(step, float(np.mean(losses)) if losses else math.nan, ap, ap50)

    def _keep(
        self, network: MaskRCNN, optimizer: torch.optim.Optimizer, known: dict[str, Any]
    ) -> None:
        import torch

        unfinished = self.file.with_suffix(".tmp")
        looks = [tuple(look) for look in known["looks"]]
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**known, **state, "looks": looks}, unfinished)
        unfinished.replace(self.file)

    def _resume(self, network: MaskRCNN, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """What an interrupted training had become; a new one's beginning."""
        import torch

        if not self.file.exists():
            return {"step": 0, "looks": [], "losses": [], "best": network.state_dict()}
        known: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        network.load_state_dict(known.pop("network"))
        optimizer.load_state_dict(known.pop("optimizer"))
        return known | {"looks": [Look(*look) for look in known["looks"]]}


def losses_of(network: MaskRCNN, drawn: list[tuple[Any, Target]]) -> torch.Tensor:
    """The sum of the losses of proposals, boxes, classes and masks of some chips."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    network.train()
    device = next(network.parameters()).device
    batch = torch.from_numpy(np.stack([pixels for pixels, _ in drawn])).to(device)
    images = ImageList(batch, [(batch.shape[2], batch.shape[3])] * len(batch))
    targets = [
        {
            "boxes": torch.from_numpy(target.boxes).to(device),
            "masks": torch.from_numpy(target.masks).to(device),
            "labels": torch.from_numpy(target.channels).to(device),
        }
        for _, target in drawn
    ]
    features = network.backbone(batch)
    proposals, of_proposals = network.rpn(images, features, targets)
    _, of_boxes = network.roi_heads(features, proposals, images.image_sizes, targets)
    losses = [*of_proposals.values(), *of_boxes.values()]
    return torch.stack(losses).sum()


def _share(step: int, steps: int) -> float:
    """Of the highest rate: it rises, then falls along a cosine."""
    warm = min(_WARM, max(1, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def _is_best(looks: list[Look]) -> bool:
    """Whether the last look is the best so far, or nothing tells them apart."""
    last = looks[-1]
    return math.isnan(last.ap) or all(look.ap <= last.ap for look in looks)


def _facts(
    samples: ObjectSamples, recipe: DetectorRecipe, objects: int, start: Start
) -> dict[str, Any]:
    import torch
    import torchvision

    asked = recipe.model_dump(mode="json", exclude={"device", "architecture", "encoder"})
    facts = {**samples.samples.facts, "recipe": asked, "objects": objects}
    if start == "coco":
        facts["started from"] = "COCO"
    elif start is not None:
        facts["started from"] = {"model": start.card.name, "digest": start.digest}
    return facts | {"torch": torch.__version__, "torchvision": torchvision.__version__}


def _metrics(part: str, judged: ObjectAccuracy | None) -> dict[str, float]:
    if judged is None:
        return {}
    told = {name: getattr(judged.mean, name) for name in ("ap", "ap50", "recall", "pq")}
    return {f"{part} {name}": brief(value) for name, value in told.items() if value == value}


def _say(part: str, judged: ObjectAccuracy | None) -> str:
    """A sentence on how objects of a part were found."""
    if judged is None:
        return ""
    mean = judged.mean
    return (
        f"{part}: {mean.truth} objects in chips, {mean.found} found at any score; average "
        f"precision {mean.ap:.3f}, at IoU .50 {mean.ap50:.3f}, panoptic quality {mean.pq:.3f}"
    )
