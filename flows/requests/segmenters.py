"""The segmenter a person asks for: by kind, bundle, or settings."""

from __future__ import annotations

import csv
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

import segmentation.errors
from flows.parsing import explain_settings, nearest, read_settings, short_repr
from segmentation.models.bundle import load, names
from segmentation.models.hub import no_progress
from segmentation.models.known_models import (
    KnownEncoder,
    KnownFile,
    KnownModel,
    cached_known,
    encoder_names,
    known_encoder,
    known_model,
    known_names,
)
from segmentation.models.weights import refuse_checkpoint
from segmentation.registry import kinds, segmenter_class
from segmentation.segmenter import Segmenter
from segmentation.segmenter import settings as settings_of_kind
from tiling.errors import InputError
from tiling.io.access import current

KINDS: Mapping[str, str] = {"forest": "Random forest", "onnx": "ONNX graph"}
"""What a kind of segmenter is called where its class says too little."""


def segmenter_from(kind: str, settings: Mapping[str, Any]) -> Segmenter:
    """A segmenter by kind and settings; `InputError` in one line where they do not fit."""
    if kind not in kinds():
        models = ", ".join(names())
        raise InputError(
            f"there is no segmenter {kind!r}; installed are {', '.join(kinds())}, and the model "
            f"{models}" + nearest(kind, (*kinds(), *names(), *known_names()))
        )
    chosen = segmenter_class(kind)
    try:
        return chosen.model_validate({"kind": kind, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fields = settings_of_kind(chosen)
        if first["type"] == "extra_forbidden":
            close = nearest(name, fields) or ";"
            raise InputError(
                f"segmenter {kind} has no setting {name}{close} its settings are "
                f"{', '.join(fields)}"
            ) from error
        if first["type"] == "missing":
            raise InputError(
                f"segmenter {kind} needs {name}; say so with --set {name}=…"
            ) from error
        said = f"{name}={short_repr(first['input'])}: " if name else ""
        raise InputError(
            f"segmenter {kind}: {said}{first['msg']}; `landweave segmenters {kind}` explains its "
            "settings"
        ) from error


def choose_segmenter(name: str, settings: Mapping[str, Any]) -> Segmenter:
    """The segmenter a person named: a kind, a model (name, folder, id), a YAML file, or a table of
    spectra; settings are laid over it."""
    if name.startswith("hf://"):
        from segmentation.models.hub import fetch_bundle

        name = str(fetch_bundle(name))
    elif name in known_names() and not Path(name).is_dir():
        name = str(fetch_known(name))
    path = Path(name)
    if name in encoder_names() and not path.is_dir():
        raise InputError(
            f"{name} is an encoder, which knows no classes; train a model on it: landweave train "
            f"SCENE --labels FILE --weights {name} --out DIR"
        )
    if path.suffix in (".yaml", ".yml"):
        loaded = read_settings(path, "kind: rules")
        if "kind" not in loaded:
            raise InputError(f"{name} must be a mapping with a kind, for example kind: rules")
        kind = str(loaded.pop("kind"))
        return segmenter_from(kind, {**loaded, **settings})
    if path.suffix == ".csv":
        return segmenter_from("spectral-angle", {"spectra": read_spectra(path), **settings})
    # a run in a folder called rules is no model
    if name in names() or (path.is_dir() and name not in kinds()):
        kind = load(name).card.model.kind
        if kind == "detector":
            raise InputError(
                f"{name} finds objects and has no class for every pixel; give it to landweave "
                "objects --method mask-rcnn --detector"
            )
        return segmenter_from(kind, {"bundle": name, **settings})
    refuse_checkpoint(path)
    return segmenter_from(name, settings)


def fetch_known(name: str, progress: Callable[[str, int, int], None] = no_progress) -> Path:
    """The folder of a known model's bundle, fetched unless it is in the cache.

    A form fetches only from hosts that whoever runs the server allows, and starts no pip at all.
    Raises `InputError` in one line where it may not, or cannot.
    """
    known = known_model(name)
    try:
        return cached_known(name)
    except segmentation.errors.InputError as mistake:
        _check_host(known, mistake)
    from segmentation.interchange.fetch_known import fetch_known as fetch

    return fetch(known, progress)


def fetch_encoder(name: str, progress: Callable[[str, int, int], None] = no_progress) -> Path:
    """The file of a known encoder's weights, as `fetch_known` has a model's bundle."""
    from segmentation.interchange import encoder_weights

    known = known_encoder(name)
    try:
        return encoder_weights.cached_encoder(known)
    except segmentation.errors.InputError as mistake:
        _check_host(known, mistake)
    return encoder_weights.fetch_encoder(known, progress)


def _check_host(known: KnownModel | KnownEncoder, mistake: Exception) -> None:
    """Raise `InputError` where the host of a model's weights is out of this process's reach."""
    hosts = current().hosts
    if hosts is not None and (host := _host_of(known)) not in hosts:
        raise InputError(
            f"{known.name} is not on this machine, and this server does not fetch it from "
            f"{host or 'a package index'}; whoever runs it can: landweave models get {known.name}"
        ) from mistake


def _host_of(known: KnownFile) -> str:
    """The host that is asked; "" where pip decides."""
    if known.origin.kind == "hub":
        from huggingface_hub.constants import ENDPOINT

        return urlsplit(os.environ.get("HF_ENDPOINT") or ENDPOINT).hostname or ""
    return known.host


def read_spectra(path: Path) -> dict[str, dict[str, float]]:
    """Spectra by their names from a CSV file: a name in the first column, a band in each other.

    Raises `InputError` where the file is no such table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            comma = max(",;\t", key=first.count)
            table = [[word.strip() for word in row] for row in csv.reader(file, delimiter=comma)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    table = [row for row in table if any(row)]
    if len(table) < 2 or len(table[0]) < 3:
        raise InputError(
            f"{path} is no table of spectra: write a line of names, such as name,green,nir, and "
            "below it a line for each spectrum, such as Water,0.06,0.02"
        )
    (_, *bands), *rows = table
    spectra: dict[str, dict[str, float]] = {}
    for name, *values in rows:
        try:
            spectrum = {band: float(value) for band, value in zip(bands, values, strict=True)}
        except ValueError as error:
            raise InputError(
                f"{path}: {name or 'a spectrum without a name'} needs a number for each of "
                f"{', '.join(bands)}"
            ) from error
        if name in spectra:
            raise InputError(f"{path} has {name} twice; give each spectrum its own name")
        spectra[name] = spectrum
    return spectra


def kind_facts(kind: str) -> dict[str, Any]:
    """A kind of segmenter: what it is in a sentence and at length, its classes, and each of its
    settings.

    `InputError` where there is no such kind.
    """
    if kind in names():
        raise InputError(
            f"{kind} is a trained model, no kind of segmenter; landweave models {kind} explains it"
        )
    if kind not in kinds():
        raise InputError(
            f"there is no segmenter {kind!r}; installed are "
            f"{', '.join(kinds())}{nearest(kind, kinds())}"
        )
    chosen = segmenter_class(kind)
    described = inspect.cleandoc(chosen.__doc__ or "")
    return {
        "kind": kind,
        "summary": " ".join(described.partition("\n\n")[0].split()),
        "description": described,
        "classes": [
            {"name": name, "meaning": meaning} for name, meaning in chosen.meanings.items()
        ],
        "settings": explain_settings(settings_of_kind(chosen)),
    }
