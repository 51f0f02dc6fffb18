"""What is measured of regions: shape, and colour band by band, from exact sums over their
pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.partitions.partition import Judged
from flows.products.index_measures import index_columns
from flows.regions.plan import ObjectsPlan
from segmentation.relief.quantum import Quantum, quantise
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.spill import Map
from tiling.regions.facts.measure import measure_regions
from tiling.regions.facts.region_facts import FactRows, RegionFacts
from tiling.regions.passes import Flags, Values
from tiling.scene.scene import Scene

Numbers = npt.NDArray[np.integer]
"""`(n,)` numbers of regions."""


@dataclass(frozen=True)
class RegionColumn:
    """A column of a layer that is known by the numbers of regions."""

    name: str
    alias: str
    meaning: str
    read: Callable[[Numbers], npt.NDArray[Any]]
    """Values of some regions."""
    whole: bool = False
    """Whether they are whole numbers."""
    text: bool = False
    """Whether they are words."""


@dataclass(frozen=True)
class SceneValues:
    """Reads a scene in whole numbers on a grid whose first pixel is at (`row`, `col`) of it: a
    `Read` of `tiling.regions.passes`."""

    scene: Scene
    bands: tuple[str, ...]
    quanta: tuple[Quantum, ...]
    row: int = 0
    col: int = 0

    def __call__(self, window: Window) -> tuple[Values, Flags]:
        chip = self.scene.read(window.shift(self.row, self.col), self.bands)
        return quantise(chip, self.quanta), chip["valid"].values


def quanta_of(plan: ObjectsPlan) -> tuple[Quantum, ...]:
    """How the method has counted the bands, one by one; none where it has not."""
    fitted = plan.partition.fitted
    return fitted.quanta if fitted else ()


def measure(plan: ObjectsPlan, raster: Path, n: int, work: Path, map: Map) -> RegionFacts:
    """The facts of the regions 1 … n of a raster, in files of `work`; none of colour where the
    method has not counted the bands."""
    quanta = quanta_of(plan)
    bands = plan.bands if quanta else ()
    values = SceneValues(plan.scene, bands, quanta, plan.window.row, plan.window.col)
    with open_dataset(str(raster)) as source:
        areas = PixelAreas(geobox_of(source))
    work.mkdir()
    return measure_regions(
        raster, n, values, areas, len(bands), scratch=work, tile=plan.request.tile, map=map
    )


def describe(facts: RegionFacts, plan: ObjectsPlan) -> list[RegionColumn]:
    """The columns that say how regions look."""
    quanta = quanta_of(plan)
    bands = plan.bands if quanta else ()
    return [
        *describe_certainty(facts, plan),
        *describe_shape(facts),
        *describe_colour(facts, bands, quanta, plan),
    ]


def describe_certainty(facts: RegionFacts, plan: ObjectsPlan) -> list[RegionColumn]:
    """How sure the method is of a region, where it says so."""
    certainty = plan.partition.certainty
    if certainty is None:
        return []
    place, known = plan.bands.index(certainty.band), plan.scene.band(certainty.band)
    rows, quantum = RowsOf(facts), quanta_of(plan)[place]

    def score(numbers: Numbers) -> Any:
        stored = (quantum.restore(rows.at(numbers).mean[place]) - known.offset) / known.scale
        return stored / certainty.whole

    meaning = f"Mean of {certainty.band} over the object, 0 to 1"
    return [RegionColumn("score", "Score", meaning, score)]


def describe_judged(judged: Judged | None) -> list[RegionColumn]:
    """How sure the method is of a region, and which class it has, where it says so."""
    if judged is None:
        return []
    names = np.zeros(1 + max(value for value, *_ in judged.legend), object)
    for value, name, _ in judged.legend:
        names[value] = name
    score, values = judged.score, judged.values
    columns = []
    if score is not None:
        sure = "How sure the method is of the object, 0 to 1"
        columns.append(RegionColumn("score", "Score", sure, lambda n: score[n - 1]))
    what = RegionColumn("class", "Class", "What it is", lambda n: names[values[n - 1]], text=True)
    return [*columns, what]


def describe_shape(facts: RegionFacts) -> list[RegionColumn]:
    """How round, how long and in which direction regions are."""
    rows = RowsOf(facts)
    return [
        RegionColumn(
            "compactness",
            "Compactness",
            "4π × area / perimeter² along pixels: π/4 of a square, less of what is long or ragged",
            lambda numbers: rows.at(numbers).compactness,
        ),
        RegionColumn(
            "major_m",
            "Longer axis (m)",
            "Longer axis of the ellipse with the moments of the object",
            lambda numbers: 4 * np.sqrt(rows.at(numbers).axes[0]),
        ),
        RegionColumn(
            "minor_m",
            "Shorter axis (m)",
            "Shorter axis of that ellipse",
            lambda numbers: 4 * np.sqrt(rows.at(numbers).axes[1]),
        ),
        RegionColumn(
            "elongation",
            "Elongation",
            "How many times longer than wide: ratio of the axes of the ellipse of its moments",
            lambda numbers: rows.at(numbers).elongation,
        ),
        RegionColumn(
            "orientation",
            "Orientation (°)",
            "Direction of the longer axis, clockwise from the raster's up, 0 to 180",
            lambda numbers: rows.at(numbers).orientation,
        ),
    ]


def describe_colour(
    facts: RegionFacts, bands: Sequence[str], quanta: Sequence[Quantum], plan: ObjectsPlan
) -> list[RegionColumn]:
    """Mean, spread and texture of each band, in its units."""
    rows, columns = RowsOf(facts), []
    stems = name_columns(bands, index_columns(plan.request.indices))
    for band, (name, stem) in enumerate(zip(bands, stems, strict=True)):
        quantum, units = quanta[band], plan.scene.band(name).units

        def mean(numbers: Numbers, band: int = band, quantum: Quantum = quantum) -> Any:
            return quantum.restore(rows.at(numbers).mean[band])

        def spread(numbers: Numbers, band: int = band, step: float = quantum.step) -> Any:
            return step * rows.at(numbers).std[band]

        def texture(numbers: Numbers, band: int = band, step: float = quantum.step) -> Any:
            return step * rows.at(numbers).texture[band]

        columns += [
            RegionColumn(f"{stem}_mean", f"Mean {name}", f"Mean of {name}, {units}", mean),
            RegionColumn(
                f"{stem}_std", f"Std {name}", f"Standard deviation of {name}, {units}", spread
            ),
            RegionColumn(
                f"{stem}_texture",
                f"Texture {name}",
                f"Root of the mean squared difference of {name} between neighbouring pixels",
                texture,
            ),
        ]
    return columns


class RowsOf:
    """The facts of regions by number; what is asked for by several columns is read once."""

    def __init__(self, facts: RegionFacts) -> None:
        self._facts = facts
        self._read = lru_cache(maxsize=1)(self._read_rows)

    def at(self, numbers: Numbers) -> FactRows:
        """The facts of some regions, in the order of their numbers here."""
        return self._read(np.ascontiguousarray(numbers, np.int64).tobytes())

    def _read_rows(self, numbers: bytes) -> FactRows:
        rows = np.frombuffer(numbers, np.int64) - 1
        sums, reach = self._facts.open()
        return FactRows(sums[rows], reach[rows], self._facts.layout, self._facts.areas)


def name_columns(bands: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """How the columns of bands begin: their names in plain letters, no two alike, and none as those
    that are taken.

    >>> name_columns(["red", "B8", "b8", "2024.red"])
    ['red', 'b8', 'b8_2', 'band_2024_red']
    """
    others, names = list(taken), list[str]()
    for band in bands:
        plain = re.sub(r"\W+", "_", band.lower()).strip("_")
        plain = plain if plain[:1].isalpha() else f"band_{plain}"
        name, number = plain, 1
        while name in others + names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names
