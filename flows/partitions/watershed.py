"""Regions by watershed: the catchment basins of the gradient, of which shallow or small ones
drown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from flows.partitions.calibrate import choose_threshold
from flows.partitions.fit import Fit
from flows.partitions.partition import Level, Partition
from flows.partitions.surfaces import Surfaces
from flows.setting import REGIONS, Setting
from tiling.io.spill import Map
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.criteria import AreaBelow, Criterion, DynamicsBelow, VolumeBelow
from tiling.regions.watershed.drowning import flood_relief

if TYPE_CHECKING:
    import xarray as xr

Measure = Literal["volume", "dynamics", "area"]


class FloodFit(Fit):
    """What was found in a sample, and what drowns below which threshold."""

    threshold: int


class Watershed(Partition):
    """Catchment basins of the image's gradient; basins that are too small by a measure drown in the
    neighbour behind their lowest pass.

    The measure is what hierarchical watersheds go by (Cousty & Najman 2011,
    https://doi.org/10.1007/978-3-642-21569-8_24): the depth of a basin, its area, or their product,
    which keeps neither specks nor shallow plains apart. Every region is 4-connected.
    """

    kind: Literal["watershed"] = "watershed"
    measure: Annotated[
        Measure,
        Field(
            title="Measure",
            description="What makes a basin large: volume is its area times its depth, dynamics "
            "its depth.",
        ),
        Setting(REGIONS),
    ] = "volume"
    size: Annotated[
        float,
        Field(
            gt=0,
            le=1e9,
            title="Size",
            description="About how many pixels a region has on average.",
            json_schema_extra={"unit": "px"},
        ),
        Setting(REGIONS, metavar="PX"),
    ] = 400.0
    threshold: Annotated[
        int | None,
        Field(
            ge=0,
            title="Threshold",
            description="Regions below it drown: pixels of area, sixteenths of a unit of the bands "
            "of depth, or their product.",
        ),
        Setting(REGIONS, metavar="N", unset="what makes regions of the size asked for"),
    ] = None
    fitted: FloodFit | None = None

    _criteria: ClassVar[dict[Measure, type[AreaBelow | DynamicsBelow | VolumeBelow]]] = {
        "area": AreaBelow,
        "dynamics": DynamicsBelow,
        "volume": VolumeBelow,
    }

    def fit(self, sample: xr.Dataset) -> Self:
        facts = super().fit(sample)._fit
        threshold = self.threshold
        if threshold is None:
            threshold = choose_threshold(
                sample, facts, self.rounds, self.size, self._criteria[self.measure]
            )
        fitted = FloodFit(**facts.model_dump(), threshold=threshold)
        return self.model_copy(update={"fitted": fitted})

    @property
    def criterion(self) -> Criterion:
        """What drowns."""
        assert self.fitted is not None  # `surface` asked for the fit
        return self._criteria[self.measure](self.fitted.threshold)

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        relief = Relief(source.heights, source.shape, source.subfolder("regions"))
        yield Level(None, flood_relief(relief, self.criterion, tile=tile, map=map))
