"""What a training starts from: weights of a bundle, as far as its shapes and classes follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segmentation.errors import InputError
from segmentation.legend import LandClass, Legend
from segmentation.models.card import Card
from segmentation.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

    from segmentation.models.bundle import Bundle


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
