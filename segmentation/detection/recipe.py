"""How a detector is trained: what a person may say, and what follows from the objects."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from segmentation.detection.targets import ObjectSamples
from segmentation.models.card import DetectorModel, brief

DETECTORS = {"mask-rcnn": "objects one by one, each with a box, a mask and a score"}
"""Architectures that learn objects, with a line on each."""

_LONGEST = 256
"""Widest margin, in pixels: a chip and what a network keeps of it must fit into memory."""
_STEPS, _LEAST_STEPS, _MOST_STEPS = 1500, 200, 6000
"""Steps on 500 objects, growing with their square root; the fewest and the most."""
_MINUTE = 2e12
"""Multiplications in a minute of two cores, about."""


class DetectorRecipe(BaseModel):
    """How a detector is trained. What is empty or 0 follows from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["mask-rcnn"] = "mask-rcnn"
    encoder: Annotated[
        Literal["", "resnet18", "resnet34", "resnet50"],
        Field(description="Its encoder; empty: resnet18, or resnet50 for weights of COCO."),
    ] = ""
    width: Annotated[
        int, Field(ge=0, le=1024, multiple_of=8, description="Channels of its pyramid; 0: 64.")
    ] = 0
    batch: Annotated[
        int, Field(ge=1, json_schema_extra={"unit": "chips"}, description="Chips in a step.")
    ] = 2
    steps: Annotated[
        int, Field(ge=0, description="Steps; 0: from the objects and the network's cost.")
    ] = 0
    budget: Annotated[
        float,
        Field(
            gt=0,
            le=100_000,
            allow_inf_nan=False,
            json_schema_extra={"unit": "minutes"},
            description="Minutes of two cores that it may take, counted in multiplications and not "
            "by the clock, so that it can be repeated; 200 steps are always made.",
        ),
    ] = 10.0
    rate: Annotated[float, Field(gt=0, description="Highest learning rate.")] = 1e-3
    decay: Annotated[float, Field(ge=0, description="Weight decay.")] = 0.05
    light: Annotated[float, Field(ge=0, description="How much the light of chips is changed.")] = (
        0.05
    )
    seed: Annotated[int, Field(ge=0, description="The same seed gives the same weights.")] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="auto: the GPU if there is one.")
    ] = "auto"


def choose_model(
    samples: ObjectSamples, recipe: DetectorRecipe, *, coco: bool = False
) -> tuple[DetectorModel, str]:
    """The shape of the network: boxes it begins from as small as small objects are, a margin as
    wide as the largest one; and a line where that is too wide."""
    sizes = samples.sizes()
    sides = np.sqrt(sizes.prod(axis=1))
    stem: Literal[1, 2] = 1 if not coco and np.quantile(sides, 0.25) < 16 else 2
    longest = int(sizes.max())
    margin = min(_LONGEST, max(16, -(-longest // 16) * 16))
    tile = min(512, max(128, 2 * margin))
    tile += -(tile + 2 * margin) % 32
    base = max(4.0 * stem, float(np.quantile(sides, 0.1)))
    levels = min(5, max(4, 1 + int(np.ceil(np.log2(np.quantile(sides, 0.95) / base)))))
    model = DetectorModel(
        encoder=recipe.encoder or ("resnet50" if coco else "resnet18"),
        width=recipe.width or (256 if coco else 64),
        norm="frozen" if coco else "group",
        stem=stem,
        anchors=tuple(brief(base * 2**n) for n in range(5 if coco else levels)),
        tile=tile,
        margin=margin,
        support=None,
    )
    if longest <= _LONGEST:
        return model, ""
    return model, (
        f"the largest object has {longest} px, and chips see {_LONGEST} px around their core: "
        "larger ones may be cut; train on coarser pixels to have them whole"
    )


def chip_side(model: DetectorModel) -> int:
    """Side of the chips that a network learns from, in pixels: two of the largest objects fit, and
    no more than it will look at."""
    return min(model.tile + 2 * model.margin, max(128, -(-2 * model.margin // 32) * 32))


def count_steps(recipe: DetectorRecipe, objects: int, cost: float) -> int:
    """Steps of a training on so many objects whose chips cost so many multiplications: from counts,
    never by the clock."""
    if recipe.steps:
        return recipe.steps
    wanted = min(_MOST_STEPS, round(_STEPS * (objects / 500) ** 0.5))
    affordable = int(recipe.budget * _MINUTE / (3 * cost * recipe.batch))
    return max(_LEAST_STEPS, min(wanted, affordable))
