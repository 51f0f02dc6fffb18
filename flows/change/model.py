"""What came of a comparison of two maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.change.map_pair import MapSource


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
