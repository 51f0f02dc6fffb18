"""What is asked of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from flows.requests.source import Source
from segmentation.forests.estimators import FORESTS
from segmentation.training.recipe import Recipe
from segmentation.training.train_forest import ForestRecipe


def _kind_of_recipe(recipe: Any) -> str:
    """By its architecture; forests have names of their own."""
    name = (
        recipe.get("architecture")
        if isinstance(recipe, dict)
        else getattr(recipe, "architecture", "")
    )
    return "forest" if name in FORESTS else "network"


AnyRecipe = Annotated[
    Annotated[Recipe, Tag("network")] | Annotated[ForestRecipe, Tag("forest")],
    Discriminator(_kind_of_recipe),
]


class Training(BaseModel):
    """One training: scenes, their labels, a folder for the bundle; the rest has defaults that
    follow from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Annotated[tuple[Source, ...], Field(min_length=1, description="The scenes.")]
    labels: Annotated[
        tuple[str, ...], Field(min_length=1, description="For each scene a class raster or shapes.")
    ]
    out: Annotated[Path, Field(description="Folder of the bundle.")]
    column: Annotated[
        str, Field(description="Column of the classes in a vector file; found by itself.")
    ] = ""
    classes: Annotated[
        dict[int, str], Field(description="Value to name; what is not named is unlabelled.")
    ] = {}
    regroup: Annotated[
        dict[int, int], Field(description="Value to the value whose class it joins.")
    ] = {}
    labels_nodata: Annotated[
        float | None, Field(description="Value of unlabelled pixels in class rasters.")
    ] = None
    split: Annotated[
        str, Field(description="blocks, shapes, scenes, or a raster; empty: what suits the labels.")
    ] = ""
    split_values: Annotated[
        dict[str, int], Field(description="What the values of a split raster mean.")
    ] = {}
    recipe: Annotated[
        AnyRecipe, Field(description="How the model is trained; its defaults follow from the data.")
    ] = Recipe()
    weights: Annotated[
        str,
        Field(description="A bundle's folder, name or hub id to start from, imagenet, or none."),
    ] = ""
    name: Annotated[
        str, Field(description="What the bundle is called; its folder's name by default.")
    ] = ""
    licence: Annotated[str, Field(description="Under which others may use it.")] = "not stated"
    fresh: Annotated[bool, Field(description="Begin again, go on from nothing.")] = False


def group_by_scene(paths: Sequence[str], scenes: int) -> list[list[str]]:
    """The paths of each scene: all of them where there is one; else each begins one, and NAME=PATH
    adds to the last."""
    if scenes < 2:
        return [list(paths)]
    groups: list[list[str]] = []
    for path in paths:
        if groups and "=" in path and not Path(path).exists():
            groups[-1].append(path)
        else:
            groups.append([path])
    return groups
