"""Training that chooses: validation decides, the test part is looked at once, and what is kept is
what was judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segmentation.accuracy.confusion import Accuracy
from segmentation.inference.network import Network
from segmentation.models.bundle import save
from segmentation.training import choose, train_forest, train_network
from segmentation.training.choose import leaves_choice, train_best
from segmentation.training.recipe import ForestRecipe, Recipe
from segmentation.training.samples import TEST, VALIDATION, Samples
from segmentation.training.train_forest import GrownForest, grow_forest
from segmentation.training.train_network import LearntNetwork, finish_network, learn_network
from tests.segmentation.labelled import a_samples, draw

SHORT = Recipe(options={"encoder_depth": 1, "decoder_channels": (8, 8)}, chip=16, batch=4, steps=3)
FEW = ForestRecipe(trees=8, windows=(3,), features=12)
FACTS: dict[str, Any] = {"name": "t", "licence": "CC0-1.0", "progress": lambda *_: None}


@pytest.fixture(scope="module")
def samples() -> Samples:
    return a_samples(draw(test=True))


@pytest.fixture(scope="module")
def grown(samples: Samples) -> GrownForest:
    return grow_forest(samples, FEW, **FACTS)


@pytest.fixture(scope="module")
def learnt(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> LearntNetwork:
    return learn_network(samples, SHORT, **FACTS, scratch=tmp_path_factory.mktemp("learnt"))


def accuracy_of(iou: float) -> Accuracy:
    """Some accuracy whose mean IoU is about that."""
    right, wrong = round(1e4 * iou), round(1e4 * (1 - iou))
    rows = [(1, "a", "#000000"), (3, "b", "#ffffff")]
    return Accuracy.from_confusion(np.array([[right, wrong], [0, 10_000]]), rows)


@pytest.mark.parametrize(
    ("figures", "kept"),
    [((0.7, 0.6, 0.7), "forest"), ((0.6, 0.7, 0.7), "network"), ((0.6, 0.7, 0.71), "both")],
)
def test_what_validates_best_is_kept_and_alone_meets_the_test_part(
    figures: tuple[float, float, float],
    kept: str,
    samples: Samples,
    grown: GrownForest,
    learnt: LearntNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forest, network, both = map(accuracy_of, figures)
    looked: list[str] = []

    def noted(judge: Callable[..., Accuracy]) -> Callable[..., Accuracy]:
        def judged(*given: Any) -> Accuracy:
            looked.extend([judge.__name__] if given[-1] == TEST else [])
            return judge(*given)

        return judged

    for module, judge in [
        (train_forest, train_forest.accuracy),
        (train_network, train_network.accuracy),
        (train_network, train_network.accuracy_with_trees),
    ]:
        monkeypatch.setattr(module, judge.__name__, noted(judge))
    monkeypatch.setattr(choose, "grow_forest", lambda *_, **__: replace(grown, validation=forest))
    monkeypatch.setattr(
        choose, "learn_network", lambda *_, **__: replace(learnt, validation=network)
    )
    monkeypatch.setattr(choose, "_judge_both", lambda *_: both)
    found = train_best(samples, SHORT, **FACTS, scratch=tmp_path)
    model = found.card.model
    assert model.kind == ("forest" if kept == "forest" else "network")
    assert (kept == "both") == (model.kind == "network" and model.forest is not None)
    ending = {"forest": "the forest is kept", "network": "the network is kept"}
    assert found.notes[0].endswith(ending.get(kept, "both are kept"))
    assert len(looked) == 1
    assert found.test is not None
    compared = found.card.training["compared"]
    assert list(compared) == ["forest", "network", "both together"]
    best = {"forest": forest, "network": network, "both": both}[kept]
    assert found.validation is best
    assert found.card.metrics["validation: mean IoU"] == pytest.approx(best.mean_iou, abs=1e-4)


def test_what_is_said_of_both_is_what_their_bundle_does(
    samples: Samples, grown: GrownForest, learnt: LearntNetwork, tmp_path: Path
) -> None:
    both = finish_network(samples, learnt, tmp_path, FACTS["progress"], grown)
    assert both.test is not None
    bundle = save(tmp_path / "both", both.card, both.state, trees=both.trees)
    network, piece = Network(bundle=str(bundle.folder), device="cpu"), samples.pieces[0]
    labels, at = network(samples.chip(piece)).labels, piece.part == TEST
    right = np.mean(labels[at] == piece.labels[at])
    # the chip that training looks at has other neighbours, and the network another last bit
    assert both.test.overall_accuracy == pytest.approx(right, abs=0.003)
    assert both.card.metrics["test: overall accuracy"] == pytest.approx(right, abs=0.003)


def test_without_validation_it_is_a_forest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "grow_forest", lambda one, _, **more: grow_forest(one, FEW, **more))
    piece = draw()
    part = np.where(piece.part == VALIDATION, 0, piece.part).astype(np.uint8)
    found = train_best(a_samples(replace(piece, part=part)), SHORT, **FACTS, scratch=tmp_path)
    assert found.card.model.kind == "forest"
    assert found.notes[-1] == "so it is a forest, which needs few"


def test_who_names_an_architecture_chooses() -> None:
    assert leaves_choice(Recipe(steps=3, seed=4, budget=2))
    assert not leaves_choice(Recipe(architecture="fullunet"))
    assert not leaves_choice(Recipe(options={"members": 1}))
    assert not leaves_choice(Recipe(encoder="resnet18"))
    assert not leaves_choice(ForestRecipe())
