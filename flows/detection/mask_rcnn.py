"""Mask R-CNN over a whole scene: chips of a fixed lattice, reconciled."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field

from flows.partitions.fit import Fit, fit_sample
from flows.partitions.partition import Gives, Judged, Level, Partition
from flows.partitions.settings import LeastArea
from flows.partitions.surfaces import Surfaces
from flows.setting import REGIONS, Setting
from segmentation.detection.find import SCORES, STEPS, Instance, instances, look, normalise
from segmentation.detection.network import loaded
from segmentation.inference.device import device_of
from segmentation.models.bundle import Bundle, load
from segmentation.models.card import Card
from segmentation.models.hub import fetch_bundle, is_id
from segmentation.models.preflight import COARSER, inspect
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.spill import Map
from tiling.regions.masks.masks import Mask, Masks
from tiling.regions.masks.reconcile import Lattice, reconcile
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import xarray as xr

SLACK = 2
"""Pixels beyond its core within which a chip takes objects too: two chips see a middle a pixel
apart, and none is lost between them. What both take is one object afterwards."""

_CHIP_BYTES = 600
"""Of a pixel of a chip while a network looks at it, about."""
_HEADS_BYTES = 500 * 2**20
"""Of torch, and of the boxes and masks of a chip, about."""


Detector: TypeAlias = Annotated[
    str,
    Field(
        title="Detector",
        description="Model that finds objects one by one: a folder that landweave train "
        "--instances --architecture mask-rcnn wrote.",
    ),
    Setting(REGIONS, metavar="DIR", path=True),
]
LeastScore: TypeAlias = Annotated[
    int,
    Field(
        ge=5,
        le=100,
        title="Least score",
        description="How sure the network has to be of an object.",
        json_schema_extra={"unit": "%"},
    ),
    Setting(REGIONS, metavar="PERCENT"),
]
Overlap: TypeAlias = Annotated[
    int,
    Field(
        ge=1,
        le=100,
        title="Overlap",
        description="Share of the smaller of two objects that lies in the other from which the "
        "less sure one goes.",
        json_schema_extra={"unit": "%"},
    ),
    Setting(REGIONS, metavar="PERCENT"),
]


class DetectorFit(Fit):
    """What was found in a sample, and by which model objects are found."""

    digest: str


class MaskRcnn(Partition):
    """Objects that a trained Mask R-CNN finds one by one, each with a class and a score.

    The network looks at chips of one size on a fixed lattice that begins at the first pixel of the
    scene, each a core and a margin at least as wide as the largest object it learnt from. An object
    belongs to the chip whose core holds the middle of its box. All objects of the scene have one
    order: the surest first, in steps of 1/10,000, of equals the one that begins first. In this
    order each stays unless half of it (`overlap`), or of one before it that stays, lies in the
    other; a pixel of several goes to the first, and each keeps its largest piece. The rule is
    greedy suppression over the whole scene (He et al. 2017, arXiv:1703.06870), by pixels in the
    place of boxes.
    """

    gives: ClassVar[Gives] = "mask"

    kind: Literal["mask-rcnn"] = "mask-rcnn"
    detector: Detector = ""
    least_score: LeastScore = 50
    overlap: Overlap = 50
    least_area: LeastArea = 0.0
    fitted: DetectorFit | None = None

    @property
    def bundle(self) -> Bundle:
        """Its model; `InputError` where there is none, or it finds no objects."""
        if not self.detector:
            raise InputError(
                "--method mask-rcnn needs --detector, the folder of a model that landweave train "
                "--instances --architecture mask-rcnn made"
            )
        bundle = load(fetch_bundle(self.detector) if is_id(self.detector) else self.detector)
        _ = bundle.card.detector
        return bundle

    @property
    def card(self) -> Card:
        """What its model is."""
        return self.bundle.card

    @property
    def chip_bytes(self) -> int:
        model = self.card.detector
        features = (model.tile + 2 * model.margin) ** 2 * 4 // model.stem**2
        return features * _CHIP_BYTES * model.width // 64 + _HEADS_BYTES

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        """Those that its model looks at, and those that are asked for; `InputError` where one is
        not there."""
        named = super().bands(available)
        if not self.detector:
            return named  # `check` says so
        wanted = self.card.band_names
        if missing := [name for name in wanted if name not in available]:
            raise InputError(
                f"{self.detector} looks at {', '.join(wanted)}, and there is no band {missing[0]}; "
                f"there are {', '.join(available)}. Say which are which with --bands"
            )
        return tuple(dict.fromkeys((*named, *wanted)))

    def check(self, scene: Scene) -> None:
        super().check(scene)
        off = max(scene.gsd / self.card.gsd, self.card.gsd / scene.gsd)
        if off > COARSER:
            raise InputError(
                f"{self.detector} learnt from pixels of {self.card.gsd:.3g} m, and these have "
                f"{scene.gsd:.3g} m; objects are as many pixels as it learnt only where both are "
                "alike: resample the scene, or train on such pixels"
            )

    def fit(self, sample: xr.Dataset) -> Self:
        card = self.card
        seen = sample.sel(band=list(card.band_names))
        for finding in inspect(card, seen, card.gsd):
            if finding.severity == "refuse":
                raise InputError(f"{self.detector}: {finding.message}")
        found = DetectorFit(**fit_sample(sample).model_dump(), digest=self.bundle.digest)
        return self.model_copy(update={"fitted": found})

    @property
    def fit_summary(self) -> str:
        """Which objects are found, and how."""
        model, names = self.card.detector, [name for _, name, _ in self.card.legend.rows[1:]]
        return f"{', '.join(names)} in chips of {model.tile} px and {model.margin} px around them"

    def identity(self) -> dict[str, Any]:
        """What decides its regions; of its model what is in it, wherever that lies."""
        told = self.model_dump(mode="json", exclude={"detector"})
        model = self.bundle.digest if self.detector else ""
        return {**told, "revision": self.revision, "model": model}

    def find(self, source: Surfaces, *, tile: int, map: Map) -> Iterator[Level]:
        assert self.fitted is not None  # a partition is fitted before it finds anything
        model, least = self.card.detector, math.ceil(self.least_area / source.scene.gsd**2)
        folder = source.subfolder("objects")
        lattice = Lattice(source.shape, model.tile, model.margin, folder)
        searching = Searching(
            source.scene,
            str(self.bundle.folder.absolute()),
            self.fitted.digest,
            self.least_score * SCORES // 100,
        )
        found = reconcile(
            searching, lattice, overlap=self.overlap, least=max(1, least), tile=tile, map=map
        )
        yield Level(
            None, found.labels, Judged(found.score / SCORES, found.kind, self.card.legend.rows)
        )


@dataclass(frozen=True)
class Searching:
    """Finds the objects that belong to a square of the lattice, on a graphics card where the
    machine that looks has one; it travels."""

    scene: Scene
    bundle: str
    digest: str
    least: int
    """Of scores."""

    def __call__(self, square: Window) -> Masks:
        card = load(self.bundle).card
        model = card.detector
        chip = Window(square.row, square.col, model.tile, model.tile).pad(model.margin)
        pixels = self.scene.read(chip, card.band_names)
        if not pixels["valid"].values.any():
            return Masks.of(())
        said = look(loaded(self.bundle, self.digest, device_of("auto")), normalise(pixels, card))
        found = instances(said, chip.shape, self.least)
        return own_masks(found, pixels["valid"].values, card, chip)


def own_masks(found: Iterator[Instance], valid: Any, card: Card, chip: Window) -> Masks:
    """The objects of a chip whose middle lies in its core, as masks of the raster without what is
    not valid."""
    model = card.detector
    low, high = (model.margin - SLACK) * STEPS, (model.margin + model.tile + SLACK) * STEPS
    masks = []
    for one in found:
        if not all(low <= at < high for at in one.centre):
            continue
        height, width = one.pixels.shape
        there = valid[one.row : one.row + height, one.col : one.col + width]
        value = card.legend.values[one.channel]
        row, col = chip.row + one.row, chip.col + one.col
        if mask := Mask(row, col, one.pixels & there, one.score, value).trim():
            masks.append(mask)
    return Masks.of(masks)
