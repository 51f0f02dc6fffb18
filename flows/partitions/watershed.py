"""Regions by watershed: the catchment basins of the gradient, of which shallow or small ones
drown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from flows.partitions.fit import Fit
from flows.partitions.partition import GradientPartition, Level
from flows.partitions.settings import Plateaus
from flows.partitions.surfaces import Surface, Surfaces
from flows.setting import REGIONS, Setting
from segmentation.relief.plateaus import fineness, make_fall
from tiling.io.spill import Map
from tiling.labels.marks import Marks
from tiling.regions.watershed.basins import Relief
from tiling.regions.watershed.calibrate import choose_threshold
from tiling.regions.watershed.criteria import (
    AreaBelow,
    Criterion,
    DynamicsBelow,
    Unmarked,
    VolumeBelow,
)
from tiling.regions.watershed.drowning import flood_relief
from tiling.regions.zones import Within
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

Measure = Literal["volume", "dynamics", "area"]


class FloodFit(Fit):
    """What was found in a sample, and what drowns below which threshold."""

    threshold: int


class Watershed(GradientPartition):
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
    plateaus: Plateaus = 8
    markers: Annotated[
        str,
        Field(
            title="Markers",
            description="Raster of numbers or vector file of shapes: each patch of one number, and "
            "each shape, grows into one region, and nothing else does.",
        ),
        Setting(REGIONS, metavar="FILE", path=True, unset="regions are found"),
    ] = ""
    fitted: FloodFit | None = None

    @property
    def reach(self) -> int:
        return super().reach + self.plateaus

    def check(self, scene: Scene) -> None:
        super().check(scene)
        if self.markers:
            Marks(self.markers, scene.geobox).check()

    def fit(self, sample: xr.Dataset) -> Self:
        plain = super().fit(sample)
        threshold = 0 if self.markers else self.threshold
        if threshold is None:
            threshold = choose_threshold(plain.reliefs(sample), self.size, plain.criterion_of)
        fitted = FloodFit(**plain._fit.model_dump(), threshold=threshold)
        return self.model_copy(update={"fitted": fitted})

    def criterion_of(self, threshold: int) -> Criterion:
        """What drowns below a threshold in units of the gradient."""
        finer = fineness(self.plateaus) if self.plateaus else 1
        match self.measure:
            case "area":
                return AreaBelow(threshold)
            case "dynamics":
                return DynamicsBelow(threshold * finer)
            case "volume":
                return VolumeBelow(threshold * finer)

    @property
    def fit_summary(self) -> str:
        """Below what regions drown."""
        if self.fitted is None or self.markers:
            return ""
        return f"Regions drown whose {self.measure} is below {self.fitted.threshold}"

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        plain = super().surface(chip, row, col)
        if not self.plateaus or plain.heights is None:
            return plain
        return plain._replace(heights=make_fall(plain.heights, plain.valid, self.plateaus))

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        assert self.fitted is not None
        marks = Marks(self.markers, source.scene.geobox) if self.markers else None
        relief = Relief(
            source.heights, source.shape, source.subfolder("regions"), marks, link=Within(0)
        )
        criterion = Unmarked() if marks else self.criterion_of(self.fitted.threshold)
        yield Level(None, flood_relief(relief, criterion, tile=tile, map=map))
