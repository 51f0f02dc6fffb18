"""A card in the words of others: a STAC Item with the Machine Learning Model extension, and back.

What the standards have no word for stands under `landweave:`; nothing that a reader could believe
is said twice. https://github.com/stac-extensions/mlm
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from segmentation.errors import InputError
from segmentation.models.card import Card
from segmentation.models.foreign_item import foreign_fields
from segmentation.models.json_value import JsonAt
from segmentation.models.mlm_words import describe_input, describe_output, has_z_scores

FORMAT = 1
"""Version of what stands under `landweave:`; raised when an older reader would misunderstand it."""

EXTENSIONS = (
    # 1.4.0 is the newest that pystac reads.
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    # For raster:bands: STAC's own bands would have to stand in the properties and, by STAC's
    # schema, in an asset too.
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
)

ALWAYS = {"start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"}
"""What the extension's best practices say of a model that is bound to no time."""

_OURS = "landweave:"
_FIELDS = ("format", "model", "training", "metrics", "licence")

# The extensions' own patterns: where a value does not fit, it is ours alone.
_MLM_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\- ]+[a-zA-Z0-9]")
_LICENCE = re.compile(r"[A-Za-z0-9_.+\-]+")
_VERSION = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
_INSTANT = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]+)?Z")

_MULTIHASH_SHA256 = "1220"
"""Before a digest: SHA-256, 32 bytes long. https://github.com/multiformats/multihash"""


_ARCHITECTURES = {"network": "architecture", "detector": "architecture", "forest": "estimator"}
"""The field of a kind of model that MLM calls its architecture."""

_GRAPH = "ONNX graph"
"""Architecture of a graph, as MLM wants one named."""


class Kind(NamedTuple):
    """File name, media type and framework of the weights of a kind of model, as STAC has them."""

    weights: str
    """File name of the weights."""
    media_type: str
    artifact_type: str
    framework: str


KINDS = {
    "network": Kind(
        "model.safetensors", "application/octet-stream", "safetensors.torch.save_file", "PyTorch"
    ),
    "onnx": Kind("model.onnx", "application/octet-stream", "onnx.save", "ONNX"),
    "forest": Kind("model.skops", "application/zip", "skops.io.dump", "scikit-learn"),
    "detector": Kind(
        "model.safetensors", "application/octet-stream", "safetensors.torch.save_file", "PyTorch"
    ),
}
"""By the model's `kind`."""


def item_of(card: Card) -> dict[str, Any]:
    """The card as a STAC Item: plain JSON that follows from the card alone."""
    kind, model = KINDS[card.model.kind], card.model.model_dump(mode="json")
    training = dict(card.training)
    place, time = _pop_geometry(training), _pop_interval(training)
    properties: dict[str, Any] = {
        "datetime": None,
        **(time or ALWAYS),
        "license": card.licence if _LICENCE.fullmatch(card.licence) else "other",
        "gsd": card.gsd,
        "mlm:name": _mlm_name(card.name),
        "mlm:architecture": _pop_architecture(model),
        "mlm:framework": kind.framework,
        "mlm:tasks": [_task(card)],
        **_hyperparameters(model),
        "mlm:input": [_input(card)],
        "mlm:output": [_output(card)],
        "landweave:format": FORMAT,
        "landweave:training": training,
        "landweave:metrics": dict(card.metrics),
    }
    if _VERSION.fullmatch(model.get("sklearn", "")):
        properties["mlm:framework_version"] = model.pop("sklearn")
    if properties["license"] != card.licence:
        properties["landweave:licence"] = card.licence
    properties["landweave:model"] = model
    weights = {
        "href": f"./{kind.weights}",
        "title": "Weights",
        "type": kind.media_type,
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": kind.artifact_type,
        "file:size": card.size,
        "raster:bands": [
            _band(band.model_dump(mode="json"), statistics=not has_z_scores(card))
            for band in card.bands
        ],
    }
    if card.sha256:
        weights["file:checksum"] = _MULTIHASH_SHA256 + card.sha256
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": card.name,
        **place,
        "properties": properties,
        "links": [],
        "assets": {"weights": weights},
    }


def _task(card: Card) -> str:
    """What a model does, in MLM's words."""
    objects = card.model.kind == "detector"
    return "instance-segmentation" if objects else "semantic-segmentation"


def _pop_architecture(model: dict[str, Any]) -> str:
    """What MLM calls so; it leaves `model`. A graph has none that anybody knows."""
    name = _ARCHITECTURES.get(model["kind"])
    return str(model.pop(name)) if name else _GRAPH


