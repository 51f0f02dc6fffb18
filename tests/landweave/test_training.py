"""Models from Python: trained, listed, used."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import landweave as lw
from flows.requests.training import Training
from tests.landweave.conftest import Demo


def test_train_takes_each_field_of_its_request() -> None:
    asked = inspect.signature(lw.train).parameters.keys()
    assert {*Training.model_fields} - {"sources", "recipe"} <= asked


def test_a_forest_is_trained_judged_and_used(demo: Demo, tmp_path: Path) -> None:
    quick = {"trees": 5, "windows": (3,), "features": 12, "per_class": 300}
    model = lw.train(
        demo.scene, demo.truth, tmp_path / "rules", architecture="random-forest", **quick
    )
    assert model.validation
    assert model.validation.overall_accuracy > 0.8
    assert model.bands == lw.open_scene(demo.scene).bands
    assert repr(model).startswith("<Model rules: blue, green, ")
    assert "random-forest" in model._repr_html_()
    run = lw.segment(demo.scene, tmp_path / "run", segmenter=model, workers=0)
    assert run.legend == model.legend
    (listed,) = lw.models(tmp_path / "rules")
    assert listed.metrics == model.metrics


def test_the_models_of_the_package_are_listed() -> None:
    assert [model.name for model in lw.models()] == ["demo"]


def test_labels_and_scenes_go_in_pairs(demo: Demo, tmp_path: Path) -> None:
    for scenes in (demo.scene, [demo.scene]):
        with pytest.raises(
            lw.InputError, match="labels: 2 and scenes: 1; give lists of the same length"
        ):
            lw.train(scenes, [demo.truth, demo.truth], tmp_path / "model")
