"""Classes by thresholds on one band or index: given, or found in the scene by a method of
scikit-image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, model_validator

from segmentation.classical.class_list import Colours, List, make_legend, numbers_of, ramp
from segmentation.classical.quantity import (
    COLOURS,
    GREENNESS,
    WETNESS,
    Quantity,
    formula_facts,
    measure,
    name_ends,
    names_index,
    quantity_bands,
)
from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.segmenter import Prediction, Segmenter

_MOST_CLASSES = 20
"""Of `values`: more no reader tells apart."""

Values = npt.NDArray[Any]
Method = Literal["values", "otsu", "multi-otsu", "li", "yen", "triangle", "minimum"]


class Cuts(BaseModel):
    """Thresholds and what lies between them in a sample, in the units of the index or band."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thresholds: tuple[float, ...]
    means: tuple[float | None, ...]
    """Mean of each class, from the lowest up; None where the sample has nothing of it."""


class Threshold(Segmenter):
    """Two or more classes by thresholds on an index or a band: given ones, or those that a method
    finds in the scene.

    A pixel is in the class above a threshold where its value exceeds it; where the index is
    undefined it is in the lowest. Thresholds are scikit-image's for the values of a sample of the
    whole scene, which is all of it up to 4 Mpx, in a collection or a monitor those of all scenes:

    - otsu, multi-otsu: the classes are as uniform as can be; Otsu (1979),
      doi:10.1109/TSMC.1979.4310076, Liao et al. (2001);
    - li: least cross entropy; Li and Tam (1998), doi:10.1016/S0167-8655(98)00057-9;
    - yen: most correlation; Yen et al. (1995), doi:10.1109/83.366472;
    - triangle: the corner of a histogram with one peak and a long tail; Zack et al. (1977),
      doi:10.1177/25.7.70454;
    - minimum: the valley between two peaks; Prewitt and Mendelsohn (1966),
      doi:10.1111/j.1749-6632.1965.tb11715.x.

    Eight bits without a scale go into the histogram number by number, all else in 256 bins from the
    least to the greatest value. Confidence is the distance from the threshold that is closest, 100
    at the mean of the pixel's class and beyond; it is no probability.
    """

    needs_sample: ClassVar[bool] = True
    one_fit: ClassVar[bool] = True
    meanings: ClassVar[Mapping[str, str]] = {
        "Vegetation, Not vegetation": f"two classes of {', '.join(GREENNESS)}",
        "Water, Land": f"two classes of {', '.join(WETNESS)}",
        "High, Low": "two classes of any other index or band",
        "Level 1, Level 2, …": "more classes, from the lowest values up; call them by names",
    }

    kind: Literal["threshold"] = "threshold"

    index: Quantity = "NDVI"
    method: Annotated[
        Method,
        Field(title="Method", description="What finds the thresholds; values: you give them."),
    ] = "otsu"
    classes: Annotated[
        int,
        Field(ge=2, le=5, title="Classes", description="How many classes multi-otsu makes."),
    ] = 3
    thresholds: Annotated[
        List,
        Field(
            title="Thresholds",
            description="With values: from the lowest up, between commas, for example 0.2,0.5.",
        ),
    ] = ""
    names: Annotated[
        List,
        Field(
            title="Names",
            description="Classes from the lowest up, between commas; if empty, what suits the "
            "index.",
        ),
    ] = ""
    colours: Colours = ""
    fitted: Annotated[
        Cuts | None, Field(title="Thresholds", description="Found in the scene; leave it empty.")
    ] = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        given = numbers_of("thresholds", self.thresholds)
        if self.method == "values" and not 1 <= len(given) < _MOST_CLASSES:
            raise InputError(
                f"method=values takes 1 to {_MOST_CLASSES - 1} thresholds, not {len(given)}; write "
                "for example thresholds=0.2,0.5"
            )
        if self.method != "values" and given:
            raise InputError(
                f"thresholds={self.thresholds} are for method=values, and {self.method} finds its "
                "own; leave one out"
            )
        _ = self.legend
        return self

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        return quantity_bands(self.index, available)

    @property
    def legend(self) -> Legend:
        above, below = name_ends(self.index)
        count = self._class_count
        usual = [f"Level {level}" for level in range(1, count + 1)] if count > 2 else [below, above]
        ends = COLOURS.get(below, "#e3ded3"), COLOURS.get(above, "#b0503c")
        return make_legend(self.names, self.colours, usual, ramp(*ends, count))

    def fit(self, sample: xr.Dataset | None) -> Self:
        """With thresholds of the sample's finite values; one level alone is below all of them.

        One that has thresholds keeps them.
        """
        if self.fitted is not None:
            return self
        if sample is None:
            raise RuntimeError("threshold is fitted on a sample")
        measured = _histogram_values(self.index, sample)
        if not measured.size:
            raise InputError(
                f"{self.index} is undefined on every valid pixel of the scene; choose another index"
            )
        # What a person writes is as exact as pixels are: 0.2 is a pixel's 0.2.
        cuts = (
            tuple(float(np.float32(cut)) for cut in numbers_of("thresholds", self.thresholds))
            if self.method == "values"
            else self._find(measured)
        )
        level = _level(measured, cuts)
        means = tuple(
            float(members.mean(dtype=np.float64)) if members.size else None
            for members in (measured[level == one] for one in range(len(cuts) + 1))
        )
        return self.model_copy(update={"fitted": Cuts(thresholds=cuts, means=means)})

    @property
    def fit_summary(self) -> str:
        """Which class begins beyond which threshold."""
        if self.fitted is None:
            return ""
        _, *upper = self.legend.each()
        begins = zip(upper, self.fitted.thresholds, strict=True)
        return f"{self.index}: " + ", ".join(
            f"{one.name} beyond {threshold:g}" for one, threshold in begins
        )

    def __call__(self, chip: xr.Dataset) -> Prediction:
        if self.fitted is None:
            raise RuntimeError("threshold has none yet: fit it on a sample of the scene first")
        measured, valid = measure(self.index, chip), chip["valid"].values
        cuts, means = self.fitted.thresholds, self.fitted.means
        level = _level(measured, cuts)
        share = np.full(measured.shape, np.inf, np.float32)
        for at, cut in enumerate(cuts):
            # A class whose mean is not known, or lies on the threshold, is sure of nothing.
            spread = np.array([abs((cut if one is None else one) - cut) for one in means])
            reach = spread.astype(np.float32)[level]
            distance = np.abs(measured - np.float32(cut))
            ratio = np.divide(distance, reach, out=np.zeros_like(distance), where=reach > 0)
            beside = (level == at) | (level == at + 1)
            np.minimum(share, ratio, out=share, where=beside)
        confidence = (100 * np.nan_to_num(np.minimum(share, 1))).astype(np.uint8)
        return Prediction((level + np.uint8(1)) * valid, confidence)

    def identity(self) -> dict[str, Any]:
        """Settings and revision; of an index that a package brings also what it computes."""
        return {**super().identity(), **formula_facts([self.index])}

    @property
    def _class_count(self) -> int:
        if self.method == "values":
            return len(numbers_of("thresholds", self.thresholds)) + 1
        return self.classes if self.method == "multi-otsu" else 2

    def _find(self, measured: Values) -> tuple[float, ...]:
        """The thresholds of a method for values of any order."""
        from skimage import filters

        if self.method == "multi-otsu":
            try:
                return tuple(map(float, filters.threshold_multiotsu(measured, self.classes)))  # type: ignore[no-untyped-call]
            except ValueError as error:
                raise InputError(
                    f"{self.index} has fewer different values than {self.classes} classes; set "
                    "classes to fewer"
                ) from error
        if measured.min() == measured.max():
            return (float(measured[0]),)
        find_threshold: Callable[[Values], Any] = getattr(filters, f"threshold_{self.method}")
        try:
            return (float(find_threshold(measured)),)
        except RuntimeError as error:  # of minimum: no two peaks
            raise InputError(
                f"the histogram of {self.index} has no two peaks with a valley between them; "
                "choose method=otsu or triangle"
            ) from error


def _histogram_values(index: str, sample: xr.Dataset) -> Values:
    """The finite values of a sample as methods count them: eight bits as they are in the file, all
    else in double precision."""
    measured = measure(index, sample)
    measured = measured[np.isfinite(measured)]
    bands = sample["pixels"]
    plain = np.all(sample["scale"].values == 1) and np.all(sample["offset"].values == 0)
    if bands.dtype.itemsize == 1 and plain and not names_index(index):
        return measured.astype(bands.dtype)
    return measured.astype(np.float64)


def _level(measured: Values, thresholds: Sequence[float]) -> npt.NDArray[np.uint8]:
    """How many of the thresholds a value exceeds, compared in double precision."""
    level = np.zeros(measured.shape, np.uint8)
    for threshold in thresholds:
        level += measured > np.float64(threshold)
    return level
