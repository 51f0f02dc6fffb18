"""The card of weights that another program trained, from what a person says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.parsing import number, words
from flows.requests.recipes import check_architecture
from flows.training.bundles import open_bundle
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import read_card
from segmentation.models.card import BandCard, Card, NetworkModel
from segmentation.models.hub import fetch_checkpoint, is_id
from tiling.classmaps.legend import with_default_rows
from tiling.errors import InputError


def source_of(where: str) -> Path:
    """The weights to convert, on this machine."""
    return fetch_checkpoint(where) if is_id(where) else Path(where)


def card_for(
    source: Path,
    *,
    like: str = "",
    architecture: str = "",
    encoder: str = "",
    options: Mapping[str, Any] | None = None,
    bands: str | Sequence[str] = "",
    classes: str | Sequence[str] = "",
    mean: str | Sequence[str] = "",
    std: str | Sequence[str] = "",
    units: str = "",
    dtype: str = "",
    gsd: float | None = None,
    name: str = "",
    licence: str = "",
) -> Card:
    """The card of foreign weights: what the person says, else what a bundle `like` it says, else
    their own config.

    Raises `InputError` in one line for what nobody says. What must be measured is not known yet.
    """
    from segmentation.interchange.import_checkpoint import smp_settings
    from segmentation.models.weights import SMP_CONFIG

    model = _like(like) if like else None
    own = smp_settings(source) if source.is_dir() and (source / SMP_CONFIG).is_file() else {}
    network = model.network if model else None
    architecture = (
        architecture or own.get("architecture") or (network.architecture if network else "")
    )
    encoder = encoder or own.get("encoder") or (network.encoder if network else "")
    check_architecture(architecture, networks_only=True)
    band_names = words(bands) or (model.band_names if model else ())
    legend = _legend(classes) if classes else model.legend if model else None
    gsd = gsd if gsd is not None else model.gsd if model else None
    known = {
        "--architecture": architecture,
        "--encoder": encoder,
        "--bands": band_names,
        "--classes": legend,
    }
    known |= {
        "--mean": mean or (model and not bands),
        "--std": std or (model and not bands),
        "--gsd": gsd,
    }
    if missing := [option for option, value in known.items() if not value]:
        raise InputError(
            f"{source} does not say what it was trained as; add {', '.join(missing)}, or --like a "
            "bundle that does"
        )
    assert legend is not None
    if own and (own["bands"], own["classes"]) != (len(band_names), len(legend)):
        raise InputError(
            f"{source / SMP_CONFIG} tells of {own['bands']} bands and {own['classes']} classes, "
            f"and {len(band_names)} "
            f"bands and {len(legend)} classes are named; name each once, in the order of its "
            "channel"
        )
    chosen = dict(options or {}) or own.get("options") or (dict(network.options) if network else {})
    try:
        return Card(
            name=name or source.stem or "converted",
            bands=_bands(band_names, model if not bands else None, mean, std, units, dtype),
            gsd=float(gsd or 0),
            legend=legend,
            model=NetworkModel(
                architecture=architecture,
                encoder=encoder,
                options=chosen,
                tile=network.tile if network else 1024,
                margin=0,
                stride=1,
                support=None,
                disagreement=1,
            ),
            training={},
            metrics={},
            licence=licence or "not stated",
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {str(first['input'])[:80]!r}"
        ) from error


def _like(where: str) -> Card:
    return read_card(Path(where)) if Path(where).is_file() else open_bundle(where).card


def _legend(texts: str | Sequence[str]) -> Legend:
    """NAME,… numbered from 1, or VALUE=NAME,…, in the order of the output channels."""
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


def _bands(
    band_names: Sequence[str],
    like: Card | None,
    mean: str | Sequence[str],
    std: str | Sequence[str],
    units: str,
    dtype: str,
) -> tuple[BandCard, ...]:
    """A band for each name; what is not said is as in the bands of `like`, where there is one."""
    told: list[dict[str, Any]] = [{"name": name} for name in band_names]
    if like is not None:
        told = [band.model_dump() for band in like.bands]
    for option, field, texts in (("--mean", "mean", mean), ("--std", "std", std)):
        numbers = [number(option, word, float) for word in words(texts)]
        if texts and len(numbers) != len(told):
            raise InputError(
                f"{option} {','.join(words(texts))}: {len(numbers)} numbers for {len(told)} "
                "bands; give one for each"
            )
        for band, value in zip(told, numbers, strict=False):
            band[field] = value
    said = {name: value for name, value in (("units", units), ("dtype", dtype)) if value}
    return tuple(BandCard(**{**band, **said}) for band in told)
