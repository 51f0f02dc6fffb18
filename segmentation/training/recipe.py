"""How a model is trained: what a person may say, and what follows from the labels where nothing is
said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segmentation.models.card import BandCard, Card, NetworkModel, OptionName, OptionValue
from segmentation.models.forest_model import LARGEST_WINDOW
from segmentation.training.augmentation import Augmentation

if TYPE_CHECKING:
    from segmentation.training.samples import Samples

_CHIP = 32
"""Side of the training chips, in pixels, unless the network is coarse."""
_LONG_CHIP = 256
"""Side of the chips above which two strides of a coarse network are enough, not four."""
_STEPS, _LEAST_STEPS = 600, 200
"""Steps of a run on 30 000 labels, growing with their square root; and on the fewest."""
_MINUTE = 2e12
"""Multiplications in a minute of two cores, about."""
_FEWER, _MEMBERS = 100_000, 3
"""Training labels below which the network has several members, and how many."""
_DIFFERENCES = 8
"""Features by which a network of ours compares neighbouring pixels, where objects are learnt."""


class Recipe(BaseModel):
    """How a network is trained. What is empty or 0 follows from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Annotated[
        str, Field(description="Its name in `landweave models --architectures`.")
    ] = ""
    encoder: Annotated[str, Field(description="Its encoder, by the library's name.")] = ""
    options: Annotated[
        dict[OptionName, OptionValue], Field(description="Further settings of the architecture.")
    ] = {}
    loss: Annotated[
        str, Field(description="Such as ce+dice; see `segmentation.training.losses`.")
    ] = "ce+dice"
    class_weights: Annotated[
        float, Field(ge=0, le=1, description="0: all pixels count alike; 1: all classes.")
    ] = 0.0
    boundary: Annotated[
        float, Field(gt=0, description="How much a pixel counts that touches another class.")
    ] = 1.0
    balance: Annotated[
        float,
        Field(ge=0, le=1, description="0: chips lie where pixels are; 1: on all classes alike."),
    ] = 0.0
    chip: Annotated[
        int,
        Field(
            ge=0,
            le=4096,
            json_schema_extra={"unit": "pixels"},
            description="Side of the chips in pixels; 0: from the data.",
        ),
    ] = 0
    batch: Annotated[
        int,
        Field(
            ge=0,
            json_schema_extra={"unit": "chips"},
            description="Chips in a step; 0: from the data.",
        ),
    ] = 0
    steps: Annotated[
        int, Field(ge=0, description="Steps of a run; 0: from the data and the network's cost.")
    ] = 0
    budget: Annotated[
        float,
        Field(
            gt=0,
            le=100_000,
            allow_inf_nan=False,
            json_schema_extra={"unit": "minutes"},
            description="Minutes of two cores that a run may take, counted in multiplications and "
            "not by the clock, so that it can be repeated; 200 steps are always made.",
        ),
    ] = 10.0
    rate: Annotated[float, Field(gt=0, description="Highest learning rate.")] = 3e-3
    decay: Annotated[float, Field(ge=0, description="Weight decay.")] = 0.05
    averaged: Annotated[
        float, Field(ge=0, lt=1, description="Weights are averaged over about 1/(1 − this) steps.")
    ] = 0.98
    light: Annotated[float, Field(ge=0, description="How much the light of chips is changed.")] = (
        0.05
    )
    noise: Annotated[float, Field(ge=0, description="How much noise chips get, at most.")] = 0.0
    scale: Annotated[
        float, Field(ge=0, le=1, description="Logarithm of the largest change of scale.")
    ] = 0.2
    lost_band: Annotated[float, Field(ge=0, lt=1, description="How often a chip lacks a band.")] = (
        0.0
    )
    refit: Annotated[
        bool | None, Field(description="Whether a last run sees the validation labels too.")
    ] = None
    seed: Annotated[int, Field(ge=0, description="The same seed gives the same weights.")] = 0
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="auto: all GPUs there are.")
    ] = "auto"

    @property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.light, self.noise, self.scale, self.lost_band)


