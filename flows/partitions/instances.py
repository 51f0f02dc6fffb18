"""Instances: the objects of a network that says of each pixel how likely it is inside of one, or on
the boundary of one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from flows.partitions.fit import Fit, fit_sample
from flows.partitions.partition import Certainty, Gives, Level, Partition
from flows.partitions.settings import LeastArea, Plateaus
from flows.partitions.surfaces import Surface, SurfaceReader, Surfaces
from flows.setting import REGIONS, Setting
from segmentation.relief.plateaus import fineness, make_fall
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.spill import Map
from tiling.regions.merging.levels import merge_levels
from tiling.regions.merging.linkage import BorderMerging
from tiling.regions.passes import Flags, Values
from tiling.regions.selection import keep_regions, tally_regions
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import DynamicsBelow
from tiling.regions.watershed.drowning import flood_relief
from tiling.scene.band_names import role_of
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

Percents = npt.NDArray[np.int64]
"""`(y, x)`, 0 to 100."""

WHOLES = (1.0, 100.0, 255.0, 1000.0, 10_000.0, 65_535.0)
"""What certainty may be stored as; the least that a sample does not exceed."""

DEPTH, UNITE = 10, 50
"""What is asked where nobody says."""

_SIDES = 4
"""What the two pixels of a side add up to for each percent: heights are half percents."""
_NOTHING = 0.5
"""Less than the two can add up to, where it is not 0."""

Depth: TypeAlias = Annotated[
    int,
    Field(
        ge=0,
        le=100,
        title="Depth",
        description="By how much the interior must be surer on both sides of what parts two "
        "objects, at its weakest point.",
        json_schema_extra={"unit": "%"},
    ),
    Setting(REGIONS, metavar="PERCENT"),
]

Unite: TypeAlias = Annotated[
    int,
    Field(
        ge=0,
        le=100,
        title="Unite",
        description="Neighbours are one object where their boundary, in the mean over its length, "
        "is less sure than this.",
        json_schema_extra={"unit": "%"},
    ),
    Setting(REGIONS, metavar="PERCENT"),
]


class InstancesFit(Fit):
    """What was found in a sample: which bands say what, and how."""

    interior: str
    boundary: str
    """Empty where there is none."""
    whole: float
    """What certainty is stored as."""


class Instances(Partition):
    """Objects from probabilities of their interior and their boundary, in percent, as `segment
    --products probabilities` writes them for a network that learnt both.

    Land belongs to objects where interior and boundary together have 50 % or more. There water
    rises from where the interior is most likely, over half of 100 - interior + boundary; a basin
    less than `depth` deep drowns in the one behind its lowest pass, and pixels of a boundary go to
    the object into which they flood. This is the watershed of fields of Waldner & Diakogiannis
    (2020, https://doi.org/10.1016/j.rse.2020.111741) by dynamics in the place of markers. Of what
    it leaves, neighbours unite, those with the weakest common boundary first, as long as one has a
    mean height below `unite`: a weak point of a boundary joins nobody, nor does a faint line part
    an object (Lu, Zlateski & Seung 2021, https://arxiv.org/abs/2106.10795). What has no pixel whose
    interior is its likeliest class is no object. Every object is 4-connected.
    """

    revision: ClassVar[int] = 3
    gives: ClassVar[Gives] = "mask"

    kind: Literal["instances"] = "instances"
    interior: Annotated[
        str,
        Field(
            title="Interior",
            description="Band that says how likely a pixel is inside of an object.",
        ),
        Setting(REGIONS, metavar="BAND", unset="the band called so, or field, building, crown …"),
    ] = ""
    boundary: Annotated[
        str,
        Field(
            title="Boundary",
            description="Band that says how likely a pixel is on the boundary of an object; none "
            "goes without.",
        ),
        Setting(REGIONS, metavar="BAND", unset="the band called so, or border, edge …"),
    ] = ""
    depth: Depth = DEPTH
    unite: Unite = UNITE
    least_area: LeastArea = 0.0
    least_pixels: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            title="Fewest pixels",
            description="An instance of fewer goes to the neighbour behind its weakest boundary, "
            "and is left out where it touches none.",
            json_schema_extra={"unit": "px"},
        ),
        Setting(REGIONS, metavar="PX"),
    ] = 8
    plateaus: Plateaus = 8
    fitted: InstancesFit | None = None

    @property
    def _found(self) -> InstancesFit:
        if self.fitted is None:
            raise RuntimeError("instances are not fitted yet: fit them on a sample of the scene")
        return self.fitted

    @property
    def reach(self) -> int:
        return self.plateaus

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        named = super().bands(available)
        roles = [name for name in (self.interior, self.boundary) if name in available]
        if not self.bands_used:
            return named
        found = roles or [name for name in available if role_of(name)]
        return tuple(dict.fromkeys((*named, *found)))

    def check(self, scene: Scene) -> None:
        super().check(scene)
        self.find_roles(scene.band_names)

    def find_roles(self, available: Collection[str]) -> tuple[str, str]:
        """The bands of interior and boundary, the latter empty where there is none; `InputError`
        where a name is not there, or several might be meant."""
        return (
            self._find_role("interior", self.interior, available),
            self._find_role("boundary", self.boundary, available),
        )

    def _find_role(self, role: str, asked: str, available: Collection[str]) -> str:
        listed = ", ".join(available)
        if role == "boundary" and asked == "none" and "none" not in available:
            return ""
        if asked:
            if asked not in available:
                raise InputError(f"there is no band {asked} for --{role}; there are {listed}")
            return asked
        found = [name for name in available if role_of(name) == role]
        if len(found) > 1:
            raise InputError(
                f"{' and '.join(found)} may both say {role}; choose one with --{role} {found[0]}"
            )
        if not found and role == "interior":
            raise InputError(
                f"no band is called interior, field, building or alike; there are {listed}. "
                "Instances are made of probabilities (landweave segment --products "
                "probabilities); say which band tells how likely a pixel is inside of an object "
                "with --interior"
            )
        return found[0] if found else ""

    def image_bands(self, available: Collection[str]) -> tuple[str, ...]:
        roles = self.find_roles(available)
        return tuple(name for name in self.bands(available) if name not in roles)

    def fit(self, sample: xr.Dataset) -> Self:
        interior, boundary = self.find_roles([str(name) for name in sample["band"].values])
        plain = fit_sample(sample)
        roles = [name for name in (interior, boundary) if name]
        stored = sample["pixels"].sel(band=roles).values[:, sample["valid"].values]
        found = InstancesFit(
            **plain.model_dump(),
            interior=interior,
            boundary=boundary,
            whole=whole_of(stored, " and ".join(roles)),
        )
        return self.model_copy(update={"fitted": found})

    @property
    def fit_summary(self) -> str:
        """Which bands were taken for what."""
        if self.fitted is None:
            return ""
        fit = self.fitted
        sides = f"boundary from {fit.boundary}" if fit.boundary else "no boundary"
        return f"Interior from {fit.interior}, {sides}, stored as 0 to {fit.whole:g}"

    @property
    def certainty(self) -> Certainty | None:
        return Certainty(self._found.interior, self._found.whole)

    def percents(self, chip: xr.Dataset) -> tuple[Percents, Percents]:
        """How likely interior and boundary are in the pixels of a chip, in whole percent."""
        shape = chip["valid"].shape

        def read(name: str) -> Percents:
            if not name:
                return np.zeros(shape, np.int64)
            stored = chip["pixels"].sel(band=name).values.astype(np.float64)
            percent = np.rint(np.nan_to_num(stored) * (100.0 / self._found.whole))
            return np.clip(percent, 0, 100).astype(np.int64)

        return read(self._found.interior), read(self._found.boundary)

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        plain = super().surface(chip, row, col)
        interior, boundary = self.percents(chip)
        valid = plain.valid & (interior + boundary >= 50)
        heights = (100 - interior + boundary).astype(np.uint32)
        if self.plateaus:
            heights = make_fall(heights, valid, self.plateaus)
        likeliest = valid & (interior >= boundary) & (2 * interior + boundary >= 100)
        return Surface(plain.values, valid, heights, likeliest)

    @property
    def finer(self) -> int:
        """How many units of its surface are one percent of interior or boundary."""
        return fineness(self.plateaus) if self.plateaus else 1

    @property
    def weakest(self) -> float:
        """The mean sum of both pixels of a side from which neighbours stay apart; above 0, so that
        small ones find a neighbour. Interior alone says nothing of boundaries."""
        return _SIDES * self.unite if self.unite and self._found.boundary else _NOTHING

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        least = max(self.least_pixels, math.ceil(self.least_area / source.scene.gsd**2))
        relief = Relief(source.heights, source.shape, source.subfolder("regions"))
        basins = flood_relief(
            relief, DynamicsBelow(2 * self.depth * self.finer), tile=tile, map=map
        )
        (labels,) = merge_levels(
            basins,
            Certainties(source.heights, self.finer),
            None,
            [BorderMerging(self.weakest, least)],
            source.subfolder("united"),
            map=map,
        )
        found = tally_regions(labels, source.markers, map)
        chosen = found.ids[(found.marked > 0) & (found.area >= least)]
        yield Level(None, keep_regions(labels, chosen, source.subfolder("kept"), map))


@dataclass(frozen=True)
class Certainties:
    """Reads heights without the fall of what is level, in half percents."""

    heights: SurfaceReader
    finer: int

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        heights, valid = self.heights(window)
        return (heights // self.finer).astype(np.int32), valid


def whole_of(stored: npt.NDArray[np.generic], names: str) -> float:
    """What certainty is stored as in a sample of probabilities; `InputError` where they are none.

    >>> whole_of(np.array([[0, 98], [7, 2]], np.uint8), "interior")
    100.0
    """
    numbers = stored.astype(np.float64)
    least, most = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    whole = next((one for one in WHOLES if most <= one * (1 + 1e-6)), None)
    if whole == 1.0 and np.issubdtype(stored.dtype, np.integer):
        whole = 100.0  # a scene with next to nothing in it
    if whole is None or least < 0:
        raise InputError(
            f"{names} holds values from {least:g} to {most:g}; probabilities lie between 0 and 1, "
            "100 or 255"
        )
    return whole