def _hyperparameters(model: dict[str, Any]) -> dict[str, Any]:
    """What MLM calls so; it leaves `model`."""
    if model["kind"] == "onnx":  # it has none, and MLM wants one at least
        return {}
    if model["kind"] == "forest":
        return {"mlm:hyperparameters": {"features": model.pop("features")}}
    if model["kind"] == "detector":
        return {"mlm:hyperparameters": {"encoder": model.pop("encoder")}}
    told = {"encoder": model.pop("encoder"), **model.pop("options")}
    return {"mlm:hyperparameters": told}


def card_of(item: JsonValue) -> Card:
    """The card that an Item of `item_of` tells; what others added to it is passed over. Of an Item
    that another program wrote, what `foreign_fields` finds.

    Raises `InputError` in one line for anything else, without the name of the file, which is not
    known here.
    """
    found = JsonAt(item)
    properties = found["properties"]
    if not any(name.startswith(_OURS) for name in properties.mapping()):
        return _validate(foreign_fields(found))
    _check_ours(properties)
    entry, out = properties["mlm:input"].only(), properties["mlm:output"].only()
    model = dict(properties["landweave:model"].mapping())
    kind = KINDS.get(str(model.get("kind")))
    if kind is None:
        raise InputError(f"landweave:model.kind is none of {', '.join(KINDS)}")
    if kind is not KINDS["onnx"]:
        model |= _model_in(properties, str(model["kind"]))
    asset = found["assets"]["weights"]
    if asset["href"].value not in (f"./{kind.weights}", kind.weights):
        raise InputError(f"assets.weights.href is not {kind.weights}, which lies beside the card")
    checksum = str(asset.mapping().get("file:checksum", _MULTIHASH_SHA256))
    if not checksum.startswith(_MULTIHASH_SHA256):
        raise InputError("assets.weights.file:checksum is no SHA-256")
    fields = {
        "name": found["id"].value,
        "bands": _bands_of(asset["raster:bands"], entry),
        "gsd": properties["gsd"].value,
        "legend": {"classes": [_class_of(one) for one in out["classification:classes"].each()]},
        "model": model,
        "training": {
            **properties["landweave:training"].mapping(),
            **_place_of(found),
            **_time_of(properties),
        },
        "metrics": properties["landweave:metrics"].value,
        "licence": properties.mapping().get("landweave:licence", properties["license"].value),
        "sha256": checksum.removeprefix(_MULTIHASH_SHA256),
        "size": asset["file:size"].value,
    }
    return _validate(fields)


def _validate(fields: Mapping[str, Any]) -> Card:
    try:
        return Card.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{place}: {first['msg']}" if place else first["msg"]) from error


def _model_in(properties: JsonAt, kind: str) -> dict[str, Any]:
    """What MLM's own properties tell of a model."""
    further = dict(properties["mlm:hyperparameters"].mapping())
    architecture = properties["mlm:architecture"].value
    if kind == "network":
        encoder = further.pop("encoder", None)
        return {"architecture": architecture, "encoder": encoder, "options": further}
    model = {_ARCHITECTURES[kind]: architecture, **further}
    if "mlm:framework_version" in properties.mapping():
        model["sklearn"] = properties["mlm:framework_version"].value
    return model


# -------------------------------------------------------------------------------------- card → item


def _mlm_name(name: str) -> str:
    """The name, with what the extension does not allow in one left out; the item's id has all of
    it."""
    if _MLM_NAME.fullmatch(name):
        return name
    return f"model {re.sub('[^a-zA-Z0-9]+', '-', name).strip('-') or 'unnamed'}"


def _band(band: dict[str, Any], *, statistics: bool) -> dict[str, Any]:
    """A band in STAC's words. Where a mean and deviation are no z-scores of the input by
    themselves they are statistics."""
    told: dict[str, Any] = {"name": band["name"], "unit": band["units"]}
    if band["dtype"]:
        told["data_type"] = band["dtype"]
    if statistics:
        told["statistics"] = {"mean": band["mean"], "stddev": band["std"]}
    if band["quantiles"]:
        told["landweave:quantiles"] = band["quantiles"]
    return told


