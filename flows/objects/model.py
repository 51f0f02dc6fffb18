"""What came of a partition."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PublishedLevel:
    """A layer of a finished partition."""

    name: str
    scale: float | None
    count: int
    """How many regions it shows."""
    area_m2: float
    """Of all of them; 0 of lines."""
    sizes: tuple[tuple[float, int], ...] = ()
    """How many there are from each size up to the next, in m²; sizes go 1, 2, 5, 10, 20, 50 …"""

    @property
    def mean_m2(self) -> float:
        """Of one region."""
        return self.area_m2 / self.count if self.count else 0.0


def count_sizes(areas: npt.NDArray[np.float64]) -> Counter[float]:
    """How many areas there are from each of 1, 2, 5, 10, 20, 50 … up to the next.

    >>> sorted(count_sizes(np.array([0.7, 10.0, 19.0, 21.0])).items())
    [(0.5, 1), (10.0, 2), (20.0, 1)]
    """
    powers = range(-12, 19)
    steps = np.array([float(f"{lead}e{power}") for power in powers for lead in (1, 2, 5)])
    place = np.maximum(np.searchsorted(steps, areas, side="right") - 1, 0)
    return Counter(steps[place].tolist())


@dataclass(frozen=True)
class Objects:
    """A finished partition: its folder, its figures and its files."""

    folder: Path
    levels: tuple[PublishedLevel, ...]
    """The finest first."""
    seconds: dict[str, float]
    files: tuple[Path, ...]
    record: dict[str, Any]
    """What `run.json` says."""

    @property
    def summary(self) -> str:
        """What came out, in a sentence."""
        what = "lines" if self.record["gives"] == "edges" else "objects"
        return ", ".join(
            f"{level.count:,} {what}" + (f" of scale {level.scale:g}" if level.scale else "")
            for level in self.levels
        )
