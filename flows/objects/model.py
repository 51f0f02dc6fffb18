"""What came of a partition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PublishedLevel:
    """A layer of a finished partition."""

    name: str
    scale: float | None
    count: int
    """How many regions it shows."""
    area_m2: float
    """Of all of them; 0 of lines."""

    @property
    def mean_m2(self) -> float:
        """Of one region."""
        return self.area_m2 / self.count if self.count else 0.0


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
