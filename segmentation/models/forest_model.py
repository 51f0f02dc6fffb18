"""What a card says of a forest, alone or beside a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# A name stands in messages of one line.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]

LARGEST_WINDOW = 63
"""Pixels across the largest window: 63² squares of a level still fit into 32 bits."""


class ForestModel(BaseModel):
    """A forest of decision trees: labels from a pixel's bands, their ratios and what lies within a
    few pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["forest"] = "forest"
    estimator: Annotated[
        Name,
        Field(description="Its name in `segmentation.forests.estimators`, such as random-forest."),
    ]
    features: Annotated[
        tuple[Name, ...],
        Field(
            min_length=1,
            description="What it sees of a pixel, by their names in "
            "`segmentation.forests.pixel_features`, in order.",
        ),
    ]
    temperature: Annotated[
        float,
        Field(
            gt=0,
            description="Logarithms of its votes are divided by it, which makes "
            "them probabilities.",
        ),
    ] = 1.0
    sklearn: Annotated[
        str, Field(description="Version of scikit-learn it was trained with; another is refused.")
    ]
