"""Cards as STAC Items: valid by the published schemas, readable by others, and the same card again
when read back."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic_core import from_json
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import MLMExtension
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from segmentation.errors import InputError
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import CARD, load
from segmentation.models.card import (
    QUANTILES,
    BandCard,
    Card,
    ForestModel,
    Member,
    NetworkModel,
    OnnxModel,
    Support,
)
from segmentation.models.processing import Activation, Preprocessing
from segmentation.models.stac_mlm import ALWAYS, EXTENSIONS, FORMAT, card_of, item_of
from tests.segmentation.small_networks import a_card

SCHEMAS = Path(__file__).parents[2] / "schemas"
STAC = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"


def uri(file: Path) -> str:
    name, version = file.stem.split("-")
    return f"https://stac-extensions.github.io/{name}/{version}/schema.json"


@cache
def validators() -> dict[str, Draft7Validator]:
    """A validator of STAC Items and one for each extension that our items declare; nothing is
    fetched."""
    known = get_local_schema_cache() | {
        uri(file): json.loads(file.read_text()) for file in SCHEMAS.glob("*-v*.json")
    }
    registry: Registry[Any] = Registry().with_resources(
        # The base of a schema's own references is where it was published, whatever its $id says.
        (where, Resource({k: v for k, v in schema.items() if k != "$id"}, DRAFT7))
        for where, schema in known.items()
    )
    return {
        where: Draft7Validator(
            {"$ref": where}, registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER
        )
        for where in (STAC, *EXTENSIONS)
    }


def check(item: dict[str, Any]) -> None:
    for where, validator in validators().items():
        errors = [
            f"{where}: {error.json_path}: {error.message}" for error in validator.iter_errors(item)
        ]
        assert not errors, errors[0]


# -------------------------------------------------------------------------------------------- cards

finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-300, max_value=1e300)
lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
instants = st.datetimes().map(lambda at: at.strftime("%4Y-%m-%dT%H:%M:%SZ"))
boxes = st.tuples(*[st.floats(-180, 180), st.floats(-90, 90)] * 2).map(
    lambda box: [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
)
trainings = st.builds(
    lambda facts, place, time: {**facts, **place, **time},
    st.dictionaries(texts, plain, max_size=4),
    st.fixed_dictionaries({}, optional={"bbox": boxes | plain}),
    st.fixed_dictionaries(
        {}, optional={name: instants | plain | st.just(ALWAYS[name]) for name in ALWAYS}
    ),
)
bands = st.lists(
    st.builds(
        BandCard,
        name=lines,
        units=st.sampled_from(["reflectance", "dn"]),
        dtype=st.sampled_from(["", "uint8", "int16", "float32"]),
        mean=finite,
        std=positive,
        quantiles=st.just(()) | st.tuples(*[finite] * len(QUANTILES)),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda band: band.name,
).map(tuple)
legends = st.lists(
    st.builds(
        LandClass,
        value=st.integers(1, 254),
        name=lines,
        colour=st.from_regex("#[0-9a-f]{6}", fullmatch=True),
        parent=texts,
    ),
    min_size=1,
    max_size=5,
    unique_by=(lambda one: one.value, lambda one: one.name),
).map(lambda classes: Legend(classes=tuple(classes)))
preprocessings = st.builds(
    Preprocessing,
    normalisation=st.sampled_from(["fixed", "min-max", "percentiles"]),
    percentiles=st.sampled_from([(2.0, 98.0), (0.5, 99.5)]),
    factor=positive,
    offset=finite,
    padding=finite.map(lambda number: (number,)),
)
activations = st.builds(
    Activation,
    # a sigmoid's needs two classes, which a drawn legend may not have
    function=st.just("softmax"),
    in_network=st.booleans(),
)
networks = st.builds(
    lambda stride, steps, **rest: NetworkModel(stride=stride, margin=stride * steps, **rest),
    stride=st.integers(1, 64),
    steps=st.integers(0, 9),
    architecture=lines,
    encoder=st.from_regex(r"[a-zA-Z0-9_.-]+", fullmatch=True),
    options=st.dictionaries(
        st.sampled_from(["encoder_depth", "upsampling", "decoder_channels", "decoder_use_norm"]),
        st.none() | st.booleans() | st.integers(-1, 4096) | finite | texts
        | st.lists(st.integers(-1, 4096), max_size=5).map(tuple),
    ),
    tile=st.integers(1, 65536),
    support=st.none() | st.builds(Support, *[st.integers(0, 999)] * 4),
    disagreement=st.floats(0, 1),
    temperature=positive,
    preprocessing=st.just(Preprocessing()) | preprocessings,
    activation=st.just(Activation()) | activations,
    further=st.just(()) | st.builds(
        Member, architecture=lines, encoder=st.just("resnet18"), options=st.just({})
    ).map(lambda member: (member,)),
)  # fmt: skip
graphs = st.builds(
    lambda size, **rest: OnnxModel(
        size=size, tile=64 if size is None else size - 16, margin=8, stride=1, support=None, **rest
    ),
    size=st.none() | st.integers(24, 512),
    input=lines,
    output=lines,
    disagreement=st.none() | st.floats(0, 1),
    temperature=positive,
    preprocessing=st.just(Preprocessing()) | preprocessings,
    activation=st.just(Activation()) | activations,
)
forests = st.builds(
    ForestModel,
    estimator=lines,
    features=st.lists(lines, min_size=1, max_size=3).map(tuple),
    temperature=positive,
    sklearn=texts | st.sampled_from(["1.9.1", "1.10.0rc1"]),
)
cards = st.builds(
    Card,
    name=lines,
    bands=bands,
    gsd=positive,
    legend=legends,
    model=networks | graphs | forests,
    training=trainings,
    metrics=st.dictionaries(texts, finite, max_size=3),
    licence=texts | st.sampled_from(["Apache-2.0", "other", "CC-BY-4.0 for the labels"]),
    sha256=st.just("") | st.from_regex("[0-9a-f]{64}", fullmatch=True),
    size=st.integers(0, 2**40),
)


@given(cards)
@settings(max_examples=40)
def test_an_item_is_valid_and_tells_the_whole_card(card: Card) -> None:
    item = item_of(card)
    check(item)
    again = card_of(from_json(json.dumps(item, allow_nan=False)))
    assert again == card
    # 1, 1.0 and True are equal, and not the same.
    assert canonical(again.model_dump(mode="json")) == canonical(card.model_dump(mode="json"))
    assert canonical(item_of(again)) == canonical(item)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def test_a_sigmoid_has_a_channel_less_than_classes_and_says_so() -> None:
    sigmoid = Activation(function="sigmoid", thresholds=(0.25,))
    card = a_card(activation=sigmoid, preprocessing=Preprocessing(factor=2, padding=(-1.0,)))
    item = item_of(card)
    check(item)
    assert card_of(item) == card
    ((entry,), (out,)) = (item["properties"][f"mlm:{way}"] for way in ("input", "output"))
    assert out["result"]["shape"] == [-1, 3, -1, -1]
    assert len(out["classification:classes"]) == 4
    assert "threshold (0.25)" in out["description"]
    assert "value * 2.0 + 0.0" in entry["pre_processing_function"]["expression"]
    assert "are -1 after scaling" in entry["description"]


def test_the_demo_bundle_is_an_item_that_others_can_read() -> None:
    demo = load("demo")
    check(json.loads((demo.folder / CARD).read_text()))

    item = pystac.Item.from_file(str(demo.folder / CARD))
    mlm = MLMExtension.ext(item)
    assert mlm.mlm_name == "demo"
    assert mlm.framework == "PyTorch"
    assert mlm.architecture == "unet"
    assert mlm.hyperparameters is not None
    assert mlm.hyperparameters.to_dict()["encoder"] == demo.card.network.encoder
    (entry,), (out,) = mlm.input, mlm.output
    assert entry.bands == list(demo.card.band_names)
    assert entry.input.shape == [-1, 6, -1, -1]
    assert [one.description for one in out.classes or ()] == [
        one.name for one in demo.card.legend.each()
    ]
    weights = FileExtension.ext(item.assets["weights"])
    assert weights.checksum == "1220" + demo.card.sha256
    assert weights.size == demo.weights_file.stat().st_size
    assert Path(item.assets["weights"].get_absolute_href() or "") == demo.weights_file


def test_place_and_time_of_the_training_data_are_the_item_s() -> None:
    training = {
        "bbox": [-76.5, 38, -76.25, 38.5],
        "scenes": 1,
        **{k: "2018-06-0" + "12"[i] + "T00:00:00Z" for i, k in enumerate(ALWAYS)},
    }
    item = item_of(a_card(training=training))
    check(item)
    assert item["bbox"] == [-76.5, 38, -76.25, 38.5]
    assert item["geometry"]["coordinates"][0][2] == [-76.25, 38.5]
    assert item["properties"]["start_datetime"] == "2018-06-01T00:00:00Z"
    assert item["properties"]["landweave:training"] == {"scenes": 1}
    assert card_of(item).training == training

    unknown = item_of(a_card())
    assert unknown["geometry"] is None
    assert "bbox" not in unknown
    assert {name: unknown["properties"][name] for name in ALWAYS} == ALWAYS


def test_what_others_add_to_an_item_changes_no_card() -> None:
    item = item_of(a_card())
    richer = copy.deepcopy(item)
    richer["properties"] |= {"created": "2026-11-01T00:00:00Z", "sci:doi": "10.1000/xyz"}
    richer["links"].append({"rel": "about", "href": "https://example.com"})
    richer["assets"]["thumbnail"] = {"href": "./thumbnail.png", "roles": ["thumbnail"]}
    assert card_of(richer) == card_of(item)


def changed(**paths: Any) -> dict[str, Any]:
    """The item of a card with values changed; `__` goes a step down and None takes an entry
    away."""
    item = json.loads(json.dumps(item_of(a_card())))
    for path, value in paths.items():
        *way, last = path.replace("ours_", "landweave:").replace("mlm_", "mlm:").split("__")
        at: Any = item
        for step in way:
            at = at[int(step) if isinstance(at, list) else step]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return item  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("item", "fact"),
    [
        ([], "it is no JSON object"),
        ({"type": "FeatureCollection", "features": []}, "it has no properties"),
        (changed(properties__ours_format=None),
        "it has no properties.landweave:format"),
        (changed(properties__ours_format=FORMAT + 1),
        f"a newer Landweave wrote it \\(format {FORMAT + 1}, this one"),
        (changed(properties__ours_format=True), "landweave:format is no version"),
        (changed(properties__ours_secret=1), "format 1 has no properties.'landweave:secret'"),
        (changed(properties__ours_model__kind="oracle"), "kind is none of network, onnx, forest"),
        (changed(properties__ours_model__margins=1),
        "model.network.margins: Extra inputs are not permitted"),
        (changed(properties__mlm_input=[]),
        "properties.mlm:input has 0 entries, and a bundle has one"),
        (changed(properties__mlm_input__0__bands=["red", "green", "nir"]),
        "do not name the same bands"),
        (changed(properties__mlm_input__0__value_scaling=[]),
        "value_scaling is not a z-score for each band"),
        (changed(properties__gsd=0), "gsd: Input should be greater than 0"),
        (changed(properties__mlm_output=3), "properties.mlm:output is no list"),
        (changed(assets__weights__href="../../etc/passwd"),
        "href is not model.safetensors, which lies beside the"),
        (changed(assets__weights__href="https://example.com/model.safetensors"),
        "href is not model.safetensors"),
        (changed(assets__weights={"href": "model.pkl"}), "href is not model.safetensors"),
    ],
)  # fmt: skip
def test_other_items_are_refused_in_one_line(item: Any, fact: str) -> None:
    with pytest.raises(InputError, match=fact) as mistake:
        card_of(item)
    assert "\n" not in str(mistake.value)


# --------------------------------------------------------------------------------------------- fuzz


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where everything in a JSON value stands."""
    below = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way, *(place for key, inner in below for place in places(inner, (*way, key)))]


@given(st.data())
@settings(max_examples=200)
def test_an_item_that_was_tampered_with_is_a_card_or_a_mistake(data: st.DataObject) -> None:
    item = json.loads(json.dumps(item_of(a_card(training={"bbox": [0, 0, 1, 1]}))))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places(item)[1:]))
        at = item
        for step in way:
            at = at[step]
        if data.draw(st.booleans()):
            at[last] = data.draw(plain)
        else:
            del at[last]
        if len(places(item)) == 1:
            break
    try:
        card = card_of(item)
    except InputError:
        return
    assert card_of(item_of(card)) == card
