"""What a forest sees of a pixel: bands, their normalised differences, and both in the windows
around it.

A feature has a name that a card can hold: `nir`, `nir/red` for (nir − red) / (nir + red),
`mean(nir, 9)` and
`spread(nir/red, 3)` for the mean and the standard deviation in the square window of so many pixels
around the pixel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, cached_property
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from segmentation.chip import values
from segmentation.errors import InputError
from segmentation.models.card import BandCard
from segmentation.models.forest_model import LARGEST_WINDOW

_LEVELS = 1023
_REACH = 4.0
"""Levels cover the mean of a band ± so many standard deviations; what lies beyond counts as the
outermost."""

_MOST_PAIRED = 8
"""Bands of one source of which every two make a difference, at most: 28 of them."""

_NAME = re.compile(
    r"(?:(?P<what>mean|spread)\((?P<inside>[^,()]+), (?P<window>\d+)\)|(?P<alone>[^,()]+))"
)

Plane = npt.NDArray[np.float32]


class Feature(BaseModel):
    """One number that a forest sees of each pixel; it prints as its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    """One band, or the two of a normalised difference."""
    what: Literal["value", "mean", "spread"] = "value"
    window: Annotated[int, Field(ge=1, le=LARGEST_WINDOW, multiple_of=1)] = 1
    """Pixels along a side; odd."""

    @classmethod
    def from_name(cls, name: str) -> Feature:
        """The feature of that name; `InputError` where it is none."""
        found = _NAME.fullmatch(name)
        bands = (found["inside"] or found["alone"]).split("/") if found else []
        window = int(found["window"] or 1) if found else 0
        if (
            not found
            or not all(bands)
            or len(bands) > 2
            or not (window % 2 and 1 <= window <= LARGEST_WINDOW)
        ):
            raise InputError(
                f"{name!r} is no feature; features look like nir, nir/red, mean(nir, 9) or "
                "spread(nir/red, 3)"
            )
        return cls(bands=tuple(bands), what=found["what"] or "value", window=window)

    def __str__(self) -> str:
        base = "/".join(self.bands)
        return base if self.what == "value" else f"{self.what}({base}, {self.window})"


@cache
def parse_features(names: tuple[str, ...]) -> tuple[Feature, ...]:
    """The features of these names."""
    return tuple(Feature.from_name(name) for name in names)


def candidates(bands: Sequence[str], windows: Sequence[int]) -> tuple[Feature, ...]:
    """All features worth a try: bands, differences within each source, and both in windows of these
    lengths.

    Ratios of bands hold where the light changes; those of two sources or of a thermal band would
    compare scales.
    """
    sources: dict[str, list[str]] = {}
    for band in bands:
        source, _, name = band.rpartition(".")
        if not name.startswith("lwir"):
            sources.setdefault(source, []).append(band)
    pairs = [pair for group in sources.values() for pair in combinations(_spread_out(group), 2)]
    bases = [*((band,) for band in bands), *pairs]
    return tuple(
        [Feature(bands=base) for base in bases]
        + [
            Feature(bands=base, what=what, window=window)
            for window in windows
            for base in bases
            for what in ("mean", "spread")
        ]
    )


def _spread_out(group: Sequence[str]) -> list[str]:
    """At most `_MOST_PAIRED` of them, evenly from first to last."""
    places = np.linspace(0, len(group) - 1, min(len(group), _MOST_PAIRED)).round().astype(int)
    return [group[place] for place in places]


def margin_of(features: Sequence[Feature]) -> int:
    """How far, in pixels, the features of a pixel reach."""
    return max(feature.window for feature in features) // 2


def compute(chip: xr.Dataset, features: Sequence[Feature], cards: Sequence[BandCard]) -> Plane:
    """The features of a chip: `(feature, y, x) float32`, anything where a pixel is not valid.

    Invalid pixels, and what lies beyond the chip, are left out of windows. A pixel's features
    follow from the pixels in its windows alone, to the last bit, whatever else the chip holds:
    windows add up whole numbers, in any order the same. `cards` says what units the bands have and
    where their values lie.
    """
    return _Chip(chip, cards).stacked(features)


