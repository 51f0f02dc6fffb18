"""Settings that several partitions have, described once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flows.setting import REGIONS, Setting

BandsUsed = Annotated[
    tuple[str, ...],
    Field(
        title="Bands used",
        description="Bands that are compared, such as red,nir.",
    ),
    Setting(REGIONS, metavar="NAME,…", unset="all"),
]

Rounds = Annotated[
    int,
    Field(
        ge=0,
        le=16,
        title="Rounds of smoothing",
        description="How often a 3 × 3 binomial filter goes over the image before its gradient is "
        "taken; more suit noisy images.",
    ),
    Setting(REGIONS, metavar="N"),
]
