"""Fields that are watched: where images arrive, and which drop of an index somebody hears of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.requests.crops.request import CropsRequest
from flows.requests.series import Pattern, Settling
from flows.setting import ALERTS, Setting


class Alerts(BaseModel):
    """Which drops are told of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Drop",
            description="By how much the first index of a field must fall from the date before, at "
            "least.",
        ),
        Setting(ALERTS, option=None),
    ] = 0.15
    drop_percent: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Drop in percent",
            description="By how many percent of what it was it must fall as well. 0: that does not "
            "matter.",
        ),
        Setting(ALERTS, option=None),
    ] = 0.0
    within_days: Annotated[
        int,
        Field(
            ge=1,
            title="Date before",
            description="Days to look back for the date before; with an older one nothing is "
            "compared.",
        ),
        Setting(ALERTS, option=None),
    ] = 60
    settle_seconds: Annotated[
        Settling,
        Setting(ALERTS, option=None),
    ] = 30.0


class CropsWatch(BaseModel):
    """Fields to watch: where images arrive, how fields are judged, what is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crops: Annotated[CropsRequest, Field(title="What to make of the images")]
    pattern: Pattern = ""
    alerts: Alerts = Alerts()
