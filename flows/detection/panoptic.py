"""Panoptic maps: a class for every pixel, and a number for each object of the classes that are
counted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from flows.detection.mask_rcnn import Detector, DetectorFit, LeastScore, MaskRcnn, Overlap
from flows.partitions.instances import Depth, Instances, InstancesFit, Unite
from flows.partitions.partition import Certainty, Gives, Judged, Level, Partition
from flows.partitions.settings import LeastArea
from flows.partitions.surfaces import Surface, Surfaces
from flows.setting import REGIONS, Setting
from segmentation.models.bundle import load
from tiling.classmaps.legend import LegendRow, with_default_rows
from tiling.errors import InputError
from tiling.io.spill import Map
from tiling.scene.band_names import BOUNDARY, INTERIOR
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

SEMANTIC = "semantic.band_"
"""How bands begin that say how likely a class is, in percent."""


class Told(BaseModel):
    """What models said of themselves before they looked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    legend: tuple[LegendRow, ...] = ()
    """The classes of the map."""
    boundary: str = BOUNDARY
    """The band of boundaries, where a network says them; none where it does not."""


class Panoptic(Partition):
    """A class for every valid pixel, and for each object of a class that is counted a number.

    Two models look at the scene: `detector` finds objects, as the methods mask-rcnn or instances
    do, and `semantic` says how likely each class is. Where an object is, pixels have its class,
    whatever else is likely there; where objects lie across each other, their own order decides.
    Everywhere else a pixel has the likeliest class of those that are not counted, in whole percent,
    of equals the first of the legend: a counted class is nowhere without an object. That is the
    panoptic format of Kirillov et al. 2019 (arXiv:1801.00868), things over stuff.
    """

    gives: ClassVar[Gives] = "mask"

    kind: Literal["panoptic"] = "panoptic"
    semantic: Annotated[
        str,
        Field(
            title="Semantic model",
            description="Segmenter that says how likely each class is: a trained model, by name or "
            "folder.",
        ),
        Setting(REGIONS, metavar="NAME|DIR", path=True),
    ] = ""
    detector: Detector = ""
    counted: Annotated[
        str,
        Field(
            title="Counted class",
            description="Class of the semantic model that objects are, where the detector calls "
            "them otherwise.",
        ),
        Setting(REGIONS, metavar="NAME", unset="by the detector's own names"),
    ] = ""
    least_score: LeastScore = 50
    overlap: Overlap = 50
    depth: Depth = None
    unite: Unite = None
    least_area: LeastArea = 0.0
    told: Told | None = None
    """Filled in by a run."""
    fitted: InstancesFit | DetectorFit | None = None

    looks_first: ClassVar[bool] = True

    @property
    def facts(self) -> Told:
        """What models said of themselves; nothing yet, before a run."""
        return self.told or Told()

    @property
    def one_by_one(self) -> bool:
        """Whether objects are found one by one, and not from interior and boundary."""
        if not self.detector:
            raise InputError(
                "--method panoptic needs --detector, a model that landweave train --instances made"
            )
        return load(self.detector).card.model.kind == "detector"

    @property
    def inner(self) -> MaskRcnn | Instances:
        """The method that finds its objects."""
        more: dict[str, Any] = {"bands_used": self.bands_used, "fitted": self.fitted}
        more |= {"least_area": self.least_area}
        if self.one_by_one:
            more |= {"least_score": self.least_score, "overlap": self.overlap}
            return MaskRcnn(detector=self.detector, **more)
        more |= {"depth": self.depth, "unite": self.unite}
        return Instances(interior=INTERIOR, boundary=self.facts.boundary, **more)

    @property
    def counted_names(self) -> dict[int, str]:
        """The classes that are counted, by the detector's values for them."""
        if not self.one_by_one:
            return {1: self.counted or "Object"}
        rows = load(self.detector).card.legend.rows[1:]
        if self.counted and len(rows) > 1:
            names = ", ".join(name for _, name, _ in rows)
            raise InputError(f"{self.detector} counts {names}, and --counted is for one class")
        return {value: self.counted or name for value, name, _ in rows}

    def with_legend(self, rows: tuple[LegendRow, ...]) -> Self:
        """The same with the classes of its semantic model and those that it counts besides;
        `InputError` where all are counted."""
        known = {name.casefold() for _, name, _ in rows}
        counted = {name.casefold() for name in self.counted_names.values()}
        if known <= counted:
            raise InputError(
                f"--semantic {self.semantic} has no class that is not counted, and a pixel without "
                "an object needs one"
            )
        taken, legend = {value for value, *_ in rows}, list(rows)
        for name in self.counted_names.values():
            if name.casefold() not in known:
                value = next(one for one in range(1, 255) if one not in taken)
                ((_, _, colour),) = with_default_rows((), [value])
                legend.append((value, name, colour))
                taken.add(value)
        told = self.facts.model_copy(update={"legend": tuple(legend)})
        return self.model_copy(update={"told": told})

    @property
    def classes(self) -> tuple[LegendRow, ...]:
        return self.facts.legend

    @property
    def class_bands(self) -> dict[int, str]:
        counted = set(self.counted_values.values())
        return {v: f"{SEMANTIC}{v}" for v, *_ in self.facts.legend if v not in counted}

    @property
    def counted_values(self) -> dict[int, int]:
        """Values of its legend by those of the detector."""
        values = {name.casefold(): value for value, name, _ in self.facts.legend}
        return {one: values[name.casefold()] for one, name in self.counted_names.items()}

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        if not self.detector:
            return super().bands(available)  # `check` says so
        return self.inner.bands([name for name in available if not name.startswith(SEMANTIC)])

    def image_bands(self, available: Collection[str]) -> tuple[str, ...]:
        return self.inner.image_bands([n for n in available if not n.startswith(SEMANTIC)])

    @property
    def reach(self) -> int:
        return self.inner.reach if self.detector else 0

    @property
    def chip_bytes(self) -> int:
        return self.inner.chip_bytes if self.detector else 0

    @property
    def certainty(self) -> Certainty | None:
        return self.inner.certainty

    @property
    def fit_summary(self) -> str:
        """How objects are found, and which classes are counted."""
        names = ", ".join(dict.fromkeys(self.counted_names.values()))
        return f"{self.inner.fit_summary}; counted: {names}"

    def check(self, scene: Scene) -> None:
        if not self.semantic:
            raise InputError("--method panoptic needs --semantic, a model that tells classes apart")
        self.bands(scene.band_names)
        self.inner.check(scene)

    def fit(self, sample: xr.Dataset) -> Self:
        return self.model_copy(update={"fitted": self.inner.fit(sample).fitted})

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        return self.inner.surface(chip, row, col)

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        ours = self.counted_values
        for level in self.inner.find(source, tile=tile, map=map):
            if level.judged is None:
                values = np.array(list(ours.values()), np.int64)
                yield level._replace(judged=Judged(None, values, self.facts.legend))
                continue
            table = np.zeros(256, np.int64)
            for theirs, value in ours.items():
                table[theirs] = value
            judged = Judged(level.judged.score, table[level.judged.values], self.facts.legend)
            yield level._replace(judged=judged)

    def identity(self) -> dict[str, Any]:
        """What decides its regions and their classes; what pixels besides are decides none."""
        told = self.model_dump(mode="json", exclude={"detector", "semantic"})
        inner = self.inner.identity() if self.detector else {}
        return {**told, "revision": self.revision, "inner": inner}
