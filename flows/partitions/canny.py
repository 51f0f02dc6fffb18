"""Edges: thin lines where the image is steepest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from flows.partitions.fit import Fit, blocks, fit_sample
from flows.partitions.partition import Gives, Level, Partition
from flows.partitions.settings import Rounds
from flows.partitions.surfaces import Surface, Surfaces
from flows.setting import REGIONS, Setting
from segmentation.relief.edges import edge_reach, thin_edges
from segmentation.relief.gradient import FRACTION
from segmentation.relief.quantum import quantise
from tiling.errors import InputError
from tiling.io.spill import Map
from tiling.regions.hysteresis import Above, find_marked
from tiling.regions.zones import Zones

if TYPE_CHECKING:
    import xarray as xr


class EdgeFit(Fit):
    """What was found in a sample, and how strong edges have to be, in sixteenths of a count per
    pixel."""

    low: int
    high: int


class Canny(Partition):
    """Edges by Canny's method (1986, https://doi.org/10.1109/TPAMI.1986.4767851), of all bands at
    once: lines one pixel wide where the image changes most, kept where they hang together with a
    strong one.

    Lines are left open where the image has no edge. Closed outlines are the borders of objects or
    of a watershed.
    """

    gives: ClassVar[Gives] = "edges"
    bytes_per_pixel: ClassVar[int] = 240

    kind: Literal["canny"] = "canny"
    rounds: Rounds = 2
    low: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Weak edges",
            description="Share of pixels whose change is smaller than that of a weak edge.",
        ),
        Setting(REGIONS, metavar="X"),
    ] = 0.8
    high: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Strong edges",
            description="Share of pixels whose change is smaller than that of a strong edge; a "
            "weak edge is kept where it meets one.",
        ),
        Setting(REGIONS, metavar="X"),
    ] = 0.95
    fitted: EdgeFit | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.low > self.high:
            raise InputError(
                f"low={self.low:g} is above high={self.high:g}; strong edges are among weak ones"
            )
        return self

    @property
    def reach(self) -> int:
        return edge_reach(self.rounds)

    def fit(self, sample: xr.Dataset) -> Self:
        facts = fit_sample(sample, self.rounds)
        strengths = []
        for block in blocks(sample):
            valid = block["valid"].values
            values = quantise(block, facts.quanta)
            strengths.append(thin_edges(values, valid, self.rounds)[0][valid])
        quantiles = np.quantile(np.concatenate(strengths), [self.low, self.high], method="lower")
        low, high = map(int, quantiles)
        fitted = EdgeFit(**facts.model_dump(), low=low, high=high)
        return self.model_copy(update={"fitted": fitted})

    @property
    def fit_summary(self) -> str:
        """How strong edges have to be."""
        if self.fitted is None:
            return ""
        low, high = (height / FRACTION for height in (self.fitted.low, self.fitted.high))
        return (
            f"Edges are where the bands change by more than {high:.4g} per pixel, together, and "
            f"what hangs on to them where it is more than {low:.4g}"
        )

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        plain = super().surface(chip, row, col)
        return plain._replace(heights=thin_edges(plain.values, plain.valid, self.rounds)[1])

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        """Edges that hang together by sides or corners are one region each."""
        assert self.fitted is not None
        weak = Zones(
            Above(source.heights, self.fitted.low),
            source.shape,
            source.subfolder("edges"),
            connectivity=8,
        )
        strong = Above(source.heights, self.fitted.high)
        yield Level(None, find_marked(weak, strong, tile=tile, map=map))
