"""What every partition is: a frozen value that says what of a scene is flooded or compared, and
which engines make regions of it.

The same class is the Python API, the options of the command line, the form, what travels to workers
and the record of what was done. Everything that decides about regions is a whole number, so no cut
shows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from flows.partitions.fit import Fit, blocks, fit_sample
from flows.partitions.settings import BandsUsed, Rounds
from flows.partitions.surfaces import Surface, Surfaces
from flows.setting import setting_in
from segmentation.relief.gradient import Flags, Heights, gradient_heights
from segmentation.relief.quantum import quantise
from tiling.classmaps.legend import LegendRow
from tiling.errors import InputError
from tiling.io.remote import identity
from tiling.io.spill import Map
from tiling.regions.labelling import LabelFiles
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

_FILLED_IN = ("kind", "fitted", "told")
"""Fields of a partition that nobody sets."""

Gives = Literal["regions", "mask", "edges"]
"""What a partition leaves: regions that cover all valid pixels, regions among others, or lines."""


class Judged(NamedTuple):
    """What a method says of regions, one by one in the order of their first pixels."""

    score: npt.NDArray[np.float64] | None
    """How sure it is of each, 0 to 1; None where `certainty` tells."""
    values: npt.NDArray[np.int64]
    """The class of each; one where all have the same."""
    legend: tuple[LegendRow, ...]
    """What classes are called."""


class Level(NamedTuple):
    """One partition of a scene."""

    scale: float | None
    """None: the method has no scales."""
    labels: LabelFiles
    judged: Judged | None = None
    """None: the method knows nothing of regions."""


class Certainty(NamedTuple):
    """Whose mean over a region says how sure a method is that there is one."""

    band: str
    whole: float
    """The stored value that stands for certainty; 0 stands for none."""


class Partition(BaseModel, ABC):
    """A way in which a scene falls into regions, and its settings. Subclasses narrow `kind` to a
    `Literal` and are registered as entry points."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: ClassVar[int] = 1
    """Raised whenever the same settings give other regions than before."""
    gives: ClassVar[Gives] = "regions"
    looks_first: ClassVar[bool] = False
    """Whether models have to look at the scene before it is partitioned."""
    bytes_per_pixel: ClassVar[int] = 192
    """Working memory per pixel of a tile, for the plan's projection."""

    kind: str
    bands_used: BandsUsed = ()
    fitted: Fit | None = None

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        """The bands it reads, in its own order, out of those a scene has; `InputError` where one is
        not there."""
        missing = [name for name in self.bands_used if name not in available]
        if missing:
            raise InputError(f"there is no band {missing[0]}; there are {', '.join(available)}")
        return self.bands_used or tuple(available)

    def image_bands(self, available: Collection[str]) -> tuple[str, ...]:
        """Those of its bands whose numbers may be reflectance of unknown scale."""
        return self.bands(available)

    @property
    def classes(self) -> tuple[LegendRow, ...]:
        """The classes that every pixel has one of; none where only regions are made."""
        return ()

    @property
    def class_bands(self) -> dict[int, str]:
        """Bands that say how likely the classes are that pixels without a region have, by value."""
        return {}

    @property
    def certainty(self) -> Certainty | None:
        """What says how sure it is of a region; None where nothing does."""
        return None

    @property
    def reach(self) -> int:
        """Pixels beyond a window that decide about its surface."""
        return 0

    @property
    def touch_at_corners(self) -> bool:
        """Whether a region may hang together by corners alone."""
        return False

    @property
    def files(self) -> tuple[str, ...]:
        """The files that its settings name: those of settings that are paths."""
        fields = settings(type(self))
        paths = (name for name, info in fields.items() if (one := setting_in(info)) and one.path)
        return tuple(str(path) for name in paths if (path := getattr(self, name)))

    @property
    def chip_bytes(self) -> int:
        """What a task takes beside its tile."""
        return 0

    @property
    def held_bytes(self) -> float:
        """What the calling process holds of every pixel of a scene, beside that of seams."""
        return 0

    def check(self, scene: Scene) -> None:
        """Raise `InputError` where its files or settings do not fit a scene."""
        self.bands(scene.band_names)

    def fit(self, sample: xr.Dataset) -> Self:
        """This partition with what must be equal on every tile: computed once from a sample of the
        whole scene, a chip of square blocks stacked along y.

        Raises `InputError` where no pixel is valid.
        """
        return self.model_copy(update={"fitted": fit_sample(sample)})

    @property
    def fit_summary(self) -> str:
        """What was found in the sample, in words; "" where nothing is worth saying."""
        return ""

    @property
    def _fit(self) -> Fit:
        if self.fitted is None:
            raise RuntimeError(f"{self.kind} is not fitted yet: fit it on a sample of the scene")
        return self.fitted

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        """What engines see of a chip whose first pixel lies at `row, col` of the raster; the
        outermost `reach` pixels are meaningless."""
        return Surface(quantise(chip, self._fit.quanta), chip["valid"].values)

    @abstractmethod
    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        """Leave regions in folders of `source`, from fine to coarse; the same for every `tile`.

        `map` may work elsewhere, as long as results come in order and the folder is there too.
        """

    def identity(self) -> dict[str, Any]:
        """Everything that decides its regions, as plain JSON: settings, fit, revision, and what its
        files hold now."""
        files = [identity(path) for path in self.files]
        return {**self.model_dump(mode="json"), "revision": self.revision, "files": files}


class GradientPartition(Partition):
    """A partition that follows the gradient of the image."""

    rounds: Rounds = 1

    @property
    def reach(self) -> int:
        return self.rounds + 1

    def fit(self, sample: xr.Dataset) -> Self:
        return self.model_copy(update={"fitted": fit_sample(sample, self.rounds)})

    def surface(self, chip: xr.Dataset, row: int, col: int) -> Surface:
        plain = super().surface(chip, row, col)
        return plain._replace(heights=gradient_heights(plain.values, plain.valid, self.rounds))

    def reliefs(self, sample: xr.Dataset) -> Iterator[tuple[Heights, Flags]]:
        """What would be flooded of each block of a sample, `(y, x)` heights and where they are
        valid, if nothing were around it."""
        for block in blocks(sample):
            surface = self.surface(block, 0, 0)
            assert surface.heights is not None
            yield surface.heights, surface.valid


def settings(partition: type[Partition]) -> dict[str, FieldInfo]:
    """What a person may set, by name: all fields but the kind and what a run fills in."""
    return {name: one for name, one in partition.model_fields.items() if name not in _FILLED_IN}
