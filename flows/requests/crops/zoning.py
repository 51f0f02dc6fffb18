"""Zones inside fields, and what is spread on each."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.parsing import number
from flows.setting import ZONING, Setting
from segmentation.classical.field_zones import ZoneMethod
from tiling.errors import InputError
from tiling.io.access import check_access

SQUARE = 10_000.0
"""Square metres of a hectare."""


class Zoning(BaseModel):
    """Into how many zones each field falls, how they are found, and the rate of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zones: Annotated[
        int | None,
        Field(
            ge=2,
            le=12,
            title="Zones",
            description="Part each field into so many zones, from weak to strong, by the first "
            "index on all dates.",
        ),
        Setting(ZONING, metavar="N", unset="none"),
    ] = None
    zone_method: Annotated[
        ZoneMethod,
        Field(title="Method", description="How pixels of a field are told apart."),
        Setting(ZONING, metavar="kmeans|gaussian-mixture"),
    ] = "kmeans"
    zone_area: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Smallest part",
            description="In hectares: a smaller part of a zone goes to its neighbour in the field.",
        ),
        Setting(ZONING, metavar="HA"),
    ] = 0.1
    rates: Annotated[
        str,
        Field(
            title="Rates",
            description="What is spread on each zone, from the weakest on, such as 120,100,80, or "
            "a CSV file with the columns zone, rate, unit.",
        ),
        Setting(ZONING, metavar="R,…|FILE", unset="none"),
    ] = ""
    rate_unit: Annotated[
        str,
        Field(title="Unit of the rates", description="Per hectare, such as kg/ha or m3/ha."),
        Setting(ZONING, metavar="UNIT"),
    ] = "kg/ha"
    shapefile: Annotated[
        bool,
        Field(
            title="Shapefile",
            description="Write the zones as a shapefile too, for terminals that read no other.",
        ),
        Setting(ZONING),
    ] = False

    @property
    def table(self) -> tuple[tuple[float, str], ...]:
        """The rate of each zone and its unit, from the weakest on; nothing without rates.
        `InputError` where there are not as many as zones."""
        if not self.rates.strip():
            return ()
        given = (
            _read_rates(Path(self.rates), self.rate_unit)
            if Path(self.rates).suffix.lower() == ".csv"
            else [(number("--rates", one, float), self.rate_unit) for one in self.rates.split(",")]
        )
        if len(given) != self.zones:
            raise InputError(
                f"--rates {self.rates} gives {len(given)} rates for {self.zones or 'no'} zones; "
                "give one for each, from the weakest on"
            )
        if any(not unit.endswith("/ha") for _, unit in given):
            raise InputError("a rate is per hectare: write its unit as kg/ha, l/ha or m3/ha")
        if any(not 0 <= rate < 1e9 for rate, _ in given):
            raise InputError(f"--rates {self.rates}: a rate is a number from 0 on")
        return tuple(given)


def _read_rates(path: Path, unit: str) -> list[tuple[float, str]]:
    """The rates of a CSV in the order of its zones, 1 … n."""
    check_access(str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table of rates: {error}") from error
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"zone", "rate"} <= {*rows[0]}:
        raise InputError(f"{path} has no columns zone and rate; its first line names them")
    found = {
        int(number(str(path), row["zone"] or "", int)): (
            number(str(path), row["rate"] or "", float),
            (row.get("unit") or unit).strip(),
        )
        for row in rows
    }
    if sorted(found) != [*range(1, len(rows) + 1)]:
        raise InputError(f"{path} has not the zones 1 to {len(rows)}, each once; number them so")
    return [found[zone] for zone in sorted(found)]
