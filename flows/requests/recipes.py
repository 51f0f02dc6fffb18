"""What can be trained: the architectures there are, and the recipe of settings that a person
named."""

from __future__ import annotations

from typing import Any

from flows.parsing import explain_settings, nearest, validate
from segmentation.forests.estimators import FORESTS
from segmentation.training.recipe import ForestRecipe, Recipe
from tiling.errors import InputError


def architectures_there_are() -> dict[str, str]:
    """A line on each architecture that `train` can make, by name: forests, then networks."""
    from segmentation.networks.architectures import architectures

    return {name: forest.what for name, forest in FORESTS.items()} | architectures()


def check_architecture(name: str, *, networks_only: bool = False) -> None:
    """Raise `InputError` where there is no architecture of that name, before any file is looked at;
    empty is none."""
    from segmentation.networks.architectures import architectures

    there = architectures() if networks_only else architectures_there_are()
    if name and name not in there:
        raise InputError(
            f"there is no architecture {name!r}{nearest(name, there) or ';'} there are "
            f"{', '.join(there)}"
        )


def recipes() -> dict[str, list[dict[str, Any]]]:
    """What the settings of a training mean, of networks and of forests."""
    own = ("architecture", "encoder", "seed")  # options of their own
    return {
        what: explain_settings(
            {name: one for name, one in recipe.model_fields.items() if name not in own}
        )
        for what, recipe in (("networks", Recipe), ("forests", ForestRecipe))
    }


def recipe_from(settings: dict[str, Any]) -> Recipe | ForestRecipe:
    """A recipe of settings that a person named; `InputError` in one line where they are none."""
    check_architecture(str(settings.get("architecture", "")))
    if settings.get("architecture") in FORESTS:
        return validate(ForestRecipe, **settings)
    return validate(Recipe, **settings)