class ForestRecipe(BaseModel):
    """How a forest is trained. What is empty or 0 follows from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["random-forest", "extra-trees", "gradient-boosting"] = "random-forest"
    trees: Annotated[
        int, Field(ge=0, le=2000, description="How many; 0: what the kind has by default.")
    ] = 0
    windows: Annotated[
        tuple[Annotated[int, Field(ge=3, le=LARGEST_WINDOW)], ...] | None,
        Field(
            json_schema_extra={"unit": "pixels"},
            description="Odd lengths, in pixels, of the windows around a pixel; empty: what "
            "validates best.",
        ),
    ] = None
    features: Annotated[
        int, Field(ge=1, le=512, description="Of all candidates, how many are kept.")
    ] = 80
    per_class: Annotated[
        int,
        Field(
            ge=10,
            json_schema_extra={"unit": "pixels"},
            description="Pixels of one class that trees grow from, at most.",
        ),
    ] = 20_000
    rarity: Annotated[
        float,
        Field(
            ge=0, le=1, description="0: all pixels count alike; 1: all classes do, however rare."
        ),
    ] = 0.15
    seed: Annotated[
        int, Field(ge=0, le=2**32 - 1, description="The same seed gives the same forest.")
    ] = 0


def choose_network(samples: Samples, recipe: Recipe) -> NetworkModel:
    """The shape of the network: the one asked for, else one that fits what the labels can teach."""
    from segmentation.networks.architectures import ARCHITECTURES, build, stride_of
    from segmentation.training.samples import TRAIN

    architecture = recipe.architecture or "fullunet"
    known = ARCHITECTURES.get(architecture)
    encoder = recipe.encoder or (known.encoder if known else "plain")
    suited = known.options if known and encoder == known.encoder else {}
    compared = {"differences": _DIFFERENCES}
    parts_objects = architecture == "fullunet" and samples.label is not None
    options = {**suited, **(compared if parts_objects else {}), **recipe.options}
    if (
        not recipe.architecture
        and "members" not in options
        and samples.counts(TRAIN).sum() < _FEWER
    ):
        # what few labels teach depends on chance; three outvote it
        options = {
            **options,
            "members": _MEMBERS,
        }
    shape = NetworkModel(
        architecture=architecture,
        encoder=encoder,
        options=options,
        margin=0,
        stride=1,
        support=None,
        disagreement=1,
    )
    bands = tuple(BandCard(name=name, mean=0, std=1) for name in samples.bands)
    card = Card(
        name="new",
        bands=bands,
        gsd=1,
        legend=samples.legend,
        model=shape,
        training={},
        metrics={},
        licence="none",
    )
    return shape.model_copy(update={"stride": stride_of(build(card))})


def resolve_recipe(recipe: Recipe, samples: Samples, card: Card) -> Recipe:
    """The recipe with what it leaves to the data: from counts of labels and of multiplications,
    never by the clock.

    Many short chips teach more than few long ones: on three data sets 32 × 32 px beat 8 × 64 px and
    2 × 128 px of the same cost by 0.01–0.1 of mean IoU. Steps grow with the labels, and are more
    where a batch is smaller than that, within a given amount of computing.
    """
    from segmentation.networks.architectures import build, stride_without_dilation
    from segmentation.training.samples import TRAIN

    stride = card.network.stride
    coarse = stride_without_dilation(build(card))
    enough = max(_CHIP, min(4 * coarse, max(_LONG_CHIP, 2 * coarse)))
    chip = -(-(recipe.chip or enough) // stride) * stride
    batch = recipe.batch or max(8, _CHIP**2 * 32 // chip**2)
    smaller = max(1.0, _CHIP**2 * 32 / (batch * chip**2))
    wanted = round(_STEPS * smaller * math.sqrt(samples.counts(TRAIN).sum() / 30_000))
    # backwards costs twice as much as forwards
    work = 3 * multiply_adds_per_pixel(card) * batch * chip**2
    affordable = int(recipe.budget * _MINUTE / work)
    steps = recipe.steps or max(_LEAST_STEPS, min(wanted, affordable))
    return recipe.model_copy(update={"chip": chip, "batch": batch, "steps": steps})


def multiply_adds_per_pixel(card: Card) -> float:
    """Multiplications for one pixel of one chip, counted, not measured."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from segmentation.networks.architectures import build

    side = 4 * card.network.stride
    model = build(card).eval()
    with FlopCounterMode(display=False) as counted, torch.inference_mode():
        model(torch.zeros(1, len(card.bands), side, side))
    return float(counted.get_total_flops() / 2 / side**2)
