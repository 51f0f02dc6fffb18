"""What a person says by name, with settings laid over it: how land is told apart, and how a model
is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field

from flows.parsing import explain_settings, nearest, validate
from flows.setting import METHOD, TRAINING, Setting, Wording, usual
from tiling.errors import InputError

if TYPE_CHECKING:
    from segmentation.detection.recipe import DetectorRecipe
    from segmentation.segmenter import Segmenter
    from segmentation.training.recipe import ForestRecipe, Recipe

    AnyRecipe = Recipe | ForestRecipe | DetectorRecipe


class Method(Wording):
    """A segmenter by its name, and what is set of it. In forms it is a choice of kinds, each with
    its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segmenter: Annotated[
        str,
        Field(
            title="Segmenter",
            description="A kind (see `landweave segmenters`), a trained model (folder, hf:// id, "
            "or demo), or a YAML "
            "file.",
        ),
        Setting(METHOD, metavar="NAME", form=None),
    ] = "rules"
    settings: Annotated[
        dict[str, Any],
        Field(
            title="Settings",
            description="Settings of the segmenter: `landweave segmenters KIND` explains them.",
        ),
        Setting(METHOD, option="--set", metavar="KEY=VALUE,…", form=None),
    ] = Field(default_factory=dict)
    tile: Annotated[
        int | None,
        Field(ge=1, title="Tile", description="Core of a tile."),
        Setting(METHOD, metavar="PX", form=None, unset="the segmenter's own"),
    ] = None
    margin: Annotated[
        int | None,
        Field(ge=0, title="Margin", description="What a network sees around a tile."),
        Setting(METHOD, metavar="PX", form=None, unset="the model's own"),
    ] = None

    def value(self) -> Segmenter:
        """The segmenter itself; `InputError` where there is none of that name, or the settings do
        not fit."""
        from flows.requests.segmenters import choose_segmenter

        sizes = {"tile": self.tile, "margin": self.margin}
        return choose_segmenter(
            self.segmenter,
            self.settings | {name: px for name, px in sizes.items() if px is not None},
        )

    @classmethod
    def of(cls, segmenter: Segmenter) -> Self:
        """How a person names a segmenter: its kind or its model, and what is not its default."""
        settings = {
            name: value
            for name, value in segmenter.model_dump(mode="json").items()
            if name not in ("kind", "bundle") and value != usual(segmenter, name)
        }
        bundle = getattr(segmenter, "bundle", None)
        return cls(segmenter=str(segmenter.kind if bundle is None else bundle), settings=settings)


class Learning(Wording):
    """A kind of network or forest by name, and what is set of it. Whatever is empty or 0 follows
    from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Annotated[
        str,
        Field(
            title="Architecture",
            description="Kind of network or forest, of `landweave models --architectures`.",
        ),
        Setting(TRAINING, metavar="NAME", unset="a forest, a network or both: what validates best"),
    ] = ""
    encoder: Annotated[
        str,
        Field(
            title="Encoder",
            description="A network's encoder, such as resnet34 of segmentation-models-pytorch.",
        ),
        Setting(TRAINING, metavar="NAME", unset="the architecture's own"),
    ] = ""
    steps: Annotated[
        int,
        Field(ge=0, title="Steps", description="How long it learns; 0: from the data."),
        Setting(TRAINING, option=None),
    ] = 0
    budget: Annotated[
        float,
        Field(
            ge=0,
            title="Budget",
            json_schema_extra={"unit": "minutes"},
            description="Minutes of two cores that a network's run may take; a last run on all "
            "labels takes as long again.",
        ),
        Setting(TRAINING, metavar="MINUTES", unset="10"),
    ] = 0
    seed: Annotated[
        int,
        Field(ge=0, title="Seed", description="The same seed gives the same model."),
        Setting(TRAINING, metavar="N"),
    ] = 0
    settings: Annotated[
        dict[str, Any],
        Field(
            title="More settings",
            description="Such as rate=0.001,chip=256,loss=ce+dice, or trees=400 of a forest; "
            "`landweave models "
            "--settings` explains them.",
        ),
        Setting(TRAINING, option="--set", metavar="KEY=VALUE,…", unset="from the data"),
    ] = Field(default_factory=dict)

    def value(self) -> AnyRecipe:
        """The recipe itself; `InputError` where there is no such architecture, or the settings do
        not fit."""
        named = ("architecture", "encoder", "steps", "budget", "seed")
        asked = {name: getattr(self, name) for name in named}
        return recipe_from({name: value for name, value in asked.items() if value} | self.settings)

    @classmethod
    def of(cls, recipe: AnyRecipe) -> Self:
        """How a person says a recipe: what is not its default."""
        own = {"architecture": recipe.architecture, "seed": recipe.seed}
        settings = {
            name: value
            for name, value in recipe.model_dump(mode="json").items()
            if name not in own and value != usual(recipe, name)
        }
        return cls(**own, settings=settings)


def architectures_there_are() -> dict[str, str]:
    """A line on each architecture that `train` can make, by name: forests, networks, detectors."""
    from segmentation.detection.recipe import DETECTORS
    from segmentation.forests.estimators import FORESTS
    from segmentation.networks.architectures import architectures

    forests = {name: forest.what for name, forest in FORESTS.items()}
    return forests | architectures() | DETECTORS


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
    """What the settings of a training mean, of networks, forests and detectors."""
    from segmentation.detection.recipe import DetectorRecipe
    from segmentation.training.recipe import ForestRecipe, Recipe

    own = ("architecture", "encoder", "budget", "seed")  # options of their own
    return {
        what: explain_settings(
            {name: one for name, one in recipe.model_fields.items() if name not in own}
        )
        for what, recipe in (
            ("networks", Recipe),
            ("forests", ForestRecipe),
            ("detectors", DetectorRecipe),
        )
    }


def recipe_from(settings: dict[str, Any]) -> AnyRecipe:
    """A recipe of settings that a person named; `InputError` in one line where they are none."""
    from segmentation.detection.recipe import DETECTORS, DetectorRecipe
    from segmentation.forests.estimators import FORESTS
    from segmentation.training.recipe import ForestRecipe, Recipe

    check_architecture(str(settings.get("architecture", "")))
    if settings.get("architecture") in FORESTS:
        return validate(ForestRecipe, **settings)
    if settings.get("architecture") in DETECTORS:
        return validate(DetectorRecipe, **settings)
    return validate(Recipe, **settings)
