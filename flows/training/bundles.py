"""What trained models there are and what each one is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.requests.segmenters import fetch_known
from segmentation.models.bundle import CARD, Bundle, load, names
from segmentation.models.card import Card, DetectorModel, NetworkModel, OnnxModel
from segmentation.models.hub import fetch_bundle, is_id
from segmentation.models.known_models import known_encoder, known_model, known_names
from segmentation.models.stac_mlm import item_of


def open_bundle(where: str) -> Bundle:
    """The bundle of that name, in that folder or with that id on the hub; a known model is fetched
    on first use."""
    if where in known_names() and not Path(where).is_dir():
        return load(fetch_known(where))
    return load(fetch_bundle(where) if is_id(where) else where)


def find_bundles(places: Sequence[str]) -> tuple[Bundle, ...]:
    """The bundles that are at `places` or one folder below; without places those that come with the
    package."""
    if not places:
        return tuple(load(name) for name in names())
    bundles: list[Bundle] = []
    for place in places:
        below = (
            sorted(card.parent for card in Path(place).glob(f"*/{CARD}"))
            if Path(place).is_dir()
            else []
        )
        is_one = not below or (Path(place) / CARD).is_file()
        bundles += [open_bundle(place)] if is_one else [load(folder) for folder in below]
    return tuple(bundles)


def bundle_summary(bundle: Bundle) -> dict[str, Any]:
    """A bundle in one line: plain values by title."""
    card = bundle.card
    return {
        "model": card.name,
        "what it is": kind_of(card),
        "bands": ", ".join(card.band_names),
        "classes": len(card.legend),
        "pixel": f"{card.gsd:g} m",
        "licence": card.licence,
        "folder": str(bundle.folder),
    }


def known_summary(name: str) -> dict[str, Any]:
    """A known model in one line: plain values by title."""
    known = known_model(name)
    card = known.card
    return {
        "model": name,
        "what it sees": known.sees,
        "bands": ", ".join(card.band_names),
        "pixel": f"{card.gsd:g} m",
        "licence": card.licence,
        "to fetch": f"{sum(one.size for one in known.files) / 2**20:.0f} MB",
    }


def encoder_summary(name: str) -> dict[str, Any]:
    """A known encoder in one line: plain values by title."""
    known = known_encoder(name)
    return {
        "encoder": name,
        "what it learnt from": known.sees,
        "is a": known.encoder,
        "licence": known.licence,
        "to fetch": f"{known.size / 2**20:.0f} MB",
    }


def known_record(name: str) -> dict[str, Any]:
    """All there is to say of a known model, for programs."""
    known = known_model(name)
    return known.model_dump(mode="json", exclude={"card"}) | {
        "name": name,
        "item": item_of(known.card),
    }


def kind_of(card: Card) -> str:
    """A model's architecture in words, such as `unet on resnet18`."""
    if card.model.kind == "onnx":
        return "ONNX graph"
    if card.model.kind == "forest":
        return card.forest.estimator
    if card.model.kind == "detector":
        return f"{card.detector.architecture} on {card.detector.encoder}"
    network = f"{card.network.architecture} on {card.network.encoder}"
    return network + (f" and {card.beside.estimator}" if card.beside else "")


def bundle_details(bundle: Bundle) -> dict[str, str]:
    """What a person wants to know of a model before trusting it, but for its bands, classes and
    metrics."""
    card, training = bundle.card, dict(bundle.card.training)
    told = {"model": card.name, "what it is": kind_of(card), "pixel": f"{card.gsd:g} m"}
    if card.model.kind == "detector":
        told |= _detector_details(card.detector)
    elif card.model.kind != "forest":
        told |= _setting_details(card) | _chip_details(card.chips)
    if card.model.kind == "forest" or card.beside is not None:
        told |= {
            "features": ", ".join(card.forest.features),
            "needs": f"scikit-learn {card.forest.sklearn}",
        }
    told |= {f"trained: {name}": _plain(value) for name, value in training.items()}
    return told | {
        "licence": card.licence,
        "weights": f"{card.size:,} bytes, sha256 {card.sha256}",
        "digest": bundle.digest,
        "folder": str(bundle.folder),
    }


def _setting_details(card: Card) -> dict[str, str]:
    """What there is to say of a network's parts, or of what goes into a graph and comes out."""
    if card.model.kind == "onnx":
        graph = card.graph
        lengths = "any size" if graph.size is None else f"{graph.size} px"
        return {"graph": f"chips of {lengths} at {graph.input}, answers at {graph.output}"}
    options = card.network.options.items()
    return {"settings": ", ".join(f"{name} {_plain(value)}" for name, value in options) or "none"}


def _detector_details(model: DetectorModel) -> dict[str, str]:
    """How a detector looks at a scene, and how large its objects are."""
    sides = ", ".join(f"{side:g}" for side in model.anchors)
    return {
        "tile": f"{model.tile} px and {model.margin} px around it",
        "boxes": f"from sides of {sides} px, shrunk, grown and moved",
    }


def _chip_details(chips: NetworkModel | OnnxModel) -> dict[str, str]:
    """How far it looks, how a scene is cut for it, and what that does."""
    reach = chips.support
    cut = "blended with its neighbours" if reach is None else f"at multiples of {chips.stride}"
    share = chips.disagreement
    return {
        "sees": "the whole chip"
        if reach is None
        else f"{reach.up} px up, {reach.down} down, {reach.left} left, {reach.right} right",
        "tile": f"{chips.tile} px and {chips.margin} px around it, {cut}",
        "disagreement": "unknown: it takes no other chips"
        if share is None
        else f"{share:.3%} of labels unlike those of the scene in one piece",
        "confidence": "not calibrated"
        if chips.temperature == 1
        else f"calibrated, temperature {chips.temperature:g}",
    }


def record(bundle: Bundle) -> dict[str, Any]:
    """All there is to say of a bundle, for programs: its STAC Item, where it is, and its digest."""
    return {"folder": str(bundle.folder), "digest": bundle.digest, "item": item_of(bundle.card)}


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return str(value)
