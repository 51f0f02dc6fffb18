"""A trained network on a chip: labels from what is around a pixel, not its colour alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from segmentation.errors import InputError
from segmentation.forests.forest import bytes_per_pixel as forest_bytes
from segmentation.forests.forest import load_trees
from segmentation.inference.device import (
    Device,
    Runtime,
    WantedPrecision,
    device_of,
    threads,
)
from segmentation.inference.engine import (
    BYTES_PER_PIXEL,
    TORCH_BYTES,
    no_scores,
    parallel_chips,
    predict_chips,
    predict_from_scores,
    runtime_facts,
    scores,
)
from segmentation.inference.joint import margin_with_trees
from segmentation.inference.labelling import InferenceOptions
from segmentation.inference.measures import bands_of
from segmentation.inference.runtimes import choose_runtime
from segmentation.inference.transfer import measure_ranges
from segmentation.inference.zoom import zoom_footprint
from segmentation.models.card import NetworkModel, OnnxModel
from segmentation.models.processing import LARGEST_ZOOM, check_zoom, is_plain
from segmentation.models.trained import TrainedSegmenter
from segmentation.segmenter import Finding, Footprint, Measure, Prediction


def _read_zoom(zoom: Any) -> Any:
    """A zoom, which people also write as 1/3."""
    if isinstance(zoom, str) and zoom.replace(" ", "").startswith("1/"):
        return f"-{zoom.partition('/')[2].strip()}"
    return zoom


class ChipSegmenter(TrainedSegmenter):
    """What every trained model that looks at chips has: how they are cut, what it is run on."""

    tile: Annotated[
        int | None,
        Field(
            ge=32,
            json_schema_extra={"unit": "pixels"},
            description="Length of a core in pixels that the model sees; empty: the bundle's.",
        ),
    ] = None
    margin: Annotated[
        int | None,
        Field(
            ge=0,
            json_schema_extra={"unit": "pixels"},
            description="Pixels that the model sees around a core; empty: the bundle's.",
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
    zoom: Annotated[
        int | None,
        Field(
            ge=-LARGEST_ZOOM,
            le=LARGEST_ZOOM,
            description="2 shows it 2 × 2 pixels for each, -3 (or 1/3) one for 3 × 3, 1 those of "
            "the scene; empty: what brings them nearest to those it learnt from.",
        ),
        BeforeValidator(_read_zoom),
        AfterValidator(check_zoom),
    ] = None
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
    def uses_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def looks_at_sample(self) -> bool:
        return self.loaded_bundle.card.preprocessing.of_scene

    def fit(self, sample: xr.Dataset | None) -> Self:
        bound = super().fit(sample)
        if self.loaded_bundle.card.beside is not None:
            load_trees(self.loaded_bundle)  # what is wrong with them is said before the work starts
        if sample is None or not self.looks_at_sample:
            return bound
        return bound.model_copy(update={"ranges": measure_ranges(sample, self.loaded_bundle.card)})

    @property
    def footprint(self) -> Footprint:
        return zoom_footprint(self._own_footprint, self.zoom or 1)

    @property
    def _own_footprint(self) -> Footprint:
        """How it wants a scene cut, in pixels that it sees."""
        chips = self._chips
        return Footprint(
            tile=chips.tile if self.tile is None else self.tile,
            margin=margin_with_trees(
                self.loaded_bundle.card, chips.margin if self.margin is None else self.margin
            ),
            stride=chips.stride,
            blend=chips.support is None,
        )

    @property
    @abstractmethod
    def _chips(self) -> NetworkModel | OnnxModel:
        """What the bundle's card says of its model; `InputError` where that is of another kind."""

    def bytes_per_pixel(self, threads: int) -> int:
        card, zoom = self.loaded_bundle.card, self.zoom or 1
        beside = 0 if card.beside is None else forest_bytes(card, 1)
        seen = BYTES_PER_PIXEL + 8 * len(card.legend) + beside
        if zoom > 1:
            seen *= zoom**2
        elif zoom < 0:
            # beside few pixels of its own those of the scene, and what they get back
            back = 20 * len(card.legend) if self.footprint.blend else self.bytes_kept
            seen = -(-seen // zoom**2) + 8 * len(card.bands) + back
        return self._lanes(threads) * seen

    @property
    def bytes_kept(self) -> int:
        measured = sum(bands_of(name, self.loaded_bundle.card) for name in self.measures)
        return 2 + measured + 4 * len(self.legend) * self.footprint.blend

    @property
    def unresolved(self) -> bool:
        return self.zoom is None

    def resolve(self, pixels: int, gsd: float = 0.0) -> tuple[Self, tuple[Finding, ...]]:
        from segmentation.models.preflight import choose_zoom

        zoom = self.zoom
        if zoom is None:
            zoom = choose_zoom(self.loaded_bundle.card, gsd) if gsd else 1
        return self.model_copy(update={"zoom": zoom}), ()

    def at_own_pixels(self) -> tuple[Self, int]:
        return self.model_copy(update={"zoom": 1}), self.zoom or 1

    def inspect(self, sample: xr.Dataset, gsd: float) -> tuple[Finding, ...]:
        from segmentation.models.preflight import inspect

        found = inspect(self.loaded_bundle.card, sample, gsd, self.zoom)
        if self.tta and self.legend.is_directed:
            told = f"{self.loaded_bundle.card.name} tells sides of pixels, which turn with an image"
            return (*found, Finding("refuse", f"{told}; leave tta out"))
        return found

    def with_measures(self, measures: Sequence[Measure]) -> Self:
        layers = self.loaded_bundle.card.activation.has_layers
        return self.model_copy(update={"measures": (*measures, *(("layers",) if layers else ()))})

    def runtime_facts(self) -> dict[str, str]:
        facts = runtime_facts(self.loaded_bundle, *self._computing, self._chip_length)
        if self.loaded_bundle.card.beside is not None:
            facts |= {"sklearn": version("scikit-learn")}
        return facts

    def __call__(self, chip: xr.Dataset) -> Prediction:
        return next(self.predict_many([chip]))

    def predict_many(self, chips: Iterable[xr.Dataset]) -> Iterator[Prediction]:
        return predict_chips(
            self.loaded_bundle, *self._computing, chips, self._lanes(threads()) + 1
        )

    def no_scores(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = no_scores(self._computing[0], shape)
        return found

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
        device, wish = self._computing
        return predict_from_scores(
            self.loaded_bundle.card,
            self.measures,
            total,
            valid,
            of_arrays=device == "cpu" and wish.runtime != "torch",
        )

    @property
    @abstractmethod
    def _computing(self) -> tuple[Device, InferenceOptions]:
        """On which device of this process, and how."""

    @property
    def _chip_length(self) -> int:
        """Of the sides of chips as the network sees them."""
        tile, margin, *_ = self.footprint
        zoom = self.zoom or 1
        return (tile + 2 * margin) * zoom if zoom > 0 else (tile + 2 * margin) // -zoom

    def _lanes(self, threads: int) -> int:
        return parallel_chips(self._chip_length**2, threads)


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
    precision: Annotated[
        WantedPrecision,
        Field(
            exclude_if=lambda precision: precision == "auto",
            description="Of products on a GPU; auto: tf32 where it has it and gives a CPU's "
            "labels, else float32. A CPU computes in float32.",
        ),
    ] = "auto"

    @model_validator(mode="after")
    def _suits_its_device(self) -> Self:
        if self.device == "cuda" and self.runtime not in ("auto", "torch"):
            raise InputError(
                f"runtime {self.runtime} computes on a CPU; use device=cpu, or leave runtime out"
            )
        if self.device == "cpu" and self.precision not in ("auto", "float32"):
            raise InputError(
                f"precision {self.precision} is one of GPUs, and device cpu computes in float32; "
                "leave precision or device out"
            )
        return self

    @property
    def library_bytes(self) -> int:
        return 0 if self.runtime in ("openvino", "onnx") else TORCH_BYTES

    @property
    def _chips(self) -> NetworkModel:
        return self.loaded_bundle.card.network

    @property
    def unresolved(self) -> bool:
        return self.runtime == "auto" or super().unresolved

    def resolve(self, pixels: int, gsd: float = 0.0) -> tuple[Self, tuple[Finding, ...]]:
        resolved, findings = super().resolve(pixels, gsd)
        if self.runtime != "auto":
            return resolved, findings
        runtime, against = choose_runtime(self.loaded_bundle, self.device, pixels)
        doubts = (Finding("warn", fact) for fact in against)
        return resolved.model_copy(update={"runtime": runtime}), (*findings, *doubts)

    @property
    def _computing(self) -> tuple[Device, InferenceOptions]:
        device = device_of(self.device)
        runtime = "torch" if device == "cuda" or self.runtime == "auto" else self.runtime
        wish = InferenceOptions(runtime, self.tta, self.measures, self.ranges)
        return device, wish._replace(zoom=self.zoom or 1, precision=self.precision)
