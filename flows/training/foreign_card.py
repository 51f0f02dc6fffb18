"""The card of weights that another program trained, from what a person says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.parsing import number, words
from flows.requests.conversion import Conversion
from flows.requests.method import check_architecture
from flows.training.bundles import open_bundle
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import Bundle, read_card
from segmentation.models.card import BandCard, Card, NetworkModel, OnnxModel
from segmentation.models.hub import fetch_checkpoint, is_address, is_id, keep_address
from segmentation.models.processing import Activation, Preprocessing
from segmentation.models.weights import GRAPH, SMP_CONFIG
from tiling.classmaps.legend import with_default_rows
from tiling.errors import InputError


def source_of(where: str) -> Path:
    """The weights to convert, on this machine."""
    if is_id(where):
        return fetch_checkpoint(where)
    return keep_address(where) if is_address(where) else Path(where)


def card_for(source: Path, request: Conversion) -> Card:
    """The card of the weights in `source`: what the person says, else what their own config says,
    else a bundle that is named as like them.

    Raises `InputError` in one line for what nobody says. What must be measured is not known yet.
    """
    like = _read_like(request.like) if request.like else None
    config = _read_config(source)
    nature = _combine(request, config, like)
    _check_complete(source, nature, request, config, like)
    if config:
        _check_counts(source, nature, config)
    try:
        chips: dict[str, Any] = {
            "tile": nature.tile,
            "margin": 0,
            "stride": 1,
            "support": None,
            "preprocessing": _describe_preprocessing(request, like),
            "activation": _describe_activation(request, like),
            "zoom": request.zoom or (like.chips.zoom if like else 1),
        }
        return Card(
            name=request.name or source.stem or "converted",
            bands=_describe_bands(nature.band_names, request, config, like),
            gsd=float(nature.gsd or 0),
            legend=nature.legend,
            model=NetworkModel(
                architecture=nature.architecture,
                encoder=nature.encoder,
                options=nature.options,
                disagreement=1,
                **chips,
            )
            if nature.architecture
            else OnnxModel(input="unknown", output="unknown", **chips),
            training={},
            metrics={},
            licence=request.licence or "not stated",
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {str(first['input'])[:80]!r}"
        ) from error


def make_bundle(source: Path, card: Card, request: Conversion) -> Bundle:
    """The bundle of the weights in `source`, or of the graph that they are kept as."""
    if card.model.kind == "onnx":
        from segmentation.interchange.keep_graph import keep_graph

        return keep_graph(source, card, request.out, output=request.graph_output, tile=request.tile)
    from segmentation.interchange.import_checkpoint import convert

    return convert(source, card, request.out)


@dataclass(frozen=True)
class _Nature:
    """The shape of a network, what it sees and what it says; empty is what nobody knows. Of a graph
    that is kept nobody has to know its architecture."""

    architecture: str
    encoder: str
    options: dict[str, Any]
    tile: int
    band_names: tuple[str, ...]
    legend: Legend | None
    gsd: float | None


def _combine(request: Conversion, config: Mapping[str, Any], like: Card | None) -> _Nature:
    """What is known of weights, each fact from the first that says it: the person, their config, a
    card like theirs.

    Raises `InputError` where the architecture is none.
    """
    network = like.network if like and like.model.kind != "onnx" else None
    architecture = (
        request.architecture
        or config.get("architecture")
        or (network.architecture if network else "")
    )
    encoder = request.encoder or config.get("encoder") or (network.encoder if network else "")
    check_architecture(architecture, networks_only=True)
    of_like = dict(network.options) if network else {}
    return _Nature(
        architecture=architecture,
        encoder=encoder,
        options=dict(request.options) or config.get("options") or of_like,
        tile=request.tile or config.get("tile") or (like.chips.tile if like else 1024),
        band_names=words(request.bands)
        or (like.band_names if like else ())
        or config.get("band_names", ()),
        legend=_find_legend(request, config, like),
        gsd=request.gsd if request.gsd is not None else like.gsd if like else None,
    )


def _find_legend(
    request: Conversion, config: Mapping[str, Any], like: Card | None
) -> Legend | None:
    if request.classes or config.get("class_names"):
        return _read_legend(request.classes or config["class_names"])
    return like.legend if like else None


def _check_complete(
    source: Path, nature: _Nature, request: Conversion, config: Mapping[str, Any], like: Card | None
) -> None:
    """Raise `InputError` for what nobody says; bands of a card like theirs come with mean and
    deviation."""
    measured = "mean" in config or (like is not None and not request.bands)
    graph = source.suffix.lower() == GRAPH and not nature.architecture
    if graph and (nature.encoder or nature.options):
        raise InputError(
            f"{source} is kept as the graph it is where no --architecture is named; leave "
            f"{'--encoder' if nature.encoder else '--set'} out, or name one"
        )
    if request.graph_output and not graph:
        raise InputError(
            f"--graph-output {request.graph_output} is for an ONNX file that is kept as a graph; "
            "leave it out, or leave --architecture out"
        )
    values = {
        "--architecture": graph or nature.architecture,
        "--encoder": graph or nature.encoder,
        "--bands": nature.band_names,
        "--classes": nature.legend,
        "--mean": request.mean or measured,
        "--std": request.std or measured,
        "--gsd": nature.gsd,
    }
    if missing := [option for option, value in values.items() if not value]:
        raise InputError(
            f"{source} does not say what it was trained as; add {', '.join(missing)}, or --like a "
            "bundle that does"
        )


def _check_counts(source: Path, nature: _Nature, config: Mapping[str, Any]) -> None:
    """Raise `InputError` where a config counts other bands or classes than are named."""
    bands, classes = len(nature.band_names), len(nature.legend or ())
    if (config["bands"], config["classes"]) != (bands, classes):
        raise InputError(
            f"{source / SMP_CONFIG} tells of {config['bands']} bands and {config['classes']} "
            f"classes, and {bands} bands and {classes} classes are named; name each once, in the "
            "order of its channel"
        )


def _read_like(where: str) -> Card:
    """A card that lies in a file, or that of a bundle."""
    return read_card(Path(where)) if Path(where).is_file() else open_bundle(where).card


def _read_config(source: Path) -> dict[str, Any]:
    """What weights say of themselves; empty where they do not."""
    from segmentation.interchange.import_checkpoint import published_settings

    return published_settings(source) if source.is_dir() and (source / SMP_CONFIG).is_file() else {}


def _read_legend(texts: Sequence[str]) -> Legend:
    """The classes of NAME,… numbered from 1, or of VALUE=NAME,…, in the order of the output
    channels."""
    rows = [word.rpartition("=") for word in words(texts)]
    values = [
        number("--classes", value, int) if equals else place
        for place, (value, equals, _) in enumerate(rows, 1)
    ]
    colours = {value: colour for value, _, colour in with_default_rows((), values)}
    try:
        return Legend(
            classes=tuple(
                LandClass(value=value, name=name.strip(), colour=colours[value])
                for value, (_, _, name) in zip(values, rows, strict=True)
            )
        )
    except ValidationError as error:
        raise InputError(
            f"--classes {','.join(words(texts))}: {error.errors()[0]['msg']}; "
            "write for example --classes 1=Water,2=Trees"
        ) from error


def _describe_bands(
    band_names: Sequence[str], request: Conversion, config: Mapping[str, Any], like: Card | None
) -> tuple[BandCard, ...]:
    """A band for each name; what a person does not say is as in their config, or, unless bands are
    named, as in those of `like`."""
    bands: list[dict[str, Any]] = [{"name": name} for name in band_names]
    if like is not None and not request.bands:
        bands = [band.model_dump() for band in like.bands]
    for field in ("mean", "std"):
        texts = getattr(request, field) or config.get(field, ())
        numbers = [number(f"--{field}", word, float) for word in words(texts)]
        if len(numbers) == 1:
            numbers *= len(bands)
        if texts and len(numbers) != len(bands):
            raise InputError(
                f"--{field} {','.join(words(texts))}: {len(numbers)} numbers for {len(bands)} "
                "bands; give one for each, or one for all"
            )
        for band, value in zip(bands, numbers, strict=False):
            band[field] = value
    bits = "mean" in config and not (request.mean or request.std)
    of_all = {
        "units": request.units or ("dn" if bits else None),
        "dtype": request.dtype or ("uint8" if bits else ""),
    }
    common = {name: value for name, value in of_all.items() if value}
    return tuple(BandCard(**{**band, **common}) for band in bands)


def _describe_preprocessing(request: Conversion, like: Card | None) -> Preprocessing:
    """What is done to pixels before a network sees them: what a person says, else as `like`."""
    said = {
        "normalisation": request.normalisation,
        "percentiles": _numbers("percentiles", request.percentiles),
        "factor": request.scale,
        "offset": request.offset,
        "padding": _numbers("padding", request.padding),
    }
    return Preprocessing.model_validate(_over(like.preprocessing if like else None, said))


def _describe_activation(request: Conversion, like: Card | None) -> Activation:
    """How a network's channels become classes: what a person says, else as `like`."""
    said = {
        "function": request.activation,
        "thresholds": _numbers("threshold", request.threshold),
        "in_network": request.probabilities or None,
        "several": request.several,
    }
    return Activation.model_validate(_over(like.activation if like else None, said))


def _over(like: Preprocessing | Activation | None, said: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in said.items() if value not in (None, ())}
    return {**(like.model_dump() if like else {}), **told}


def _numbers(option: str, texts: Sequence[str]) -> tuple[float, ...]:
    return tuple(number(f"--{option}", word, float) for word in words(texts))
