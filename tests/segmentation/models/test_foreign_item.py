"""Items that others wrote: what MLM's words tell of a network, and one line where they do not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.models.stac_mlm import card_of, item_of
from tests.segmentation.models.test_stac_mlm import places, plain

ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "fields",
    "geometry": None,
    "properties": {
        "datetime": None,
        "license": "MIT",
        "gsd": 10,
        "mlm:name": "Fields",
        "mlm:architecture": "DeepLabV3+",
        "mlm:hyperparameters": {"backbone": "resnet50", "learning_rate": 0.001},
        "mlm:input": [
            {
                "name": "Sentinel-2",
                "bands": ["B04", {"name": "B08"}],
                "input": {
                    "shape": [-1, 2, 256, 256],
                    "dim_order": ["batch", "channel", "height", "width"],
                    "data_type": "float32",
                },
                "value_scaling": [{"type": "z-score", "mean": 942.7, "stddev": 727.5}],
            }
        ],
        "mlm:output": [
            {
                "name": "classes",
                "tasks": ["semantic-segmentation"],
                "result": {
                    "shape": [-1, 3, 256, 256],
                    "dim_order": ["batch", "class", "height", "width"],
                    "data_type": "float32",
                },
                "classification:classes": [
                    {"value": 0, "name": "background"},
                    {"value": 1, "name": "field", "color_hint": "00FF00"},
                    {"value": 2, "title": "Edge", "name": "edge"},
                ],
            }
        ],
    },
    "assets": {
        "model": {
            "href": "https://example.com/model.pt",
            "roles": ["mlm:model"],
            "bands": [
                {"name": "B04", "eo:common_name": "red"},
                {"name": "B08", "eo:common_name": "nir"},
            ],
        }
    },
    "links": [],
}


def changed(way: str, value: Any) -> dict[str, Any]:
    """The item with a value changed, or taken away where it is None; `/` goes a step down."""
    item = copy.deepcopy(ITEM)
    *above, last = way.split("/")
    at: Any = item
    for step in above:
        at = at[int(step) if isinstance(at, list) else step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return item


def test_what_mlm_has_words_for_is_read() -> None:
    card = card_of(ITEM)
    assert (card.name, card.gsd, card.licence) == ("fields", 10, "MIT")
    assert (card.network.architecture, card.network.encoder) == ("deeplabv3plus", "resnet50")
    assert card.band_names == ("red", "nir")
    assert [(band.mean, band.std, band.units) for band in card.bands] == [(942.7, 727.5, "dn")] * 2
    # 0 is no data here
    assert card.legend.values == (1, 2, 3)
    assert [one.name for one in card.legend.each()] == ["background", "field", "Edge"]
    assert card.legend[2].colour == "#00ff00"
    assert card.legend[1].colour != card.legend[3].colour
    assert card.support is None
    assert card.activation.function == "softmax"


def test_a_channel_less_than_classes_is_a_sigmoid() -> None:
    item = changed("properties/mlm:output/0/result/shape", [-1, 2, 256, 256])
    assert card_of(item).activation.function == "sigmoid"
    assert card_of(item).channels == 2


INPUT = "properties/mlm:input/0"


@pytest.mark.parametrize(
    ("scaling", "value", "scaled"),
    [
        ({"type": "min-max", "minimum": 100, "maximum": 300}, 150, 0.25),
        ({"type": "z-score", "mean": 100, "stddev": 20}, 150, 2.5),
        ({"type": "offset", "value": 100}, 150, 50),
        ({"type": "scale", "value": 3000}, 150, 0.05),
    ],
)
def test_scalings_of_mlm_are_a_mean_and_a_std(
    scaling: dict[str, Any], value: float, scaled: float
) -> None:
    band = card_of(changed(f"{INPUT}/value_scaling", [scaling])).bands[0]
    assert (value - band.mean) / band.std == pytest.approx(scaled)


@pytest.mark.parametrize(
    ("item", "fact"),
    [
        (changed("properties/gsd", None), "it does not say gsd$"),
        (changed("properties/mlm:hyperparameters", {}), "an encoder in mlm:hyperparameters"),
        (changed(f"{INPUT}/value_scaling", None), "does not say mlm:input.value_scaling"),
        (changed(f"{INPUT}/value_scaling", [{"type": "clip", "minimum": 0, "maximum": 1}]),
         "value_scaling.0 is a 'clip', and a band here is scaled by one of z-score, min-max"),
        (changed(f"{INPUT}/value_scaling", [{"type": "min-max", "minimum": 0, "maximum": "1"}]),
         "maximum is no number"),
        (changed(f"{INPUT}/pre_processing_function", {"format": "python", "expression": "f"}),
         "none from an item is run"),
        (changed(f"{INPUT}/value_scaling", [{"type": "scale", "value": 1}] * 3),
         "has 3 value_scaling for 2 bands"),
        (changed("properties/mlm:output/0/result/shape", [-1, 5, 8, 8]), "5 channels for 3"),
        (changed("properties/mlm:input", []), "has 0 entries"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_in_one_line(item: dict[str, Any], fact: str) -> None:
    with pytest.raises(InputError, match=fact) as mistake:
        card_of(item)
    assert "\n" not in str(mistake.value)


@given(st.data())
@settings(max_examples=100)
def test_an_item_of_whatever_is_a_card_or_a_mistake(data: st.DataObject) -> None:
    item = copy.deepcopy(ITEM)
    *way, last = data.draw(st.sampled_from(places(item)[1:]))
    at: Any = item
    for step in way:
        at = at[step]
    at[last] = data.draw(plain)
    try:
        card = card_of(item)
    except InputError:
        return
    assert card_of(item_of(card)) == card
