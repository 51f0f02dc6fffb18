"""Figures from Python: accuracies and indices."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import landweave as lw
from flows.requests.maps import Evaluation
from tests.landweave.conftest import Demo
from tests.scenes import read


def test_evaluate_takes_each_field_of_its_request() -> None:
    asked = inspect.signature(lw.evaluate).parameters
    fields = {*Evaluation.model_fields} - {"map", "objects"}
    assert asked.keys() == fields | {"raster", "workers", "progress"}
    assert all(asked[name].default is None for name in asked if name not in ("raster", "reference"))


def test_objects_are_judged_one_by_one(demo: Demo, tmp_path: Path) -> None:
    """Classes as ids: the demo's map has each once."""
    judged = lw.evaluate_objects(demo.truth, demo.truth, out=tmp_path / "figures", workers=0)
    assert (judged.mean.pq, judged.mean.ap, judged.boundary_f1) == (1, 1, 1)
    assert (tmp_path / "figures" / "object_accuracy.json").is_file()


def test_a_run_is_judged(demo: Demo, tmp_path: Path) -> None:
    judged = lw.evaluate(demo.run, demo.truth, out=tmp_path / "figures", workers=0)
    map, truth = read(Path(demo.run.folder) / "classes.tif"), read(demo.truth)
    both = (map > 0) & (truth > 0)
    assert judged.overall_accuracy == pytest.approx(np.mean(map[both] == truth[both]))
    assert judged.confusion.to_numpy().sum() == both.sum()
    assert judged.classes.loc["Trees and dense vegetation", "support"] == np.sum(truth[both] == 2)
    assert (tmp_path / "figures/confusion.png") in judged.files
    assert repr(judged).startswith(f"<Evaluation: overall accuracy {judged.overall_accuracy:.3f}, ")
    assert "Trees and dense vegetation" in judged._repr_html_()


def test_classes_are_brought_together(demo: Demo) -> None:
    alike = {name: "Land" for _, name, _ in demo.run.legend.rows}
    judged = lw.evaluate(
        demo.run, demo.truth, map_classes=alike, reference_classes=dict.fromkeys(alike, "Land")
    )
    assert judged.overall_accuracy == 1


def test_a_class_is_left_out_by_its_number(demo: Demo) -> None:
    left = lw.evaluate(demo.run, demo.truth, map_classes={2: None}, workers=0)
    whole = lw.evaluate(demo.run, demo.truth, workers=0)
    trees = whole.confusion["Trees and dense vegetation"].sum()
    assert left.confusion.to_numpy().sum() == whole.confusion.to_numpy().sum() - trees


def test_an_index_is_a_lazy_array_of_its_formula(demo: Demo, tmp_path: Path) -> None:
    ndvi = lw.indices(demo.scene, "NDVI", tmp_path)["NDVI"]
    red, nir = (read(demo.scene, band).astype(float) for band in (3, 4))
    shown = red > 0
    red, nir = red[shown], nir[shown]
    assert ndvi.chunks
    assert np.allclose(ndvi.values[shown], (nir - red) / (nir + red), atol=1e-6)
    assert np.isnan(ndvi.values[~shown]).all()


def test_indices_are_listed_with_what_a_scene_lacks(demo: Demo) -> None:
    assert lw.list_indices().loc["NDVI", "long_name"] == "Normalized Difference Vegetation Index"
    listed = lw.list_indices(lw.open_scene(demo.scene, bands={"red": 3}))
    assert listed.loc["NDVI", "missing"] == ("nir",)
