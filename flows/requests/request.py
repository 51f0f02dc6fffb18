"""What was asked for: one frozen value that the command line, the Prefect form and Python all
make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.source import Source
from flows.storage.remote import Place
from segmentation.registry import AnySegmenter
from segmentation.segmenter import Measure
from tiling.regions.adjacency import Rule

Product = Literal["classes", "confidence", "vectors", "probabilities", "entropy", "margin"]
PRODUCTS: tuple[Product, ...] = ("classes", "confidence", "vectors")
"""What is made unless someone says otherwise."""

Preflight = Literal["refuse", "warn"]

SMALLEST = 4
"""Pixels of the smallest region that the products show unless someone says otherwise."""


class Request(BaseModel):
    """One run: a source, a segmenter, an output folder, and what to make of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    out: Place
    segmenter: AnySegmenter
    aoi: Annotated[str, Field(description="Vector file whose polygons bound the products.")] = ""
    shard: Annotated[
        int, Field(ge=1, description="Target length of a shard in pixels; changes no result.")
    ] = 2048
    products: tuple[Product, ...] = PRODUCTS
    min_area: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="Smallest region the products show, in m²; 0 shows every pixel.",
        ),
    ] = None
    """None is four pixels (`SMALLEST`): nobody's map shows less."""
    min_area_rule: Annotated[
        Rule, Field(description="Which neighbour absorbs a smaller region.")
    ] = "longest-border"
    indices: Annotated[
        tuple[str, ...], Field(description="Indices whose mean each polygon gets.")
    ] = ()
    simplify: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="How far boundaries may move, in m; 0 keeps the pixels' outline.",
        ),
    ] = None
    """None is 0.75 pixel: the staircase goes, the shapes stay."""
    smooth: Annotated[
        int, Field(ge=0, le=5, description="How often the corners of boundaries are cut.")
    ] = 0
    reference: Annotated[str, Field(description="Class raster to compare the map with.")] = ""
    preflight: Annotated[
        Preflight,
        Field(
            description="What to do where a scene's pixels are not what the model was trained on."
        ),
    ] = "refuse"
    licence: Annotated[
        str,
        Field(
            description="Under which others may use the products: an SPDX identifier or a sentence."
        ),
    ] = ""
    fresh: Annotated[bool, Field(description="Compute everything again, reuse no part.")] = False


def measures_among(products: Sequence[Product]) -> tuple[Measure, ...]:
    """What a segmenter has to say beside labels and confidence, always in the same order."""
    return tuple(name for name in get_args(Measure) if name in products)


def smallest(min_area: float | None) -> tuple[float, Literal["m2", "pixels"]]:
    """The smallest region of a map, and what that counts: square metres, or pixels where nobody
    asked for any."""
    return (SMALLEST, "pixels") if min_area is None else (min_area, "m2")


def warn_of_large_min_area(min_area: float, whole: float, name: str) -> tuple[str, ...]:
    """A warning where the smallest region, in m², is larger than all there is."""
    if min_area <= whole:
        return ()
    return (
        f"--min-area {min_area:.10g} is more than all of {name}, {whole:,.0f} m²: one class takes "
        "each connected piece",
    )
