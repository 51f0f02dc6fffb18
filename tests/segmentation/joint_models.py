"""Bundles for tests that hold two models of the same classes: an untrained network, and trees."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from segmentation.legend import LAND_COVER
from segmentation.models.bundle import Bundle, save
from segmentation.training.recipe import ForestRecipe
from segmentation.training.train_forest import TrainedForest, train_forest
from tests.segmentation.labelled import BANDS, a_samples
from tests.segmentation.small_networks import a_card, lively_state

LEGEND = LAND_COVER.subset(1, 3, 5)
LOOKS = 10
"""How far the trees look, in pixels."""


@cache
def small_forest() -> TrainedForest:
    """Five trees that learnt red, green and nir of a drawn piece."""
    recipe = ForestRecipe(trees=5, windows=(3, 2 * LOOKS + 1), features=60)
    return train_forest(
        a_samples(), recipe, name="trees", licence="CC0-1.0", progress=lambda *_: None
    )


def a_joint_bundle(folder: Path, **changes: Any) -> Bundle:
    """A network of random weights whose chips have less around them than its trees see, and the
    trees; `changes` as of `a_card`."""
    forest = small_forest()
    alone = a_card(**{"bands": BANDS, "legend": LEGEND, "margin": 8, "temperature": 1.7, **changes})
    model = alone.network.model_copy(update={"forest": forest.card.forest})
    card = alone.model_copy(update={"bands": forest.card.bands, "model": model})
    return save(folder, card, lively_state(alone.model_dump_json()), trees=forest.content)
