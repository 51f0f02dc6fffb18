"""The card of a STAC Item that another program wrote, as far as MLM's own words suffice.

They tell bands, their scaling, classes and the architecture. What they have no word for is looked
for where others put it, and is otherwise named as missing, all in one line.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable
from typing import Any

from segmentation.errors import InputError
from segmentation.models.json_value import JsonAt

_ENCODER = ("encoder", "encoder_name", "backbone")
"""Hyperparameters that name an encoder, by what libraries call it."""

_TURN = 0.618034
"""Of the colour wheel, between two classes without a colour: the golden section keeps any number
of them apart."""

_SCALINGS: dict[str, Callable[[JsonAt], tuple[Any, Any]]] = {
    "z-score": lambda one: (one["mean"].value, one["stddev"].value),
    "min-max": lambda one: (
        one["minimum"].value,
        _number(one["maximum"]) - _number(one["minimum"]),
    ),
    "offset": lambda one: (one["value"].value, 1.0),
    "scale": lambda one: (0.0, one["value"].value),
}
"""MLM's value scalings that are (value - mean) / std, and what is mean and std then.
https://github.com/stac-extensions/mlm#value-scaling-object"""


def foreign_fields(item: JsonAt) -> dict[str, Any]:
    """The fields of a card that an Item of another program tells.

    What must be measured is not known: the network is taken to look at its whole chip. Digital
    numbers are what bands hold unless the Item says reflectance. Class values move up by one where
    there is a 0, which is no data here. Raises `InputError` in one line for what is missing or has
    no counterpart.
    """
    properties = item["properties"]
    entry, out = properties["mlm:input"].only(), properties["mlm:output"].only()
    facts = {
        "mlm:architecture": properties.mapping().get("mlm:architecture"),
        f"an encoder in mlm:hyperparameters ({', '.join(_ENCODER)})": _encoder(properties),
        "gsd": properties.mapping().get("gsd"),
        "mlm:input.bands": entry.mapping().get("bands"),
        "mlm:input.value_scaling": entry.mapping().get("value_scaling"),
        "mlm:output.classification:classes": out.mapping().get("classification:classes"),
    }
    if missing := [name for name, value in facts.items() if value in (None, [])]:
        raise InputError(f"another program wrote it, and it does not say {', '.join(missing)}")
    if entry.mapping().get("pre_processing_function"):
        raise InputError(
            f"{entry.path}.pre_processing_function is a program, and none from an item is run; "
            "say what it does in a card of Landweave's"
        )
    architecture, encoder, gsd = list(facts.values())[:3]
    classes = _classes(out["classification:classes"])
    return {
        "name": item["id"].value,
        "bands": _bands(item, entry),
        "gsd": gsd,
        "legend": {"classes": classes},
        "model": {
            "kind": "network",
            "architecture": re.sub("[^a-z0-9]", "", str(architecture).lower().replace("+", "plus")),
            "encoder": encoder,
            "margin": 256,
            "support": None,
            "disagreement": 1,
            **_activation(out, len(classes)),
        },
        "training": {},
        "metrics": {},
        "licence": properties.mapping().get("license", "not stated"),
    }


def _number(at: JsonAt) -> float:
    if type(at.value) not in (int, float):
        raise InputError(f"{at.path} is no number")
    return float(at.value)


def _encoder(properties: JsonAt) -> Any:
    if "mlm:hyperparameters" not in properties.mapping():
        return None
    known = properties["mlm:hyperparameters"].mapping()
    return next((known[name] for name in _ENCODER if name in known), None)


def _bands(item: JsonAt, entry: JsonAt) -> list[dict[str, Any]]:
    """Fields of each band, by its common name where one is said anywhere in the item."""
    told: dict[str, dict[str, Any]] = {}
    assets = item["assets"].mapping() if "assets" in item.mapping() else {}
    for place in (item["properties"].mapping(), *assets.values()):
        for field in ("bands", "eo:bands", "raster:bands"):
            listed = place.get(field) if isinstance(place, dict) else None
            for band in listed if isinstance(listed, list) else ():
                if isinstance(band, dict) and "name" in band:
                    told.setdefault(str(band["name"]), {}).update(band)
    names = [
        one["name"].value if isinstance(one.value, dict) else one.value
        for one in entry["bands"].each()
    ]
    scales = entry["value_scaling"].each()
    if len(scales) not in (1, len(names)):
        raise InputError(f"{entry.path} has {len(scales)} value_scaling for {len(names)} bands")
    fields = []
    for name, scale in zip(names, scales * len(names) if len(scales) == 1 else scales, strict=True):
        known = told.get(str(name), {})
        mean, std = _scaling(scale)
        fields.append(
            {
                "name": known.get("eo:common_name", known.get("common_name", name)),
                "units": "reflectance" if known.get("unit") == "reflectance" else "dn",
                "mean": mean,
                "std": std,
            }
        )
    return fields


def _scaling(scale: JsonAt) -> tuple[Any, Any]:
    """Mean and std of one value scaling."""
    kind = str(scale["type"].value)
    if kind not in _SCALINGS:
        raise InputError(
            f"{scale.path} is a {kind[:40]!r}, and a band here is scaled by one of "
            f"{', '.join(_SCALINGS)}"
        )
    return _SCALINGS[kind](scale)


def _classes(listed: JsonAt) -> list[dict[str, Any]]:
    """Fields of each class, in the order of the channels."""
    every = listed.each()
    values = [one["value"].value for one in every]
    up = 1 if 0 in values else 0
    classes = []
    for place, (one, value) in enumerate(zip(every, values, strict=True)):
        known = one.mapping()
        colour = "".join(
            f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(place * _TURN % 1, 0.55, 0.8)
        )
        name = known.get("title") or known.get("name") or known.get("description")
        classes.append(
            {
                "value": value + up if type(value) is int else value,
                "name": name,
                "colour": f"#{str(known.get('color_hint') or colour).lower()}",
            }
        )
    return classes


def _activation(out: JsonAt, classes: int) -> dict[str, Any]:
    """What the shape of the result shows: a channel for each class, or one less, which is a
    sigmoid's."""
    shape, order = out["result"]["shape"].each(), out["result"]["dim_order"].each()
    named = {str(dim.value): size.value for dim, size in zip(order, shape, strict=False)}
    channels = named.get("class", named.get("channel", named.get("channels", classes)))
    if channels == classes:
        return {}
    if channels == classes - 1:
        return {"activation": {"function": "sigmoid"}}
    raise InputError(f"{out.path} has {channels} channels for {classes} classes")
