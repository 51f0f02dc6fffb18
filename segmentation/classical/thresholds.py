"""Two classes by one threshold that the scene itself suggests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from segmentation.classical.quantity import (
    COLOURS,
    GREENNESS,
    WETNESS,
    Quantity,
    formula_facts,
    measure,
    name_ends,
    quantity_bands,
)
from segmentation.errors import InputError
from segmentation.legend import LandClass, Legend
from segmentation.segmenter import Prediction, Segmenter


class Split(BaseModel):
    """What Otsu's method found in a sample, in the units of the index or band."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    below: float
    """Mean of the sample up to the threshold."""
    above: float
    """Mean of the sample beyond it."""


class Otsu(Segmenter):
    """Two classes: where an index or a band is above, and where it is below, the threshold of Otsu
    (1979), doi:10.1109/TSMC.1979.4310076, the one that makes both classes most uniform.

    The threshold comes from a sample of the whole scene, in a collection or a monitor of all
    scenes. Where the index is undefined a pixel is below. Confidence is the distance from the
    threshold, 100 at the mean of the pixel's class and beyond; it is no probability.
    """

    needs_sample: ClassVar[bool] = True
    one_fit: ClassVar[bool] = True
    meanings: ClassVar[Mapping[str, str]] = {
        "Vegetation, Not vegetation": f"of {', '.join(GREENNESS)}",
        "Water, Land": f"of {', '.join(WETNESS)}",
        "High, Low": "of any other index or band; name them with above and below",
    }

    kind: Literal["otsu"] = "otsu"

    index: Quantity = "NDVI"
    above: Annotated[
        str,
        Field(
            title="Name above",
            description="Class above the threshold; if empty, what suits the index.",
        ),
    ] = ""
    below: Annotated[
        str,
        Field(
            title="Name below",
            description="Class below the threshold; if empty, what suits the index.",
        ),
    ] = ""
    fitted: Annotated[
        Split | None, Field(title="Threshold", description="Found in the scene; leave it empty.")
    ] = None

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        return quantity_bands(self.index, available)

    @property
    def legend(self) -> Legend:
        above, below = name_ends(self.index)
        above, below = self.above or above, self.below or below
        if above == below:
            raise InputError(f"both classes of otsu are called {above}; give them two names")
        return Legend(
            classes=(
                LandClass(value=1, name=below, colour=COLOURS.get(below, "#e3ded3")),
                LandClass(value=2, name=above, colour=COLOURS.get(above, "#b0503c")),
            )
        )

    def fit(self, sample: xr.Dataset | None) -> Self:
        """With the threshold of the sample's finite values; one level alone is below, a class of
        its own.

        One that has a threshold keeps it.
        """
        if self.fitted is not None:
            return self
        from skimage.filters import threshold_otsu

        if sample is None:
            raise RuntimeError("otsu is fitted on a sample")
        measured = measure(self.index, sample)
        measured = measured[np.isfinite(measured)].astype(np.float64)
        if not measured.size:
            raise InputError(
                f"{self.index} is undefined on every valid pixel of the scene; choose another index"
            )
        # A ratio has a few values far beyond all others, and the histogram would have one full bin
        # and 255 empty ones.
        measured = np.clip(measured, *np.percentile(measured, (0.1, 99.9)))
        threshold = float(threshold_otsu(measured))  # type: ignore[no-untyped-call]
        under = measured <= threshold
        lower, upper = (
            float(part.mean()) if part.size else threshold
            for part in (measured[under], measured[~under])
        )
        fitted = Split(threshold=round(threshold, 6), below=round(lower, 6), above=round(upper, 6))
        return self.model_copy(update={"fitted": fitted})

    @property
    def fit_summary(self) -> str:
        """Which class lies above which threshold."""
        _, above = self.legend.each()
        return (
            f"{above.name} is where {self.index} exceeds {self.fitted.threshold:g}"
            if self.fitted
            else ""
        )

    def __call__(self, chip: xr.Dataset) -> Prediction:
        if self.fitted is None:
            raise RuntimeError("otsu has no threshold yet: fit it on a sample of the scene first")
        measured, valid, split = measure(self.index, chip), chip["valid"].values, self.fitted
        higher = measured > split.threshold
        labels = (np.uint8(1) + higher) * valid
        distance = np.abs(measured - np.float32(split.threshold))
        spread = np.where(
            higher, split.above - split.threshold, split.threshold - split.below
        ).astype(np.float32)
        share = np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 0)
        return Prediction(labels, (100 * np.nan_to_num(np.minimum(share, 1))).astype(np.uint8))

    def identity(self) -> dict[str, Any]:
        """Settings and revision; of an index that a package brings also what it computes."""
        return {**super().identity(), **formula_facts([self.index])}
