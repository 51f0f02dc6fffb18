"""From labelled pixels to a network, judged on labels that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.confusion import Accuracy
from segmentation.forests.skops_file import dump
from segmentation.inference.device import device_of
from segmentation.interchange.encoder_weights import TaughtEncoder, notes_on
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card, NetworkModel, brief
from segmentation.training.checkpoint import Evaluation
from segmentation.training.chip_sampler import read_normalised
from segmentation.training.fine_tuning import (
    Start,
    bands_to_start,
    check_start,
    facts_of_start,
    initial_state,
    meet,
    state_on_encoder,
)
from segmentation.training.loop import CLEARLY, Progress, Run, fit_on_device
from segmentation.training.recipe import Recipe, choose_network, resolve_recipe
from segmentation.training.samples import PARTS, TEST, TRAIN, VALIDATION, Samples
from segmentation.training.train_forest import GrownForest, refit_trees
from segmentation.training.validation import (
    accuracy,
    accuracy_with_trees,
    logits_on,
    metrics_of,
    temperature,
)

if TYPE_CHECKING:
    import torch

_MOST_LOGITS = 200_000
"""Pixels that the temperature is found from, at most."""
_MARGIN_CHIP = 1024
"""Side of the chips that the margin is measured on, at most."""
_FEW = 500_000
"""Training labels below which a last run learns from the validation labels too."""
_ITSELF = "the bundle itself"
_EARLIER = "the run before the last, which learnt from these labels too"


@dataclass(frozen=True)
class Trained:
    """A network that was trained: its card, its weights, its accuracies."""

    card: Card
    state: dict[str, torch.Tensor]
    looks: tuple[Evaluation, ...]
    """The run that was validated."""
    validation: Accuracy | None
    """Of its best weights."""
    test: Accuracy | None
    """Of the bundle's own weights, on a test part that nobody looked at before."""
    judged: dict[str, str]
    """What was judged on each of these parts, in words."""
    notes: tuple[str, ...] = field(default=())
    trees: bytes | None = None
    """The file of the trees beside it."""


@dataclass(frozen=True)
class LearntNetwork:
    """A network after its first run, which saw the training part alone."""

    card: Card
    """With its temperature."""
    recipe: Recipe
    """Settled."""
    model: torch.nn.Module
    start: dict[str, torch.Tensor] | None
    """The weights it began with."""
    looks: tuple[Evaluation, ...]
    best_step: int
    validation: Accuracy | None
    notes: tuple[str, ...]


def train_network(
    samples: Samples,
    recipe: Recipe,
    *,
    name: str,
    licence: str,
    scratch: Path,
    progress: Progress,
    weights: Start | None = None,
) -> Trained:
    """Train a network on the train part; judge it on validation and, if there is one, test part.

    Where labels are few a last run learns from the validation labels too, for as many steps as were
    good before; what the card says of validation is then of the run without them. `scratch` keeps
    what a killed training goes on from.
    """
    learnt = learn_network(
        samples, recipe, name=name, licence=licence, scratch=scratch, progress=progress,
        weights=weights,
    )  # fmt: skip
    return finish_network(samples, learnt, scratch, progress)


def learn_network(
    samples: Samples,
    recipe: Recipe,
    *,
    name: str,
    licence: str,
    scratch: Path,
    progress: Progress,
    weights: Start | None = None,
) -> LearntNetwork:
    """A network of the train part, judged on the validation part."""
    import torch

    from segmentation.networks.architectures import build

    samples.check_taught()
    card = _first_card(samples, recipe, name, licence, weights)
    recipe = resolve_recipe(recipe, samples, card)
    start, notes = _starting_state(samples, recipe, card, weights)
    first = Run(samples, recipe, card, (TRAIN,), 0, scratch / "run.pt", start)
    best, looks, best_step = fit_on_device(first, progress)
    # judged where it learnt, in the precision of use
    model = build(card).to(memory_format=torch.channels_last).eval().to(device_of(recipe.device))
    model.load_state_dict(best)
    validation, heat = None, 1.0
    if samples.counts(VALIDATION).any():
        validation = accuracy(model, samples, card, VALIDATION)
        heat = _fit_temperature(model, samples, card)
    facts = _training_facts(samples, recipe) | facts_of_start(weights)
    network = card.network.model_copy(update={"temperature": heat})
    card = card.model_copy(update={"model": network, "training": facts})
    return LearntNetwork(
        card, recipe, model, start, tuple(looks), best_step, validation, tuple(notes)
    )


def finish_network(
    samples: Samples,
    learnt: LearntNetwork,
    scratch: Path,
    progress: Progress,
    beside: GrownForest | None = None,
) -> Trained:
    """The network of a bundle: after a last run where labels are few, measured, and judged on the
    test part, together with a forest where one stands beside it.

    What it then says of validation is left to whoever joined them.
    """
    card, model, recipe, best_step = learnt.card, learnt.model, learnt.recipe, learnt.best_step
    refit = learnt.validation is not None and _wants_refit(samples, recipe)
    if refit:
        best_step = _steps_of_refit(recipe, learnt.looks, best_step)
        again = recipe.model_copy(update={"steps": best_step})
        parts, file = (TRAIN, VALIDATION), scratch / "refit.pt"
        last = Run(samples, again, card, parts, 1, file, learnt.start)
        model.load_state_dict(fit_on_device(last, progress)[0])
    network, trees = _measure_receptive_field(model, samples, card, recipe), None
    card = card.model_copy(update={"model": network})
    if beside is not None:
        trees = refit_trees(samples, beside, progress)
        network = network.model_copy(update={"forest": beside.card.forest})
        card = card.model_copy(update={"model": network})
    test = None
    if samples.counts(TEST).any() and trees is None:
        test = accuracy(model, samples, card, TEST)
    elif samples.counts(TEST).any():
        test = accuracy_with_trees(model, trees, samples, card, TEST)
    metrics = metrics_of("validation", learnt.validation) | metrics_of("test", test)
    judged = {"validation": _EARLIER if refit else _ITSELF, "test": _ITSELF}
    facts = card.training | {"steps": best_step, "validated": judged["validation"]}
    card = card.model_copy(update={"metrics": metrics, "training": facts})
    return Trained(
        card, model.cpu().state_dict(), learnt.looks, learnt.validation, test, judged, learnt.notes,
        trees=None if trees is None else dump(trees),
    )  # fmt: skip


