"""What is asked of a training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from flows.requests.method import Learning
from flows.requests.source import Source
from flows.setting import LABELS, TRAINING, By, Part, Setting
from segmentation.detection.recipe import DETECTORS, DetectorRecipe
from segmentation.forests.estimators import FORESTS
from segmentation.training.recipe import ForestRecipe, Recipe
from tiling.errors import InputError


def _kind_of_recipe(recipe: Any) -> str:
    """By its architecture; forests have names of their own."""
    name = (
        recipe.get("architecture")
        if isinstance(recipe, dict)
        else getattr(recipe, "architecture", "")
    )
    if name in DETECTORS:
        return "detector"
    return "forest" if name in FORESTS else "network"


AnyRecipe = Annotated[
    Annotated[Recipe, Tag("network")]
    | Annotated[ForestRecipe, Tag("forest")]
    | Annotated[DetectorRecipe, Tag("detector")],
    Discriminator(_kind_of_recipe),
]

WIDEST = 32
"""Pixels of a boundary that can be learnt."""


WIDTH = re.compile(r"0|0*[1-9]\d*|(?!0*\.?0*m)\d+(\.\d+)?m")
"""Pixels, or metres before an m."""


OF_OBJECTS = {"class_weights": 0.5, "scale": 0.0, "balance": 1.0, "batch": 16, "budget": 6.0}
"""Of a recipe, what suits labels that are objects: boundaries are few and count more, a change
of scale, which repeats and skips pixels, would spoil lines of one or two, chips lie where
objects are, and more steps of fewer chips learn more. What it may take is as much as is worth
it."""


class Training(BaseModel):
    """One training: scenes, their labels, a folder for the bundle; the rest has defaults that
    follow from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Annotated[
        tuple[Source, ...],
        Field(min_length=1, description="The scenes."),
        Part(
            without=("search", "bbox", "assets", "date"),
            other={
                "paths": {
                    "required": True,
                    "description": "A scene: one raster, or several as in `segment`. With several "
                    "--labels each raster "
                    "is a scene, and NAME=PATH adds a source to the one before it.",
                }
            },
        ),
    ]
    labels: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            title="Labels",
            description="For each scene a class raster, or polygons or points with a column of "
            "classes.",
        ),
        Setting(metavar="FILE", typed="Repeat it for each.", repeat=True),
    ]
    out: Annotated[
        Path,
        Field(
            title="Output folder",
            description="Folder of the model. An interrupted training goes on from where it was.",
        ),
        Setting(option="--out -o", metavar="DIR", form="output_folder", disk=True),
    ]
    column: Annotated[
        str,
        Field(title="Column", description="Column of the classes in a vector file."),
        Setting(LABELS, metavar="NAME", unset="found by itself"),
    ] = ""
    classes: Annotated[
        dict[int, str],
        Field(
            title="Class names",
            description="What the values mean, such as 1=Water,2=Forest; others are unlabelled.",
        ),
        Setting(LABELS, metavar="1=Water,…", unset="all, by the names in the file"),
    ] = {}
    regroup: Annotated[
        dict[int, int],
        Field(title="Regroup", description="Values to count as others, such as 5=4,6=4."),
        Setting(LABELS, metavar="5=4,…", unset="none"),
    ] = {}
    labels_nodata: Annotated[
        float | None,
        Field(title="Unlabelled", description="Value of unlabelled pixels in class rasters."),
        Setting(LABELS, metavar="V", form="no_data", unset="from the file"),
    ] = None
    instances: Annotated[
        bool,
        Field(
            exclude_if=lambda asked: not asked,
            title="Instances",
            description="Labels are objects, each polygon or number of a raster one: interior and "
            "boundary are learnt, for landweave objects --method instances, or objects one by one "
            "with --architecture mask-rcnn.",
        ),
        Setting(LABELS, form=None),
    ] = False
    boundary_width: Annotated[
        str,
        BeforeValidator(lambda width: "".join(str(width).split())),
        Field(
            exclude_if=lambda width: width == "0",
            title="Width of boundaries",
            description="How near another object makes a pixel of an object its boundary: pixels, "
            "such as 2, or metres, such as 10m; 0 learns the sides between pixels instead.",
        ),
        Setting(LABELS, metavar="PX|Mm", form=None),
    ] = "0"
    labels_extent: Annotated[
        str,
        Field(
            exclude_if=lambda path: not path,
            title="Extent of labels",
            description="Polygons within which every object is drawn: what else lies there is "
            "background.",
        ),
        Setting(
            LABELS, metavar="FILE", path=True, form=None, unset="the convex hull of all objects"
        ),
    ] = ""
    split: Annotated[
        str,
        Field(
            title="Kept for judging",
            description="How labels are parted into those to learn from and those to judge by: "
            "blocks, shapes, scenes, "
            "or the path of a raster that marks the parts.",
        ),
        Setting(LABELS, metavar="HOW|FILE", path=True, unset="what suits the labels"),
    ] = ""
    split_values: Annotated[
        dict[str, int],
        Field(title="Marks of the parts", description="What the values of that raster mean."),
        Setting(LABELS, metavar="train=1,…", form=None, unset="train=1,test=2,validation=3"),
    ] = {}
    recipe: Annotated[
        AnyRecipe,
        Field(description="How the model is trained; its defaults follow from the data."),
        By(Learning),
    ] = Recipe()
    weights: Annotated[
        str,
        Field(
            title="Start from",
            description="A bundle to go on from, by its folder, name or hub id; an encoder of "
            "`landweave models --known`; imagenet, or coco for mask-rcnn; or none.",
        ),
        Setting(
            TRAINING,
            metavar="MODEL|ENCODER|imagenet|coco|none",
            form="start_from",
            path=True,
            unset="from nothing",
        ),
    ] = ""
    name: Annotated[
        str,
        Field(title="Name", description="What the model is called."),
        Setting(metavar="TEXT", unset="as its folder"),
    ] = ""
    licence: Annotated[
        str,
        Field(title="Licence", description="Under which others may use it."),
        Setting(metavar="TEXT"),
    ] = "not stated"
    fresh: Annotated[
        bool,
        Field(
            title="Start afresh",
            description="Begin again, do not go on with an interrupted training.",
        ),
        Setting(form="start_afresh"),
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _suit_objects(cls, given: Any) -> Any:
        """With objects, what a recipe leaves open is what suits them."""
        recipe = given.get("recipe", Recipe()) if isinstance(given, dict) else None
        if recipe is None or not given.get("instances"):
            return given
        if isinstance(recipe, ForestRecipe):  # it sees windows that have no direction
            return {"boundary_width": "1", **given}
        if not isinstance(recipe, Recipe):
            return given
        unsaid = {
            name: value for name, value in OF_OBJECTS.items() if name not in recipe.model_fields_set
        }
        return {**given, "recipe": recipe.model_copy(update=unsaid)}

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not WIDTH.fullmatch(self.boundary_width):
            raise InputError(
                f"--boundary-width {self.boundary_width} is no width; give pixels, such as 2, or "
                "metres, such as 10m"
            )
        without = {
            "--boundary-width": self.boundary_width != "0",
            "--labels-extent": self.labels_extent,
        }
        with_it = {"--column": self.column, "--classes": self.classes, "--regroup": self.regroup}
        odd = next((option for option, said in without.items() if said), "")
        if odd and not self.instances:
            raise InputError(f"{odd} is for labels that are objects; add --instances")
        if isinstance(self.recipe, DetectorRecipe):
            if not self.instances:
                raise InputError(
                    f"--architecture {self.recipe.architecture} learns objects; add --instances"
                )
            if without["--boundary-width"]:
                raise InputError(
                    f"--boundary-width is for networks of interior and boundary, and "
                    f"{self.recipe.architecture} learns no boundary; leave it out"
                )
            del with_it["--column"]
        odd = next((option for option, said in with_it.items() if said), "")
        if odd and self.instances:
            raise InputError(
                f"{odd} is for classes, and with --instances all objects are of one kind; leave "
                "one of them out"
            )
        if self.instances and self.split == "shapes":
            raise InputError("--split shapes is for classes; objects are parted by blocks")
        return self

    def boundary_pixels(self, gsd: float) -> int:
        """How near another object makes a pixel boundary, on pixels of `gsd` metres: one pixel at
        least, or 0 where boundaries are sides of pixels; `InputError` where it is more than 32."""
        text = self.boundary_width
        metres = text.endswith("m")
        width = max(1, round(float(text[:-1]) / gsd)) if metres else int(text)
        if not 0 <= width <= WIDEST:
            raise InputError(
                f"--boundary-width {text} is {width} pixels of {gsd:.3g} m; 0 to {WIDEST} can be "
                "learnt"
            )
        return width

    def by_scene(self) -> Self:
        """The same where all paths stand in one source, each label with the scene it belongs to."""
        (source,) = self.sources
        sources = [
            source.model_copy(update={"paths": tuple(paths)})
            for paths in group_by_scene(source.paths, len(self.labels))
        ]
        return self.model_copy(update={"sources": tuple(sources)})


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
