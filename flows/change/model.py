"""What came of a comparison of two maps, or of the objects of two days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flows.change.map_pair import MapSource
from flows.change.object_fates import KINDS, Fates


@dataclass(frozen=True, eq=False)
class Change:
    """What became of what: the figures, and where the products are."""

    earlier: MapSource
    later: MapSource
    aligned: str
    classes: tuple[tuple[int, str, str], ...]
    """Number, name and colour of each of the k classes."""
    pixels: npt.NDArray[np.int64]
    """`(k, k)`, earlier class along rows."""
    units: npt.NDArray[np.int64]
    """The same in units of `unit` m²: sums of these are exact."""
    unit: float
    left_out: Mapping[str, tuple[int, float]]
    """Pixels and m² that are not in the matrix, and those set aside as too small, by reason."""
    notes: tuple[str, ...] = ()
    polygons: int = 0
    files: tuple[Path, ...] = ()

    @property
    def square_metres(self) -> npt.NDArray[np.float64]:
        """`(k, k)`, earlier class along rows; sums are exact below 2⁵³ units, some four thousand
        million pixels."""
        return self.units * np.float64(self.unit)

    @property
    def changed_m2(self) -> float:
        return float((self.units.sum() - np.trace(self.units)) * np.float64(self.unit))

    @property
    def compared_m2(self) -> float:
        return float(self.units.sum() * np.float64(self.unit))

    def transitions(self) -> Iterator[tuple[int, int, int, float]]:
        """Place of the class before, of that now, pixels and m²: the changes that occur, the
        largest first."""
        metres = self.square_metres
        pairs = [(i, j) for i, j in zip(*np.nonzero(self.pixels), strict=True) if i != j]
        for i, j in sorted(pairs, key=lambda pair: (-self.units[pair], pair)):
            yield int(i), int(j), int(self.pixels[i, j]), float(metres[i, j])

    def to_dict(self) -> dict[str, Any]:
        """Every figure of a comparison, ready for JSON."""
        return {
            "earlier": {
                "path": self.earlier.path,
                "name": self.earlier.name,
                "date": self.earlier.date,
            },
            "later": {"path": self.later.path, "name": self.later.name, "date": self.later.date},
            "aligned": self.aligned,
            "classes": [
                {"class_id": v, "class_name": name, "colour": colour}
                for v, name, colour in self.classes
            ],
            "pixels": self.pixels.tolist(),
            "area_m2": self.square_metres.tolist(),
            "compared_m2": self.compared_m2,
            "changed_m2": self.changed_m2,
            "left_out": {
                why: {"pixels": n, "area_m2": area} for why, (n, area) in self.left_out.items()
            },
            "polygons": self.polygons,
            "notes": list(self.notes),
        }


class Kind(NamedTuple):
    """What became of some objects: how many there were and are, and how large."""

    name: str
    colour: str
    before: int
    after: int
    before_m2: float
    after_m2: float


@dataclass(frozen=True, eq=False)
class ObjectChange:
    """What became of objects: the figures, and where the products are."""

    earlier: MapSource
    later: MapSource
    aligned: str
    fates: Fates
    unit: float
    """Square metres of a unit of area."""
    classes: tuple[Mapping[int, str], Mapping[int, str]]
    """What objects of either day are, by number, where that is known."""
    notes: tuple[str, ...] = ()
    polygons: int = 0
    files: tuple[Path, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What became of how many objects; each object counts once on its day."""
        fates, rows = self.fates, []
        for value, name, colour in KINDS:
            here = fates.kind == value
            counts = int(fates.n_before[here].sum()), int(fates.n_after[here].sum())
            units = int(fates.before[here].sum()), int(fates.after[here].sum())
            rows.append(Kind(name, colour, *counts, *(self.unit * np.float64(n) for n in units)))
        return tuple(Kind(*row[:4], float(row[4]), float(row[5])) for row in rows)

    @property
    def summary(self) -> str:
        """What came out, in a sentence."""
        return ", ".join(f"{max(one.before, one.after):,} {one.name}" for one in self.kinds)

    def becomings(self) -> Iterator[tuple[str, str, int]]:
        """Class before, class now and how many pairs of objects, of those that are still there and
        have one on both days; the most first."""
        fates, counts = self.fates, dict[tuple[str, str], int]()
        for a, b in zip(fates.number_before.tolist(), fates.number_after.tolist(), strict=True):
            pair = self.classes[0].get(a, ""), self.classes[1].get(b, "")
            if all(pair):
                counts[pair] = counts.get(pair, 0) + 1
        for (was, now), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            yield was, now, count

    def to_dict(self) -> dict[str, Any]:
        """Every figure of a comparison, ready for JSON."""
        return {
            **{
                which: {"path": side.path, "name": side.name, "date": side.date}
                for which, side in (("earlier", self.earlier), ("later", self.later))
            },
            "aligned": self.aligned,
            "kinds": [one._asdict() for one in self.kinds],
            "classes": [
                {"before": was, "now": now, "objects": count}
                for was, now, count in self.becomings()
            ],
            "polygons": self.polygons,
            "notes": list(self.notes),
        }
