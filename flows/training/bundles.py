"""What trained models there are and what each one is; and foreign weights made into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.requests.request import number, words
from flows.settings import explained as explained_settings
from flows.settings import nearest
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import CARD, Bundle, load, names, read_card
from segmentation.models.card import BandCard, Card, NetworkModel
from segmentation.models.hub import fetched, fetched_foreign, is_id
from segmentation.models.stac_mlm import item_of
from tiling.classmaps.legend import completed
from tiling.errors import Mistake


def opened(where: str) -> Bundle:
    """The bundle of that name, in that folder or with that id on the hub."""
    return load(fetched(where) if is_id(where) else where)


def found(places: Sequence[str]) -> tuple[Bundle, ...]:
    """The bundles that are at `places` or one folder below; without places those that come with the package."""
    if not places:
        return tuple(load(name) for name in names())
    bundles: list[Bundle] = []
    for place in places:
        below = sorted(card.parent for card in Path(place).glob(f"*/{CARD}")) if Path(place).is_dir() else []
        is_one = not below or (Path(place) / CARD).is_file()
        bundles += [opened(place)] if is_one else [load(folder) for folder in below]
    return tuple(bundles)


def architectures_there_are() -> dict[str, str]:
    """What `train` can make, by name, in one line each: forests, then networks."""
    from segmentation.forests.estimators import FORESTS
    from segmentation.networks.architectures import architectures

    return {name: forest.what for name, forest in FORESTS.items()} | architectures()


def check_architecture(name: str, *, networks_only: bool = False) -> None:
    """Raise `Mistake` where there is no architecture of that name, before any file is looked at; empty is none."""
    from segmentation.networks.architectures import architectures

    there = architectures() if networks_only else architectures_there_are()
    if name and name not in there:
        raise Mistake(f"there is no architecture {name!r}{nearest(name, there) or ';'} there are {', '.join(there)}")


def recipes() -> dict[str, list[dict[str, Any]]]:
    """What the settings of a training mean, of networks and of forests."""
    from segmentation.training.recipe import Recipe
    from segmentation.training.train_forest import ForestRecipe

    own = ("architecture", "encoder", "seed")  # options of their own
    return {
        what: explained_settings({name: one for name, one in recipe.model_fields.items() if name not in own})
        for what, recipe in (("networks", Recipe), ("forests", ForestRecipe))
    }


def overview(bundle: Bundle) -> dict[str, Any]:
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


def kind_of(card: Card) -> str:
    """Such as `unet on resnet18`."""
    if card.model.kind == "network":
        return f"{card.network.architecture} on {card.network.encoder}"
    return card.forest.estimator


def explained(bundle: Bundle) -> dict[str, str]:
    """What a person wants to know of a model before trusting it, but for its bands, classes and metrics."""
    card, training = bundle.card, dict(bundle.card.training)
    told = {"model": card.name, "what it is": kind_of(card), "pixel": f"{card.gsd:g} m"}
    if card.model.kind == "network":
        network = card.network
        reach = network.support
        told |= {
            "settings": ", ".join(f"{name} {_plain(value)}" for name, value in network.options.items()) or "none",
            "sees": "the whole chip"
            if reach is None
            else f"{reach.up} px up, {reach.down} down, {reach.left} left, {reach.right} right",
            "tile": f"{network.tile} px and {network.margin} px around it, "
            + ("blended with its neighbours" if reach is None else f"at multiples of {network.stride}"),
            "disagreement": f"{network.disagreement:.3%} of labels unlike those of the scene in one piece",
            "confidence": "not calibrated"
            if network.temperature == 1
            else f"calibrated, temperature {network.temperature:g}",
        }
    else:
        forest = card.forest
        told |= {
            "features": ", ".join(forest.features),
            "needs": f"scikit-learn {forest.sklearn}",
        }
    told |= {f"trained: {name}": _plain(value) for name, value in training.items()}
    return told | {
        "licence": card.licence,
        "weights": f"{card.size:,} bytes, sha256 {card.sha256}",
        "digest": bundle.digest,
        "folder": str(bundle.folder),
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


# ----------------------------------------------------------------------------------------------------------- converting


def source_of(where: str) -> Path:
    """The weights to convert, on this machine."""
    return fetched_foreign(where) if is_id(where) else Path(where)


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
    """The card of foreign weights: what the person says, else what a bundle `like` it says, else their own config.

    Raises `Mistake` in one line for what nobody says. What must be measured is not known yet.
    """
    from segmentation.interchange.import_checkpoint import smp_settings
    from segmentation.models.weights import SMP_CONFIG

    model = _like(like) if like else None
    own = smp_settings(source) if source.is_dir() and (source / SMP_CONFIG).is_file() else {}
    network = model.network if model else None
    architecture = architecture or own.get("architecture") or (network.architecture if network else "")
    encoder = encoder or own.get("encoder") or (network.encoder if network else "")
    check_architecture(architecture, networks_only=True)
    band_names = words(bands) or (model.band_names if model else ())
    legend = _legend(classes) if classes else model.legend if model else None
    gsd = gsd if gsd is not None else model.gsd if model else None
    known = {"--architecture": architecture, "--encoder": encoder, "--bands": band_names, "--classes": legend}
    known |= {"--mean": mean or (model and not bands), "--std": std or (model and not bands), "--gsd": gsd}
    if missing := [option for option, value in known.items() if not value]:
        raise Mistake(
            f"{source} does not say what it was trained as; add {', '.join(missing)}, or --like a bundle that does"
        )
    assert legend is not None
    if own and (own["bands"], own["classes"]) != (len(band_names), len(legend)):
        raise Mistake(
            f"{source / SMP_CONFIG} tells of {own['bands']} bands and {own['classes']} classes, and {len(band_names)} "
            f"bands and {len(legend)} classes are named; name each once, in the order of its channel"
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
        raise Mistake(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}, not {str(first['input'])[:80]!r}"
        ) from error


def _like(where: str) -> Card:
    return read_card(Path(where)) if Path(where).is_file() else opened(where).card


def _legend(texts: str | Sequence[str]) -> Legend:
    """NAME,… numbered from 1, or VALUE=NAME,…, in the order of the output channels."""
    rows = [word.rpartition("=") for word in words(texts)]
    values = [number("--classes", value, int) if equals else place for place, (value, equals, _) in enumerate(rows, 1)]
    colours = {value: colour for value, _, colour in completed((), values)}
    try:
        return Legend(
            classes=tuple(
                LandClass(value=value, name=name.strip(), colour=colours[value])
                for value, (_, _, name) in zip(values, rows, strict=True)
            )
        )
    except ValidationError as error:
        raise Mistake(
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
            raise Mistake(
                f"{option} {','.join(words(texts))}: {len(numbers)} numbers for {len(told)} bands; give one for each"
            )
        for band, value in zip(told, numbers, strict=False):
            band[field] = value
    said = {name: value for name, value in (("units", units), ("dtype", dtype)) if value}
    return tuple(BandCard(**{**band, **said}) for band in told)