def _starting_state(
    samples: Samples, recipe: Recipe, card: Card, weights: Start | None
) -> tuple[dict[str, torch.Tensor] | None, list[str]]:
    """The weights that training starts from, None where from nothing, and what to say of them."""
    import torch

    from segmentation.networks.architectures import build, initial_weights

    if weights is None:
        return None, []
    torch.manual_seed(recipe.seed)
    new = build(card)
    if weights == "imagenet":
        notes = list(filter(None, [initial_weights(new, card)]))
        return new.state_dict(), notes
    if isinstance(weights, TaughtEncoder):
        return state_on_encoder(new, card, weights), notes_on(card.bands, weights.known)
    notes = []
    if meet(weights.card.training.get("bbox"), samples.facts.get("bbox")):
        notes.append(
            f"{weights.card.name}, which it starts from, was trained where these scenes lie: it "
            "may know labels that judge here, and then the figures are too good"
        )
    return initial_state(new, card, weights), notes


def _wants_refit(samples: Samples, recipe: Recipe) -> bool:
    """Whether a last run learns from the validation labels too: where labels are few."""
    return bool(samples.counts(TRAIN).sum() < _FEW) if recipe.refit is None else recipe.refit


def _steps_of_refit(recipe: Recipe, looks: Sequence[Evaluation], best_step: int) -> int:
    """For how many steps the last run learns: as many as were best, or all where the end was
    nearly as good."""
    highest = max(look.mean_iou for look in looks)
    ended_well = looks[-1].step == recipe.steps and looks[-1].mean_iou > highest - CLEARLY
    return recipe.steps if ended_well else best_step


def _training_facts(samples: Samples, recipe: Recipe) -> dict[str, Any]:
    """What a card tells of how its network was trained."""
    return {
        **samples.facts,
        "program": "landweave train",
        "labelled pixels": {part: int(samples.counts(n).sum()) for part, n in PARTS.items()},
        "recipe": recipe.model_dump(mode="json", exclude={"device"}),
    }


def _first_card(
    samples: Samples, recipe: Recipe, name: str, licence: str, weights: Start | None
) -> Card:
    """The card as far as it is known before the training: bands, classes, the network's shape."""
    bands = bands_to_start(samples.band_cards(), weights)
    if isinstance(weights, Bundle):
        shape = weights.card.network
        check_start(recipe, weights)
    else:
        shape = choose_network(samples, recipe)
    model = shape.model_copy(
        update={
            "support": None, "disagreement": 1.0, "temperature": 1.0, "margin": 0, "forest": None,
        }
    )  # fmt: skip
    return Card(
        name=name,
        bands=bands,
        gsd=samples.gsd,
        legend=samples.legend,
        model=model,
        training=samples.facts,
        metrics={},
        licence=licence,
    )


def _fit_temperature(model: torch.nn.Module, samples: Samples, card: Card) -> float:
    """The temperature, from validation labels all over."""
    pairs = list(logits_on(model, samples, card, VALIDATION))
    total = sum(len(targets) for _, targets in pairs)
    step = max(1, -(-total // _MOST_LOGITS))
    return temperature(
        np.concatenate([logits[::step] for logits, _ in pairs]),
        np.concatenate([t[::step] for _, t in pairs]),
    )


def _measure_receptive_field(
    model: torch.nn.Module, samples: Samples, card: Card, recipe: Recipe
) -> NetworkModel:
    """The network's shape with how far it looks, its tile and its margin.

    What looks at the whole chip knows chips as long as those it learnt from: larger tiles would
    show it other sights. Tiles of what sees patches end in the middle of one, and no chip has the
    patches of the next: else all their edges would lie on tile lines.
    """
    from segmentation.networks.architectures import ARCHITECTURES
    from segmentation.networks.receptive_field import choose_margin, support

    network = card.network
    reach = support(model, len(card.bands), stride=network.stride)
    longer = network.stride // 2 if ARCHITECTURES[network.architecture].patches else 0
    tile = recipe.chip + longer if reach is None else network.tile
    margin = choose_margin(
        model, _chips_for_margin(samples, card), tile=tile, stride=network.stride, support=reach
    )
    measured = {"margin": margin.margin, "disagreement": brief(margin.disagreement)}
    return network.model_copy(update={"support": reach, "tile": tile, **measured})


def _chips_for_margin(samples: Samples, card: Card) -> list[npt.NDArray[np.float32]]:
    """A few normalised chips to measure the margin on."""
    made = []
    for piece in sorted(samples.pieces, key=lambda piece: -piece.valid.size)[:2]:
        height, width = (min(_MARGIN_CHIP, size) for size in piece.shape)
        row, col = (
            (size - length) // 2 for size, length in zip(piece.shape, (height, width), strict=True)
        )
        made.append(read_normalised(piece, card, row, col, height, width).pixels)
    return made
