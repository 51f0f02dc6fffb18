"""Instances: the objects of a network that says of each pixel how likely it is inside of one, and
where the boundary of one lies."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self, TypeAlias

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
from tiling.regions.zones import Parted, Zones, find_zones
from tiling.scene.band_names import (
    BOUNDARY,
    BOUNDARY_BELOW,
    BOUNDARY_BOTH,
    BOUNDARY_RIGHT,
    INTERIOR,
    ROLES,
    SIDES,
    role_of,
)
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

Percents = npt.NDArray[np.int64]
"""`(y, x)` or `(2, y, x)`, 0 to 100."""

WHOLES = (1.0, 100.0, 255.0, 1000.0, 10_000.0, 65_535.0)
"""What certainty may be stored as; the least that a sample does not exceed."""


class Decision(NamedTuple):
    """What parts two objects, in percent."""

    depth: int
    unite: int


OF_SIDES, OF_RIMS = Decision(0, 35), Decision(10, 50)
"""What is asked where nobody says: of sides of pixels, and of pixels of a boundary."""

_BOTH = 4
"""What the two pixels of a side add up to for each percent: heights are half percents."""
_NOTHING = 0.5
"""Less than the two can add up to, where it is not 0."""

Depth: TypeAlias = Annotated[
    int | None,
    Field(
        ge=0,
        le=100,
        title="Depth",
        description="By how much the interior must be surer on both sides of what parts two "
        "objects, at its weakest point; or how sure the side of a pixel must be to part at all.",
        json_schema_extra={"unit": "%"},
    ),
    Setting(
        REGIONS,
        metavar="PERCENT",
        unset=f"{OF_SIDES.depth} of sides of pixels, {OF_RIMS.depth} of pixels of a boundary",
    ),
]

Unite: TypeAlias = Annotated[
    int | None,
    Field(
        ge=0,
        le=100,
        title="Unite",
        description="Neighbours are one object where their boundary, in the mean over its length, "
        "is less sure than this.",
        json_schema_extra={"unit": "%"},
    ),
    Setting(
        REGIONS,
        metavar="PERCENT",
        unset=f"{OF_SIDES.unite} of sides of pixels, {OF_RIMS.unite} of pixels of a boundary",
    ),
]


class InstancesFit(Fit):
    """What was found in a sample: which bands say what, and how."""

    roles: dict[str, str]
    """The band of each of `ROLES` that there is."""
    whole: float
    """What certainty is stored as."""


class Instances(Partition):
    """Objects from probabilities of their interior and their boundary, in percent, as `segment
    --products probabilities` writes them for a network that learnt both.

    Land belongs to objects where interior and boundary together have 50 % or more. A network may
    say of each pixel whether another object begins at its right and at its lower side (affinities:
    Turaga et al. 2010, https://doi.org/10.1162/neco.2009.10-08-881): pixels are then one piece
    where the side between them has no more than `depth`. Or it says which pixels are boundary:
    water rises over half of 100 - interior + boundary from where the interior is most likely, a
    piece less than `depth` deep drowns in the one behind its lowest pass, and pixels of a boundary
    go to the piece into which they flood. This is the watershed of fields of Waldner &
    Diakogiannis (2020, https://doi.org/10.1016/j.rse.2020.111741) by dynamics in the place of
    markers; what has no pixel that is likelier inside is no object.

    Of these pieces neighbours unite, those with the weakest common boundary first, as long as that
    has less than `unite` in the mean over its sides: a weak point of a boundary joins nobody, nor
    does a faint line part an object (Lu, Zlateski & Seung 2021,
    https://arxiv.org/abs/2106.10795). Every object is 4-connected.
    """

    revision: ClassVar[int] = 4
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
        Setting(
            REGIONS, metavar="BAND", unset="those of sides, or the band called so, border, edge …"
        ),
    ] = ""
    depth: Depth = None
    unite: Unite = None
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
        return max(1, self.plateaus)

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

    def find_roles(self, available: Collection[str]) -> dict[str, str]:
        """The bands of interior and boundary by their role: of the sides of pixels, where nothing
        else is asked and there are such. `InputError` where a name is not there, or several might
        be meant."""
        found = {INTERIOR: self._find_role(INTERIOR, self.interior, available)}
        if not self.boundary:
            found |= {role: self._find_role(role, "", available) for role in SIDES}
        if not any(found.get(role) for role in SIDES):
            found[BOUNDARY] = self._find_role(BOUNDARY, self.boundary, available)
        return {role: found[role] for role in ROLES if found.get(role)}

    def _find_role(self, role: str, asked: str, available: Collection[str]) -> str:
        listed = ", ".join(available)
        if role == BOUNDARY and asked == "none" and "none" not in available:
            return ""
        if asked:
            if asked not in available:
                raise InputError(f"there is no band {asked} for --{role}; there are {listed}")
            return asked
        found = [name for name in available if role_of(name) == role]
        if len(found) > 1:
            raise InputError(
                f"{' and '.join(found)} may both say {role}; choose one with "
                f"--{role.partition('_')[0]} {found[0]}"
            )
        if not found and role == INTERIOR:
            raise InputError(
                f"no band is called interior, field, building or alike; there are {listed}. "
                "Instances are made of probabilities (landweave segment --products "
                "probabilities); say which band tells how likely a pixel is inside of an object "
                "with --interior"
            )
        return found[0] if found else ""

    def image_bands(self, available: Collection[str]) -> tuple[str, ...]:
        roles = self.find_roles(available).values()
        return tuple(name for name in self.bands(available) if name not in roles)

    def fit(self, sample: xr.Dataset) -> Self:
        roles = self.find_roles([str(name) for name in sample["band"].values])
        plain, names = fit_sample(sample), list(roles.values())
        stored = sample["pixels"].sel(band=names).values[:, sample["valid"].values]
        whole = whole_of(stored, " and ".join(names))
        found = InstancesFit(**plain.model_dump(), roles=roles, whole=whole)
        return self.model_copy(update={"fitted": found})

    @property
    def fit_summary(self) -> str:
        """Which bands were taken for what."""
        if self.fitted is None:
            return ""
        interior, *boundary = self.fitted.roles.values()
        parts = f"boundary from {', '.join(boundary)}" if boundary else "no boundary"
        return f"Interior from {interior}, {parts}, stored as 0 to {self.fitted.whole:g}"

    @property
    def certainty(self) -> Certainty | None:
        return Certainty(self._found.roles[INTERIOR], self._found.whole)

    def percents(self, chip: xr.Dataset) -> dict[str, Percents]:
        """How likely each of `ROLES` is in the pixels of a chip, in whole percent; 0 for what there
        is not."""
        shares = dict.fromkeys(ROLES, np.zeros(chip["valid"].shape, np.int64))
        for role, band in self._found.roles.items():
            stored = chip["pixels"].sel(band=band).values.astype(np.float64)
            percent = np.rint(np.nan_to_num(stored) * (100.0 / self._found.whole))
            shares[role] = np.clip(percent, 0, 100).astype(np.int64)
        return shares

    @property
    def has_sides(self) -> bool:
        """Whether boundaries lie between pixels, not on them."""
        return any(role in self._found.roles for role in SIDES)

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        plain, shares = super().surface(chip, row, col), self.percents(chip)
        likely = np.add.reduce(list(shares.values()))
        valid = plain.valid & (likely >= 50)
        if self.has_sides:
            sides = part_pixels(shares, likely, valid).astype(np.uint8)
            return Surface(plain.values, valid, markers=valid, sides=sides)
        interior, boundary = shares[INTERIOR], shares[BOUNDARY]
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
    def decision(self) -> Decision:
        """What parts two objects, where nobody says what suits such boundaries."""
        usual = OF_SIDES if self.has_sides else OF_RIMS
        return Decision(
            usual.depth if self.depth is None else self.depth,
            usual.unite if self.unite is None else self.unite,
        )

    @property
    def weakest(self) -> float:
        """The mean contrast of sides from which neighbours stay apart; above 0, so that small ones
        find a neighbour. Interior alone says nothing of boundaries."""
        unite = self.decision.unite
        if not unite or len(self._found.roles) < 2:
            return _NOTHING
        return unite if self.has_sides else _BOTH * unite

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        least = max(self.least_pixels, math.ceil(self.least_area / source.scene.gsd**2))
        folder, depth = source.subfolder("regions"), self.decision.depth
        if self.has_sides:
            zones = Zones(source.sides, source.shape, folder, Parted(depth))
            pieces = find_zones(zones, tile=tile, map=map)
        else:
            relief = Relief(source.heights, source.shape, folder)
            drown = DynamicsBelow(2 * depth * self.finer)
            pieces = flood_relief(relief, drown, tile=tile, map=map)
        (labels,) = merge_levels(
            pieces,
            source.sides if self.has_sides else Certainties(source.heights, self.finer),
            None,
            [BorderMerging(self.weakest, least)],
            source.subfolder("united"),
            map=map,
        )
        found = tally_regions(labels, source.markers, map)
        chosen = found.ids[(found.marked > 0) & (found.area >= least)]
        yield Level(None, keep_regions(labels, chosen, source.subfolder("kept"), map))


def part_pixels(shares: dict[str, Percents], likely: Percents, valid: Flags) -> Percents:
    """`(2, y, x)` percent: how likely the object of a pixel ends at its right, and at its lower
    side, where there are two objects or one; 0 elsewhere. `likely` is how likely it is of any."""
    parted = np.zeros((2, *valid.shape), np.int64)
    for side, role in zip(parted, (BOUNDARY_RIGHT, BOUNDARY_BELOW), strict=True):
        ends = shares[role] + shares[BOUNDARY_BOTH]
        side[:] = np.minimum((200 * ends + likely) // np.maximum(2 * likely, 1), 100)
    parted[0, :, :-1] *= valid[:, :-1] & valid[:, 1:]
    parted[1, :-1] *= valid[:-1] & valid[1:]
    return parted


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