class _Chip:
    """A chip, and what several features share."""

    def __init__(self, chip: xr.Dataset, cards: Sequence[BandCard]) -> None:
        self.cards = {card.name: card for card in cards}
        pixels = values(chip.sel(band=list(self.cards)), [card.units for card in cards]).values
        self.valid: npt.NDArray[np.bool_] = chip["valid"].values
        pixels[:, ~self.valid] = 0
        self.bands: dict[str, Plane] = dict(zip(self.cards, pixels, strict=True))

    def stacked(self, features: Sequence[Feature]) -> Plane:
        made = np.empty((len(features), *self.valid.shape), np.float32)
        # One base after the other: of its integral images no more than two are in memory at once.
        for base in dict.fromkeys(feature.bands for feature in features):
            plane = self.base(base)
            mine = [
                (place, feature) for place, feature in enumerate(features) if feature.bands == base
            ]
            integrals = (
                self.integrals(base, plane) if any(f.what != "value" for _, f in mine) else None
            )
            windows: dict[int, tuple[Plane, Plane]] = {}
            for place, feature in mine:
                if integrals is None or feature.what == "value":
                    made[place] = plane
                    continue
                if feature.window not in windows:
                    windows[feature.window] = self.moments(base, feature.window, *integrals)
                made[place] = windows[feature.window][feature.what == "spread"]
        return made

    def base(self, bands: tuple[str, ...]) -> Plane:
        """A band, or a normalised difference in −1…1, 0 where its sum is not positive."""
        if len(bands) == 1:
            return self.bands[bands[0]]
        one, other = self.bands[bands[0]], self.bands[bands[1]]
        total = one + other
        share = np.divide(one - other, total, out=np.zeros_like(total), where=total > 0)
        return np.clip(share, -1, 1, out=share)

    def levels(self, bands: tuple[str, ...]) -> tuple[float, float]:
        """The value of level 0, and the step from one level to the next."""
        if len(bands) == 2:
            return -1.0, 2 / _LEVELS
        card = self.cards[bands[0]]
        return card.mean - _REACH * card.std, 2 * _REACH * card.std / _LEVELS

    def integrals(
        self, bands: tuple[str, ...], plane: Plane
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
        """Integral images of the levels and of their squares, modulo 2³²: differences of their
        entries are exact.

        A row and a column of zeros come first.
        """
        lowest, step = self.levels(bands)
        level = np.clip(
            (plane - np.float32(lowest)) / np.float32(step) + np.float32(0.5), 0, _LEVELS
        )
        whole = np.where(self.valid, level, np.float32(0)).astype(np.uint32)
        return _integral(whole), _integral(whole * whole)

    @cached_property
    def counts(self) -> npt.NDArray[np.uint32]:
        return _integral(self.valid.astype(np.uint32))

    def moments(
        self,
        bands: tuple[str, ...],
        window: int,
        sums: npt.NDArray[np.uint32],
        squares: npt.NDArray[np.uint32],
    ) -> tuple[Plane, Plane]:
        """Mean and standard deviation in windows, in the units of the plane."""
        lowest, step = self.levels(bands)
        count = np.maximum(_box(self.counts, window), 1)
        total = _box(sums, window)
        mean: Plane = np.divide(
            total.astype(np.float32), count.astype(np.float32), dtype=np.float32
        )
        # n Σx² − (Σx)² in whole numbers: no cancellation.
        scatter = count.astype(np.int64) * _box(squares, window) - total.astype(np.int64) ** 2
        root = np.sqrt(scatter.astype(np.float64)).astype(np.float32)
        spread: Plane = np.divide(root, count.astype(np.float32), dtype=np.float32)
        return mean * np.float32(step) + np.float32(lowest), spread * np.float32(step)


def _integral(plane: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    made = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.uint32)
    np.cumsum(plane, axis=0, dtype=np.uint32, out=made[1:, 1:])
    np.cumsum(made[1:, 1:], axis=1, dtype=np.uint32, out=made[1:, 1:])
    return made


def _box(integral: npt.NDArray[np.uint32], window: int) -> npt.NDArray[np.uint32]:
    """`(y, x)`: sums in the windows around each pixel, as far as they lie inside."""
    height, width = integral.shape[0] - 1, integral.shape[1] - 1
    (top, bottom), (left, right) = (_ends(length, window) for length in (height, width))
    high, low = integral[bottom], integral[top]
    made = high[:, right]
    made -= high[:, left]
    made -= low[:, right]
    made += low[:, left]
    return made


def _ends(length: int, window: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    place, half = np.arange(length), window // 2
    return np.maximum(place - half, 0), np.minimum(place + half + 1, length)
