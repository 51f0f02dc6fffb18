"""What every segmenter is: a frozen value that maps a chip to labels.

The same class is the Python API, the JSON schema behind the form, what travels to workers and the
record of what was done. Weights and other heavy things are loaded once per process behind it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from segmentation.errors import InputError
from segmentation.legend import Legend

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import xarray as xr

Measure = Literal["probabilities", "entropy", "margin", "layers"]
"""What a method that weighs its classes can say of a pixel beside its label: the probability of
each class, how evenly they share it, and by how much the first leads; and, of itself where its card
says so, each label that the pixel has."""


FITTED = ("fitted", "ranges")
"""Fields of a segmenter that a fit fills in."""

_FILLED_IN = ("kind", "measures", *FITTED)
"""Fields of a segmenter that nobody sets: its kind, what was fitted, what the products ask for."""


class Prediction(NamedTuple):
    """The labels of one chip, with confidence and measures where a segmenter has them."""

    labels: npt.NDArray[np.uint8]
    """`(y, x)`: a value of the legend on every valid pixel, 0 on every other."""
    confidence: npt.NDArray[np.uint8] | None = None
    """`(y, x)`: 0–100 percent; anything where the pixel is not valid."""
    measures: Mapping[str, npt.NDArray[np.uint8]] = MappingProxyType({})
    """`(band, y, x)`: 0–100 percent; anything where the pixel is not valid. Of probabilities a band
    a class; of layers one for each class but the first, 0 or 1."""


class Finding(NamedTuple):
    """Something a person should know before a segmenter runs on a scene."""

    severity: Literal["refuse", "warn"]
    """Whether the run is refused, or goes on and its report says so."""
    message: str
    """A sentence: what is wrong, and what to do."""


class FitCurve(NamedTuple):
    """What a setting was chosen by in the sample of a scene, as a curve to look at."""

    judged: str
    """What is drawn upwards, in words."""
    setting: str
    """What is drawn across, in words."""
    points: tuple[tuple[float, float], ...]
    """Each value that was tried, ascending, and how it was judged."""
    choice: float
    """The value that was taken."""


class Footprint(NamedTuple):
    """How a segmenter wants a scene cut, in pixels."""

    tile: int
    """Target length of a core."""
    margin: int = 0
    """How far beyond the core it looks."""
    stride: int = 1
    """Chips must start at multiples of this."""
    blend: bool = False
    """Whether a label depends on the whole chip, so that overlapping chips are scored and settled
    together."""


class Segmenter(BaseModel, ABC):
    """A method and its settings. Subclasses narrow `kind` to a `Literal` and are registered as
    entry points."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: ClassVar[int] = 1
    """Raised whenever the same settings give other labels than before, so that no old part is
    reused."""
    needs_sample: ClassVar[bool] = False
    """Whether `fit` looks at pixels, whatever the settings."""
    one_fit: ClassVar[bool] = False
    """Whether maps that are compared must come from one fit: what it finds decides what a class
    means."""
    needs_reflectance: ClassVar[bool] = False
    """Whether a scene is refused before the work starts where `reflectance_bands` have none."""
    meanings: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What its classes are, in plain words, by name; empty where a model's card says it."""
    inspects: ClassVar[bool] = False
    """Whether `inspect` has something to say of a sample."""
    has_confidence: ClassVar[bool] = True
    """Whether it says how sure it is of a pixel."""
    kind: str

    @property
    def uses_gpu(self) -> bool:
        """Whether it computes on a graphics card where there is one."""
        return False

    @property
    def unresolved(self) -> bool:
        """Whether a setting is left for `resolve` to choose."""
        return False

    @property
    def looks_at_sample(self) -> bool:
        """Whether `fit` looks at pixels with these settings."""
        return self.needs_sample

    def bytes_per_pixel(self, threads: int) -> int:
        """Working memory per pixel of a chip in a process that computes on so many cores, for the
        plan's projection."""
        return 64

    @property
    def library_bytes(self) -> int:
        """Memory that its libraries take in a process, beside those that are in every one."""
        return 0

    @property
    def bytes_kept(self) -> int:
        """Memory per pixel of a shard until its part is written."""
        return 2

    @abstractmethod
    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        """The bands it will read, in its own order, out of those a scene has; `InputError` where
        they do not suffice.
        """

    def reflectance_bands(self, bands: Sequence[str]) -> Sequence[str]:
        """The bands, of these, whose digital numbers become reflectance where pixels show how."""
        return bands

    @property
    @abstractmethod
    def legend(self) -> Legend:
        """The classes it can say."""

    @property
    def footprint(self) -> Footprint:
        """How the scene is to be cut; a method that looks at single pixels needs no margin."""
        return Footprint(tile=1024)

    def fit(self, sample: xr.Dataset | None) -> Self:
        """This segmenter with what must be equal on every tile: computed once, from a sample of the
        whole scene.

        `sample` is a chip of blocks stacked along y (see `segmentation.chip`), or None where
        `looks_at_sample` is False.
        """
        return self

    @property
    def fit_summary(self) -> str:
        """What was found in the sample, in words; "" before and where nothing is worth saying."""
        return ""

    @property
    def fit_curve(self) -> FitCurve | None:
        """What a setting was chosen by in the sample; None where nothing was chosen."""
        return None

    def resolve(self, pixels: int, gsd: float = 0.0) -> tuple[Self, tuple[Finding, ...]]:
        """This segmenter with nothing left open, for a scene of so many pixels of `gsd` metres, 0
        where nobody knows; and what a person should know of that.

        Asked once a run, where it is planned, if `unresolved` says so. What it chooses is kept with
        what was fitted: it stands for every worker, and on resume.
        """
        return self, ()

    def at_own_pixels(self) -> tuple[Self, int]:
        """This segmenter for pixels of the size that it sees, and at which zoom it sees those of a
        scene: 2 shows it 2 × 2 for each, -3 one for 3 × 3.

        Asked once nothing is left to `resolve`. `InputError` of a method that has none of its own.
        """
        raise InputError(
            f"{self.kind} sees the pixels of the scene; leave --grid model out or choose a trained "
            "network with --segmenter"
        )

    def with_measures(self, measures: Sequence[Measure]) -> Self:
        """This segmenter, saying `measures` too; `InputError` where it cannot."""
        if measures:
            raise InputError(
                f"{self.kind} decides without probabilities; leave {', '.join(measures)} out of "
                "--products or choose a "
                "trained model with --segmenter"
            )
        return self

    def inspect(self, sample: xr.Dataset, gsd: float) -> tuple[Finding, ...]:
        """What speaks against running on a scene, from a sample of it and its resolution in metres.

        Asked only where `inspects` says so.
        """
        return ()

    def runtime_facts(self) -> dict[str, str]:
        """What, besides settings and pixels, decides the numbers in this process: device, library,
        precision."""
        import numpy as np

        return {"numpy": np.__version__}

    @abstractmethod
    def __call__(self, chip: xr.Dataset) -> Prediction:
        """Labels of one chip."""

    def predict_many(self, chips: Iterable[xr.Dataset]) -> Iterator[Prediction]:
        """Labels of many chips of one shape, in order; networks override this to batch them."""
        return map(self, chips)

    def score_many(self, chips: Iterable[xr.Dataset]) -> Iterator[npt.NDArray[np.float32] | None]:
        """Of a segmenter that blends: what each of many chips adds to the scores of its pixels, in
        order.

        `(class, y, x) float32`, to be summed up over all chips that hold a pixel; None where none
        is valid. They may lie on a device, where `no_scores` begins the sum, and are good until
        the next are asked for.
        """
        raise NotImplementedError(f"{self.kind} does not blend chips")

    def no_scores(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Of a segmenter that blends: a sum of scores of that shape to which nothing was added,
        zeros of an array that is sliced and added to as one of NumPy."""
        import numpy as np

        return np.zeros(shape, np.float32)

    def predict_from_scores(
        self, total: npt.NDArray[np.float32] | None, valid: npt.NDArray[np.bool_]
    ) -> Prediction:
        """Of a segmenter that blends: labels from summed scores; None is a sum of nothing."""
        raise NotImplementedError(f"{self.kind} does not blend chips")

    def identity(self) -> dict[str, Any]:
        """Everything that decides its labels, as plain JSON: part of every part's key and of the
        run's record."""
        return {**self.model_dump(mode="json"), "revision": self.revision}


def predict(segmenter: Segmenter, chips: Iterable[xr.Dataset]) -> Iterator[Prediction]:
    """Run a segmenter over chips and hold it to its word: a class of its legend exactly where a
    pixel is valid."""
    valids: list[npt.NDArray[np.bool_]] = []

    def noted() -> Iterator[xr.Dataset]:
        for chip in chips:
            valids.append(chip["valid"].values)
            yield chip

    for prediction in segmenter.predict_many(noted()):
        yield check_prediction(segmenter, prediction, valids.pop(0))


def check_prediction(
    segmenter: Segmenter, prediction: Prediction, valid: npt.NDArray[np.bool_]
) -> Prediction:
    """The prediction, if it has a class of the legend exactly where a pixel is valid.

    Raises `RuntimeError` where it has not.
    """
    # here, not above: the help of a command needs every segmenter's class, and no array
    import numpy as np

    labels = prediction.labels
    if labels.shape != valid.shape or labels.dtype != np.uint8:
        raise RuntimeError(
            f"segmenter {segmenter.kind} returned labels {labels.dtype}{labels.shape} for a chip "
            f"of {valid.shape}"
        )
    allowed = np.zeros(256, bool)
    allowed[list(segmenter.legend.values)] = True
    if not np.array_equal(allowed[labels], valid) or np.any(labels[~valid]):
        strange = sorted(set(np.unique(labels[valid])) - set(segmenter.legend.values))
        raise RuntimeError(
            f"segmenter {segmenter.kind} broke its contract: "
            + (
                f"values {strange} are not in its legend"
                if strange
                else "it labelled pixels that are not valid"
            )
        )
    return prediction


def settings(segmenter: type[Segmenter]) -> dict[str, FieldInfo]:
    """What a person may set, by name: all fields but the kind and those that a run fills in."""
    return {name: one for name, one in segmenter.model_fields.items() if name not in _FILLED_IN}
