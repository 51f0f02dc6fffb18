"""What a training starts from: weights of a bundle, as far as its shapes and classes follow, or an
encoder that others taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from segmentation.errors import InputError
from segmentation.interchange.encoder_weights import TaughtEncoder, bands_as_taught, fill_encoder
from segmentation.legend import LandClass, Legend
from segmentation.models.bundle import Bundle
from segmentation.models.card import BandCard, Card
from segmentation.models.known_models import KnownEncoder
from segmentation.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

Start = Bundle | TaughtEncoder | Literal["imagenet"]
"""What a training may start from, but for nothing."""


def meet(one: object, other: object) -> bool:
    """Whether two boxes share a place: west, south, east and north, as `landweave train` writes
    them into a card."""
    match one, other:
        case [float(), float(), float(), float()], [float(), float(), float(), float()]:
            (w, s, e, n), (west, south, east, north) = one, other
            return max(w, west) < min(e, east) and max(s, south) < min(n, north)
    return False


def check_start(recipe: Recipe, weights: Bundle) -> None:
    """Raise `InputError` where a network is asked for that is not the one whose weights are
    given."""
    shape = weights.card.network
    named = {"architecture": recipe.architecture, "encoder": recipe.encoder}
    asked = {name: value for name, value in named.items() if value} | recipe.options
    there = {"architecture": shape.architecture, "encoder": shape.encoder, **shape.options}
    for name, value in asked.items():
        if value != there.get(name):
            raise InputError(
                f"{name} {value} was asked for, and of bundle {weights.card.name} it is "
                f"{there.get(name, 'the default')}; leave {name} or --weights out"
            )


def recipe_for(recipe: Recipe, known: KnownEncoder) -> Recipe:
    """The recipe of a network on that encoder, a U-Net where none is named; `InputError` where
    another encoder is asked for, or an architecture that has one of its own."""
    from segmentation.networks.architectures import ARCHITECTURES

    architecture = recipe.architecture or "unet"
    one = ARCHITECTURES.get(architecture)
    if recipe.encoder not in ("", known.encoder) or (one and one.encoder == "plain"):
        asked = recipe.encoder if recipe.encoder else f"the architecture {architecture}"
        raise InputError(
            f"--weights {known.name} are those of {known.encoder}, and {asked} was asked for; "
            f"leave it out, or name an architecture on encoders, such as unet"
        )
    return recipe.model_copy(update={"architecture": architecture, "encoder": known.encoder})


def bands_to_start(bands: tuple[BandCard, ...], start: Start | None) -> tuple[BandCard, ...]:
    """Bands of the labelled scenes, normalised as what a training starts from has learnt them."""
    if isinstance(start, TaughtEncoder):
        return bands_as_taught(bands, start.known)
    if not isinstance(start, Bundle):
        return bands
    known = {band.name: band for band in start.card.bands}
    return tuple(
        band.model_copy(update={"mean": known[band.name].mean, "std": known[band.name].std})
        if band.name in known and known[band.name].units == band.units
        else band
        for band in bands
    )


def facts_of_start(start: Start | None) -> dict[str, object]:
    """What a card says of what its network started from."""
    if isinstance(start, TaughtEncoder):
        known = start.known
        return {
            "started from": {
                "encoder": known.name, "sha256": known.sha256, "licence": known.licence,
                "citation": known.citation,
            }
        }  # fmt: skip
    if isinstance(start, Bundle):
        return {"started from": {"model": start.card.name, "digest": start.digest}}
    return {}


def state_on_encoder(
    model: torch.nn.Module, card: Card, taught: TaughtEncoder
) -> dict[str, torch.Tensor]:
    """The state of a new network with an encoder that others taught: its tensors as they are in
    their file."""
    state, before = model.state_dict(), "encoder."
    expected = {
        name.removeprefix(before): tensor
        for name, tensor in state.items()
        if name.startswith(before)
    }
    filled = fill_encoder(expected, card.band_names, taught)
    return state | {before + name: tensor for name, tensor in filled.items()}


def initial_state(model: torch.nn.Module, card: Card, weights: Bundle) -> dict[str, torch.Tensor]:
    """The state of a new network with what an old one of the same architecture has learnt.

    A convolution that looks at the bands takes over their filters by name; a new band starts from
    the mean of the old ones. Layers that say classes start anew where the classes differ, all
    others are taken over. Raises `InputError` where the weights are not those of the old one's
    card.
    """
    import torch

    from segmentation.networks.restore import load_network

    old, state = load_network(weights).state_dict(), model.state_dict()
    looking, saying = _shapes_that_follow(card, state)
    same_classes = [one.name for one in weights.card.legend.classes] == [
        one.name for one in card.legend.classes
    ]
    places = {name: n for n, name in enumerate(weights.card.band_names)}
    for name, fresh in state.items():
        given = old[name].to(fresh.dtype)
        if name in saying and not same_classes:
            continue
        if name in looking:
            mean = given.mean(1)
            given = torch.stack(
                [given[:, places[b]] if b in places else mean for b in card.band_names], 1
            )
        state[name] = given
    return state


def _shapes_that_follow(card: Card, state: dict[str, torch.Tensor]) -> tuple[set[str], set[str]]:
    """Parameters that have another shape with one more band, and with one more class."""
    from segmentation.networks.architectures import build

    extra = card.bands[0].model_copy(update={"name": "one more"})
    free = next(value for value in range(1, 255) if value not in card.legend.values)
    classes = (*card.legend.classes, LandClass(value=free, name="one more", colour="#000000"))
    found = []
    for changed in ({"bands": (*card.bands, extra)}, {"legend": Legend(classes=classes)}):
        other = build(card.model_copy(update=changed)).state_dict()
        found.append({name for name, tensor in state.items() if other[name].shape != tensor.shape})
    return found[0], found[1]