def _input(card: Card) -> dict[str, Any]:
    network = card.model.kind != "forest"
    padding = ", ".join(f"{number:g}" for number in card.preprocessing.padding)
    told: dict[str, Any] = {
        "name": "chip",
        "description": (
            "A window of a scene whose lengths, and where there is a support its origin, are "
            "multiples of the stride; "
            f"pixels without data and beyond the scene are {padding} after scaling."
            if network
            else "A window of a scene; what lies beyond it or has no data is left out."
        ),
        "bands": list(card.band_names),
        "input": {
            "shape": [-1, len(card.bands), *_lengths(card)],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
    }
    if network and not has_z_scores(card):
        told["pre_processing_function"] = {
            "format": "text",
            "expression": describe_input(card.preprocessing),
        }
    elif network:
        told["value_scaling"] = [
            {"type": "z-score", "mean": band.mean, "stddev": band.std} for band in card.bands
        ]
    return told


def _lengths(card: Card) -> list[int]:
    """Height and width of its chips, -1 where they are free."""
    size = card.model.size if card.model.kind == "onnx" else None
    return [-1, -1] if size is None else [size, size]


def _output(card: Card) -> dict[str, Any]:
    return {
        "name": "scores",
        "description": describe_output(card),
        "tasks": [_task(card)],
        "result": {
            "shape": [-1, card.channels, *_lengths(card)],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": one.value,
                # Letters, digits, - and _ only: for programs. People read the description.
                "name": re.sub("[^0-9a-z]+", "-", one.name.lower()).strip("-")
                or f"class-{one.value}",
                "description": one.name,
                "color_hint": one.colour.removeprefix("#"),
                **({"landweave:parent": one.parent} if one.parent else {}),
            }
            for one in card.legend.each()
        ],
    }


def _pop_geometry(training: dict[str, Any]) -> dict[str, Any]:
    """The item's geometry and, if it is known, bbox; what says so leaves `training`."""
    box = training.get("bbox")
    if not (
        isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
    ):
        return {"geometry": None}
    west, south, east, north = box
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        return {"geometry": None}
    del training["bbox"]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"geometry": {"type": "Polygon", "coordinates": [ring]}, "bbox": box}


def _pop_interval(training: dict[str, Any]) -> dict[str, Any] | None:
    """The item's span of time, if it is known; what says so leaves `training`."""
    span = {name: training.get(name) for name in ALWAYS}
    if span == ALWAYS or not all(
        isinstance(at, str) and _INSTANT.fullmatch(at) for at in span.values()
    ):
        return None
    for name in span:
        del training[name]
    return span


# -------------------------------------------------------------------------------------- item → card


def _check_ours(properties: JsonAt) -> None:
    """Refuse what a newer version of this program wrote."""
    version = properties["landweave:format"].value
    if type(version) is not int or version < 1:
        raise InputError("properties.landweave:format is no version")
    if version > FORMAT:
        raise InputError(
            f"a newer Landweave wrote it (format {version}, this one reads up to {FORMAT})"
        )
    for name in properties.mapping():
        if name.startswith(_OURS) and name.removeprefix(_OURS) not in _FIELDS:
            raise InputError(f"format {FORMAT} has no properties.{name[:80]!r}")


def _bands_of(told: JsonAt, entry: JsonAt) -> list[dict[str, Any]]:
    """Fields of each band, in the order of the model's channels."""
    scaled = "value_scaling" in entry.mapping()
    known = told.each()
    if [band.value for band in entry["bands"].each()] != [band["name"].value for band in known]:
        raise InputError(f"{told.path} and {entry.path}.bands do not name the same bands")
    scales = entry["value_scaling"].each() if scaled else [band["statistics"] for band in known]
    if len(scales) != len(known) or any(
        scaled and scale["type"].value != "z-score" for scale in scales
    ):
        raise InputError(f"{entry.path}.value_scaling is not a z-score for each band")
    return [
        {
            "name": band["name"].value,
            "units": band["unit"].value,
            "dtype": band.mapping().get("data_type", ""),
            "mean": scale["mean"].value,
            "std": scale["stddev"].value,
            "quantiles": band.mapping().get("landweave:quantiles", ()),
        }
        for band, scale in zip(known, scales, strict=True)
    ]


def _class_of(one: JsonAt) -> dict[str, Any]:
    return {
        "value": one["value"].value,
        "name": one["description"].value,
        "colour": f"#{one['color_hint'].value}",
        "parent": one.mapping().get("landweave:parent", ""),
    }


def _place_of(item: JsonAt) -> dict[str, Any]:
    return {"bbox": item["bbox"].value} if "bbox" in item.mapping() else {}


def _time_of(properties: JsonAt) -> dict[str, Any]:
    span = {name: properties[name].value for name in ALWAYS}
    return {} if span == ALWAYS else span
