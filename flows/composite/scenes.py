"""Which scenes there are: in folders, or in a catalogue."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.requests.source import Source
from flows.stac.search import by_day
from tiling.io.drivers import RASTER_SUFFIXES
from tiling.scene.folders import is_product


@dataclass(frozen=True)
class FoundScene:
    """A scene that was found: its files, and its day where the finder knows it."""

    paths: tuple[str, ...]
    date: datetime.date | None = None
    name: str = ""
    """What its folder is called; from its file otherwise."""


def scenes_of(source: Source, pattern: str = "") -> Iterator[FoundScene]:
    """The scenes at a source's places; or of its search, each day one."""
    if source.search is None:
        yield from find_scenes(source.paths, pattern)
        return
    for day, places in by_day(source.search, source.bbox).items():
        yield FoundScene(places, day, str(day))


def find_scenes(places: Sequence[str], pattern: str = "") -> Iterator[FoundScene]:
    """The scenes at some places: a raster is a scene; in a folder each raster is one, and each
    folder of rasters."""
    for place in places:
        path = Path(place)
        if not path.is_dir():
            yield FoundScene((place,))
            continue
        for inner in sorted(path.iterdir()):
            if inner.name.startswith("."):
                continue
            if inner.is_dir():
                if is_product(inner) or any(
                    is_raster_name(file.name, pattern) for file in inner.iterdir()
                ):
                    yield FoundScene((str(inner),))
            elif is_raster_name(inner.name, pattern):
                yield FoundScene((str(inner),))


def is_raster_name(name: str, pattern: str) -> bool:
    """Whether a file looks like a scene: by the pattern, else by its suffix."""
    path = Path(name)
    if name.startswith("."):
        return False
    return path.match(pattern) if pattern else path.suffix.lower() in RASTER_SUFFIXES


def is_settled(scene: FoundScene, seconds: float) -> bool:
    """Whether nobody has touched a scene's files for a while; those on other machines are taken as
    they are."""
    latest = 0.0
    for path in map(Path, scene.paths):
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        latest = max([latest, *(file.stat().st_mtime for file in files if file.exists())])
    return time.time() - latest >= seconds
