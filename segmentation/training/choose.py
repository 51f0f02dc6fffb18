"""A forest and a network of the same labels: both are trained, and validation says which is kept,
or that both are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segmentation.models.card import brief
from segmentation.training.loop import Progress
from segmentation.training.recipe import ForestRecipe, Recipe
from segmentation.training.samples import VALIDATION, Samples
from segmentation.training.train_forest import TrainedForest, finish_forest, grow_forest
from segmentation.training.train_network import Trained, finish_network, learn_network
from segmentation.training.validation import accuracy_with_trees, metrics_of

if TYPE_CHECKING:
    from segmentation.accuracy.confusion import Accuracy
    from segmentation.training.train_forest import GrownForest
    from segmentation.training.train_network import LearntNetwork

_SEEDS = 2**32
"""Of forests."""


def leaves_choice(recipe: Recipe | ForestRecipe) -> bool:
    """Whether a recipe leaves it to the labels what is trained: it names no architecture, nor what
    only one has."""
    return not (recipe.architecture or isinstance(recipe, ForestRecipe)) and not (
        recipe.encoder or recipe.options
    )


def train_best(
    samples: Samples, recipe: Recipe, *, name: str, licence: str, scratch: Path, progress: Progress
) -> Trained | TrainedForest:
    """Train a forest and a network; keep the one with the higher mean IoU on the validation part,
    or both where the mean of the logarithms of their probabilities has a higher one still.

    The test part is looked at once, by what is kept. Where nothing can be held out to compare them
    by, it is the forest, which needs few labels. `scratch` keeps what a killed training goes on
    from.
    """
    asked = ForestRecipe(seed=recipe.seed % _SEEDS)
    grown = grow_forest(samples, asked, name=name, licence=licence, progress=progress)
    kept: Trained | TrainedForest
    if grown.validation is None:
        kept = finish_forest(samples, grown, progress)
        return replace(kept, notes=(*kept.notes, "so it is a forest, which needs few"))
    learnt = learn_network(
        samples, recipe, name=name, licence=licence, scratch=scratch, progress=progress
    )
    assert learnt.validation is not None  # of the same labels
    both = _judge_both(samples, grown, learnt)
    figures = {
        "forest": grown.validation.mean_iou,
        "network": learnt.validation.mean_iou,
        "both together": both.mean_iou,
    }
    best = max(figures, key=lambda what: figures[what])  # of equals the cheapest
    told = ", ".join(f"{what} {value:.3f}" for what, value in figures.items())
    which = "both are" if best == "both together" else f"the {best} is"
    note = f"validation, mean IoU: {told}: {which} kept"
    facts = {"compared": {what: brief(value) for what, value in figures.items()}}
    if best == "forest":
        kept = finish_forest(samples, grown, progress)
    else:
        beside = grown if best == "both together" else None
        kept = finish_network(samples, learnt, scratch, progress, beside)
    metrics = dict(kept.card.metrics)
    if best == "both together":
        metrics |= metrics_of("validation", both)
        facts["forest"] = asked.model_dump(mode="json")
        kept = replace(kept, validation=both)
    card = kept.card.model_copy(update={"training": kept.card.training | facts, "metrics": metrics})
    return replace(kept, card=card, notes=(note, *kept.notes))


def _judge_both(samples: Samples, grown: GrownForest, learnt: LearntNetwork) -> Accuracy:
    """How a network and a forest fare together on the validation part."""
    network = learnt.card.network.model_copy(update={"forest": grown.card.forest})
    card = learnt.card.model_copy(update={"model": network})
    return accuracy_with_trees(learnt.model, grown.trees, samples, card, VALIDATION)
