"""How fields stand: against their own pixels, the fields of their crop, and earlier years."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.composite.images import Images
from flows.requests.crops.request import Judging
from flows.timeseries.zone_figures import FALLING, ZoneFigures
from segmentation.spectral import water_stress
from segmentation.temporal.standing import anomaly, classify, robust_z

EVENNESS = ("even", "uneven", "patchy")
EVENNESS_CUTS = (0.05, 0.15)
"""Of the part of a field that is far below its own median: a choice. Of normal values a fortieth
is."""

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of a run: how large each is and what grows there."""

    sizes: Floats
    """`(field,)` in pixels of the images; NaN of one without area."""
    crops: tuple[str, ...] | None = None
    """Of each field, "" where that is not known; None where no column says."""

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """`(field,)` the number of its crop, -1 where it is not known; one for all without
        crops."""
        if self.crops is None:
            return np.zeros(self.sizes.size, np.int64)
        names = np.array(self.crops, object).astype(str)
        _, group = np.unique(names, return_inverse=True)
        return np.where(names == "", -1, group)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What is told of fields on the dates of images: arrays `(date, index, field)`."""

    figures: ZoneFigures
    fields: Fields
    value: Floats
    """The median of a field's pixels; NaN where the field is not judged on that date."""
    vigour_z: Floats
    compared: npt.NDArray[np.int64]
    """How many fields of its crop are judged on that date, with itself."""
    anomaly_z: Floats
    years: npt.NDArray[np.int64]
    evenness: Codes
    """1 even to 3 patchy; 0 where the field is not judged."""
    stress: Codes
    """As `water_stress.stress_class`; 0 of other indices."""
    remarks: tuple[str, ...]
    """Why a field is judged on no date; "" of all others."""

    @property
    def vigour(self) -> Codes:
        return classify(self.vigour_z)

    @property
    def anomaly(self) -> Codes:
        return classify(self.anomaly_z)

    @property
    def last(self) -> npt.NDArray[np.intp]:
        """`(field,)` the last date on which it is judged; that of the last image where it never
        is."""
        known = np.logical_or.reduce(~np.isnan(self.value), axis=1)
        last: npt.NDArray[np.intp] = len(known) - 1 - known[::-1].argmax(axis=0)
        return last

    def at_last(self, figure: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`(index, field)` of a figure `(date, index, field)` on each field's last date."""
        found: npt.NDArray[Any] = np.take_along_axis(figure, self.last[None, None], axis=0)[0]
        return found


def judge(figures: ZoneFigures, images: Images, fields: Fields, judging: Judging) -> Judgement:
    """What is told of fields; each figure of a field follows from figures of whole fields alone.

    A field is judged on a date where it is large enough and enough of it is seen. Scores of indices
    that fall as plants do better are turned round, so that below 0 is always worse.
    """
    share = figures.of("valid_share")
    large = fields.sizes >= judging.least_pixels
    seen = (share >= judging.least_valid) & large & (share > 0)
    value = np.where(seen, figures.of("median"), np.nan)
    sign = np.array([-1.0 if name in FALLING else 1.0 for name in figures.names])[:, None]
    z, compared = np.full(value.shape, np.nan), np.zeros(value.shape, np.int64)
    groups = fields.groups
    for place in np.ndindex(value.shape[:2]):
        z[place], compared[place] = robust_z(value[place], groups, judging.least_fields)
    n = value.shape[2]
    against, years = anomaly(
        value.reshape(len(value), -1), images.dates, judging.same_days, judging.least_years
    )
    far = np.where(seen, figures.of("far_share"), np.nan)
    evenness = np.where(np.isnan(far), 0, 1 + np.searchsorted(EVENNESS_CUTS, far, side="right"))
    stress = np.zeros(value.shape, np.uint8)
    for number, name in enumerate(figures.names):
        if name in water_stress.INDICES:
            stress[:, number] = water_stress.stress_class(name, value[:, number])
    return Judgement(
        figures, fields, value, np.round(z * sign, 4) + 0.0, compared,
        np.round(against.reshape(-1, len(sign), n) * sign, 4) + 0.0,
        years.reshape(-1, len(sign), n), evenness.astype(np.uint8), stress,
        tuple(_remarks(fields.sizes, share, large, seen, judging)),
    )  # fmt: skip


def _remarks(
    sizes: Floats, share: Floats, large: Flags, seen: Flags, judging: Judging
) -> Sequence[str]:
    """Why each field is judged on no date."""
    most = share.max(axis=(0, 1))
    told = [
        (np.isnan(sizes), "has no area"),
        (
            most == 0,
            "seen on no date: it lies beyond the images, or under cloud",
        ),
        (~large, f"smaller than {judging.least_pixels:g} pixels"),
        (~seen.any(axis=(0, 1)), f"never more than {100 * judging.least_valid:g} % of it is seen"),
    ]
    return [next((words for there, words in told if there[at]), "") for at in range(sizes.size)]
