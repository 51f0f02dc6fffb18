"""A trained network on a chip: labels from what is around a pixel, not its colour alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import Field, model_validator

from segmentation.errors import InputError
from segmentation.inference.batching import parallel_chips
from segmentation.inference.device import Device, Runtime, device_of, threads
from segmentation.inference.engine import (
    BYTES_PER_PIXEL,
    InferenceOptions,
    predict_chips,
    predict_from_scores,
    runtime_facts,
    scores,
)
from segmentation.inference.runtimes import choose_runtime
from segmentation.inference.transfer import measure_ranges
from segmentation.models.card import NetworkModel, OnnxModel
from segmentation.models.processing import is_plain
from segmentation.models.trained import TrainedSegmenter
from segmentation.segmenter import Finding, Footprint, Measure, Prediction


class ChipSegmenter(TrainedSegmenter):
    """What every trained model that looks at chips has: how they are cut, what it is run on."""

    uses_gpu: ClassVar[bool] = True

    tile: Annotated[
        int | None,
        Field(
            ge=32,
            json_schema_extra={"unit": "pixels"},
            description="Length of a core in pixels; empty: the bundle's.",
        ),
    ] = None
    margin: Annotated[
        int | None,
        Field(
            ge=0,
            json_schema_extra={"unit": "pixels"},
            description="Pixels seen around a core; empty: the bundle's.",
        ),
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="auto: the GPU if there is one.")
    ] = "auto"
    tta: Annotated[
        bool,
        Field(
            description="Look at each chip in its 8 turns and mirror images: better, 8 × slower."
        ),
    ] = False
    measures: Annotated[
        tuple[Measure, ...], Field(description="Filled in from the products asked for.")
    ] = ()
    ranges: Annotated[
        tuple[tuple[float, float], ...],
        Field(
            exclude_if=is_plain,
            description="Values of each band that become 0 and 1, where the bundle's card says so; "
            "filled in by fit.",
        ),
    ] = ()

    @property
    def looks_at_sample(self) -> bool:
        return self.loaded_bundle.card.preprocessing.of_scene

    def fit(self, sample: xr.Dataset | None) -> Self:
        bound = super().fit(sample)
        if sample is None or not self.looks_at_sample:
            return bound
        return bound.model_copy(update={"ranges": measure_ranges(sample, self.loaded_bundle.card)})

    @property
    def footprint(self) -> Footprint:
        chips = self._chips
        return Footprint(
            tile=chips.tile if self.tile is None else self.tile,
            margin=chips.margin if self.margin is None else self.margin,
            stride=chips.stride,
            blend=chips.support is None,
        )

    @property
    @abstractmethod
    def _chips(self) -> NetworkModel | OnnxModel:
        """What the bundle's card says of its model; `InputError` where that is of another kind."""

    def bytes_per_pixel(self, threads: int) -> int:
        return self._lanes(threads) * (BYTES_PER_PIXEL + 8 * len(self.legend))

    @property
    def bytes_kept(self) -> int:
        classes = len(self.legend)
        measured = sum(classes if name == "probabilities" else 1 for name in self.measures)
        return 2 + measured + 4 * classes * self.footprint.blend

    def with_measures(self, measures: Sequence[Measure]) -> Self:
        return self.model_copy(update={"measures": tuple(measures)})

    def runtime_facts(self) -> dict[str, str]:
        return runtime_facts(self.loaded_bundle, *self._computing)

    def __call__(self, chip: xr.Dataset) -> Prediction:
        return next(self.predict_many([chip]))

    def predict_many(self, chips: Iterable[xr.Dataset]) -> Iterator[Prediction]:
        return predict_chips(
            self.loaded_bundle, *self._computing, chips, self._lanes(threads()) + 1
        )

    def score_many(self, chips: Iterable[xr.Dataset]) -> Iterator[npt.NDArray[np.float32] | None]:
        return scores(
            self.loaded_bundle,
            *self._computing,
            chips,
            self._lanes(threads()) + 1,
            self.footprint.margin,
        )

    def predict_from_scores(
        self, total: npt.NDArray[np.float32] | None, valid: npt.NDArray[np.bool_]
    ) -> Prediction:
        return predict_from_scores(self.loaded_bundle.card, self.measures, total, valid)

    @property
    @abstractmethod
    def _computing(self) -> tuple[Device, InferenceOptions]:
        """On which device of this process, and how."""

    def _lanes(self, threads: int) -> int:
        tile, margin, *_ = self.footprint
        return parallel_chips((tile + 2 * margin) ** 2, threads)


class Network(ChipSegmenter):
    """A trained network: learns shapes and textures as well as colours."""

    revision: ClassVar[int] = 4

    kind: Literal["network"] = "network"
    runtime: Annotated[
        Literal["auto", Runtime],
        Field(
            description="What computes on a CPU; auto: what suits the scene's size. On a GPU it "
            "is torch."
        ),
    ] = "torch"

    @model_validator(mode="after")
    def _has_no_other_on_a_gpu(self) -> Self:
        if self.device == "cuda" and self.runtime not in ("auto", "torch"):
            raise InputError(
                f"runtime {self.runtime} computes on a CPU; use device=cpu, or leave runtime out"
            )
        return self

    @property
    def _chips(self) -> NetworkModel:
        return self.loaded_bundle.card.network

    @property
    def unresolved(self) -> bool:
        return self.runtime == "auto"

    def resolve(self, pixels: int) -> tuple[Self, tuple[Finding, ...]]:
        runtime, against = choose_runtime(self.loaded_bundle, self.device, pixels)
        return self.model_copy(update={"runtime": runtime}), tuple(
            Finding("warn", fact) for fact in against
        )

    @property
    def _computing(self) -> tuple[Device, InferenceOptions]:
        device = device_of(self.device)
        runtime = "torch" if device == "cuda" or self.runtime == "auto" else self.runtime
        return device, InferenceOptions(runtime, self.tta, self.measures, self.ranges)
