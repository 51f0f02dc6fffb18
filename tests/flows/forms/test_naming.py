"""What runs are called in Prefect's lists."""

from __future__ import annotations

from typing import Any

import pytest

from flows.forms.choices import METHODS
from flows.forms.naming import MADE_UP, run_name, run_tags
from segmentation.classical.rules import Rules


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"scene": ["/data/valley.tif"], "segmenter": {"kind": "rules"}}, "valley · rules"),
        ({"scene": ["/data/valley.tif"], "segmenter": Rules()}, "valley · rules"),
        ({"scene": ["red=/d/B04.tif", "nir=/d/B08.tif"]}, "B04"),
        ({"scene": ["https://host/S2_20240601.tif?token=x"]}, "S2_20240601"),
        (
            {"scene": '"/data/my valley.tif"\n', "method": "/models/my-model"},
            "my valley · my-model",
        ),
        (
            {"scene": ["v.tif"], "segmenter": {"kind": "network", "bundle": "/models/oaks"}},
            "v · network oaks",
        ),
        ({"scenes": ["/data/inbox"], "output_folder": "/runs/atlas"}, "inbox · atlas"),
        ({"folders": ["/data/inbox"], "output_folder": "/runs/valley"}, "monitor · valley"),
        (
            {"folders_or_catalogue": ["/d"], "fields": "f.gpkg", "output_folder": "/r/valley"},
            "crops · valley",
        ),
        ({"images": ["a.tif", "b.tif"], "output_folder": "/r/may"}, "composite · may"),
        (
            {"images": ["a.tif"], "indices": ["NDVI"], "output_folder": "/r/years"},
            "series · years",
        ),
        (
            {"scenes": ["a.tif"], "labels": ["a.gpkg"], "output_folder": "/models/oaks"},
            "training · oaks",
        ),
        ({"map": "/runs/v/classes.tif", "reference": "/d/truth.gpkg"}, "classes · truth"),
        ({"scene": ["v.tif"], "indices": ["NDVI", "NDWI"]}, "v · NDVI, NDWI"),
        ({"scene": None, "segmenter": None}, ""),
        ({"scene": 7, "method": 7}, ""),
        ({}, ""),
    ],
)
def test_a_run_is_called_by_its_scene_and_method(parameters: dict[str, Any], name: str) -> None:
    assert run_name(parameters) == name


@pytest.mark.parametrize("method", METHODS)
def test_a_method_in_words_is_a_short_tag(method: str) -> None:
    scene, tag = run_tags({"scene": "v.tif", "method": method})
    assert scene == "v"
    assert method.startswith(tag)
    assert len(tag) < 20


@pytest.mark.parametrize(
    "name", ["wise-otter", "alpha987-scurus", "xi-greyling", "epsilon3-ruah-field"]
)
def test_names_that_prefect_makes_up_are_known(name: str) -> None:
    assert MADE_UP.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["Upper valley", "valley_2024", "valley", "Wald-Nord", "s2-2024-06"]
)
def test_a_persons_own_name_is_none(name: str) -> None:
    assert not MADE_UP.fullmatch(name)
