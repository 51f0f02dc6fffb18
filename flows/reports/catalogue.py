"""What came of many scenes: an entry of each run and of each change, and the series that they
make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from segmentation.legend import HIDING, UNKNOWN
from tiling.io.files import write_text

ENTRY = "entry.json"

MOST_WARNINGS = 20
"""Warnings of scenes that a page shows."""
Status = Literal["done", "failed"]

COLLECTED = {
    "areas.csv": ("Area of every class at every date", "text/csv"),
    "areas.png": ("Share of every class in the ground that was seen, over time", "image/png"),
    "changes.csv": ("What became of what, between dates", "text/csv"),
    "zones.csv": ("Area of every class in every zone at every date", "text/csv"),
    "scenes.csv": ("Every scene and what came of it", "text/csv"),
    "runs.gpkg": ("Footprints of the runs", "application/geopackage+sqlite3"),
    "runs.parquet": ("Footprints of the runs", "application/vnd.apache.parquet"),
    "report.html": ("Report", "text/html"),
}
"""Files of the whole that the STAC collection lists."""


@dataclass(frozen=True)
class ClassRow:
    """The area of one class on one map of a series."""

    class_id: int
    class_name: str
    colour: str
    pixels: int
    area_m2: float
    share: float
    """Of the valid area, 0–1."""


@dataclass(frozen=True)
class Entry:
    """A scene and what came of it; beside the products of its run it is the last file to be
    written."""

    name: str
    """Of the scene, and of its folder."""
    key: str
    """Content key of what the run follows from: a scene with the same key is not done again."""
    status: Status
    paths: tuple[str, ...]
    date: str = ""
    message: str = ""
    """Why it failed."""
    mistake: bool = True
    """Whether a person can mend the failure."""
    segmenter: str = ""
    crs: str = ""
    invalid: float = 0.0
    """Part of the area of interest, or of the scene, that the map shows nothing of, 0–1."""
    areas: tuple[ClassRow, ...] = ()
    warnings: tuple[str, ...] = ()
    footprint: dict[str, Any] = field(default_factory=dict)
    """GeoJSON in degrees."""

    @property
    def mapped_m2(self) -> float:
        return sum(row.area_m2 for row in self.areas)

    def write(self, folder: Path) -> None:
        """Leave the entry in the folder of its run."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ENTRY, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Entry | None:
        """The entry in a folder, if there is one."""
        try:
            facts = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        facts["areas"] = tuple(ClassRow(**row) for row in facts["areas"])
        return cls(
            **{**facts, "paths": tuple(facts["paths"]), "warnings": tuple(facts["warnings"])}
        )


@dataclass(frozen=True)
class ChangeEntry:
    """A comparison of two runs of a series: scenes, dates, areas and transitions."""

    name: str
    """Of its folder."""
    key: str
    earlier: str
    """Names of the two scenes."""
    later: str
    earlier_date: str = ""
    later_date: str = ""
    aligned: str = ""
    compared_m2: float = 0.0
    changed_m2: float = 0.0
    transitions: tuple[tuple[str, str, int, float], ...] = ()
    """Class before, class now, pixels and m², the largest first."""
    message: str = ""
    """Why there is none."""

    def write(self, folder: Path) -> None:
        """Leave the entry in the folder of the change."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ENTRY, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> ChangeEntry | None:
        """The entry in a folder, if there is one."""
        try:
            facts = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**{**facts, "transitions": tuple(tuple(row) for row in facts["transitions"])})


@dataclass(frozen=True)
class Catalogue:
    """All there is to publish, in the order of dates. Nothing else decides what the files say."""

    title: str
    entries: tuple[Entry, ...]
    runs: str = "."
    """Where the folders of the runs lie, relative to the catalogue."""
    unused: dict[str, str] = field(default_factory=dict)
    """Scenes that are done and yet not part of the series, with the reason."""
    changes: tuple[ChangeEntry, ...] = ()
    zones: str = ""
    """CSV of the classes in zones at every date, if there are zones."""
    warnings: tuple[str, ...] = ()
    hidden: tuple[str, ...] = (*HIDING, UNKNOWN)
    """Classes that hide the ground, and Unknown: they are no part of what was seen."""
    command: str = ""
    """The line that does it again."""
    notes: tuple[str, ...] = ()
    """What figures rest on, such as the threshold of all scenes."""

    def seen_m2(self, entry: Entry) -> float:
        """The area of which a map shows the ground."""
        return sum(row.area_m2 for row in entry.areas if row.class_name not in self.hidden)

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Warnings of the whole, then those of its scenes, the newest first; what many say is said
        once."""
        return (*self.warnings, *scene_warnings(self.used))

    @property
    def used(self) -> tuple[Entry, ...]:
        return tuple(
            entry
            for entry in self.entries
            if entry.status == "done" and entry.name not in self.unused
        )

    @property
    def dated(self) -> tuple[Entry, ...]:
        """The entries of the series that have a day: without one there is no STAC item."""
        return tuple(entry for entry in self.used if entry.date)

    def place(self, entry: Entry, file: str) -> str:
        """A file of a run, relative to the catalogue."""
        return (Path(self.runs) / entry.name / file).as_posix()


def scene_warnings(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What a person should know of the scenes, the newest first; what many say is said once, and no
    more than 20."""
    said: dict[str, list[str]] = {}
    for entry in reversed(entries):
        for warning in entry.warnings:
            said.setdefault(warning, []).append(entry.name)
    lines = [
        f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: {warning}"
        for warning, names in said.items()
    ]
    more = len(lines) - MOST_WARNINGS
    return (
        *lines[:MOST_WARNINGS],
        *([f"{more} more warnings stand in the run.json of the scenes"] if more > 0 else []),
    )


def shares_of(catalogue: Catalogue) -> dict[str, list[tuple[str, float]]]:
    """For each class that hides nothing its percent of the ground seen on each day; maps of one day
    count together."""
    seen: dict[str, float] = {}
    held: dict[str, dict[str, float]] = {}
    for entry in catalogue.dated:
        seen[entry.date] = seen.get(entry.date, 0.0) + catalogue.seen_m2(entry)
        for row in entry.areas:
            if row.class_name not in catalogue.hidden:
                of_class = held.setdefault(row.class_name, {})
                of_class[entry.date] = of_class.get(entry.date, 0.0) + row.area_m2
    return {
        name: [(day, 100 * areas.get(day, 0.0) / seen[day]) for day in sorted(seen) if seen[day]]
        for name, areas in held.items()
    }


def status_text(catalogue: Catalogue, entry: Entry) -> str:
    """The state of a scene in a series, in words."""
    if entry.status == "failed":
        return f"failed: {entry.message}"
    reason = catalogue.unused.get(entry.name)
    return f"not used: {reason}" if reason else "done"


def classes_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Names of all classes that occur, with their colours, in the order of their values."""
    rows = sorted(
        {(row.class_id, row.class_name, row.colour) for entry in entries for row in entry.areas}
    )
    return {name: colour for _, name, colour in rows}
