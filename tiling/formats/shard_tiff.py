"""What a finished shard leaves: one small GeoTIFF that exists whole or not at all.

Band 1 holds the labels, band 2 (where the segmenter has one) the confidence, further ones what else
was asked of it. A part carries its georeference, so that
any GIS opens it, and a note: a few plain facts about how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox

from tiling.grid.geobox import crop
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import write_bytes
from tiling.io.profiles import plain_profile

_NOTE = "LANDWEAVE"


@dataclass(frozen=True, slots=True)
class Part:
    """A part on disk, in a few hundred bytes: whoever joins the parts of a run holds one for each
    shard."""

    path: Path
    window: Window
    """The pixels of the scene that it holds."""
    peak_bytes: int = 0
    """Largest resident size of the process that made it, until then."""

    def bands_of(self, layer: str) -> tuple[int, ...]:
        """Numbers of the bands that hold a layer, such as "confidence"; none where the part has no
        such layer."""
        with open_dataset(str(self.path)) as source:
            layers = _note_of(source)["layers"]
        first = 1
        for name, count in layers.items():
            if name == layer:
                return tuple(range(first, first + count))
            first += count
        return ()


def write_part(
    path: Path,
    window: Window,
    geobox: GeoBox,
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.uint8] | None,
    note: dict[str, Any],
    measures: Mapping[str, npt.NDArray[np.uint8]] = MappingProxyType({}),
    *,
    write: Callable[[Path, bytes], None] = write_bytes,
) -> Part:
    """Write labels and confidence, both `(height, width) uint8`, of `window` of the scene's
    `geobox`.

    `measures` are further layers `(band, height, width) uint8`, by name. `write` puts the file
    where it belongs.
    """
    layers = {
        "classes": labels[None],
        **({} if confidence is None else {"confidence": confidence[None]}),
        **measures,
    }
    bands = [band for layer in layers.values() for band in layer]
    grid = crop(geobox, window)
    facts = {
        **note,
        "window": [window.row, window.col, window.height, window.width],
        "layers": {name: len(layer) for name, layer in layers.items()},
    }
    # In memory first: of a full disk GDAL makes a thousand remarks and a broken file, Python one
    # error.
    with rasterio.MemoryFile() as memory:
        with memory.open(
            **plain_profile(grid, "uint8", count=len(bands)), interleave="band"
        ) as target:
            for index, array in enumerate(bands, start=1):
                target.write(array, index)
            target.update_tags(**{_NOTE: json.dumps(facts)})
        write(path, bytes(memory.getbuffer()))
    return _describe_part(path, facts)


def read_part(path: Path) -> Part:
    """A part written before; reads its header only."""
    with open_dataset(str(path)) as source:
        return _describe_part(path, _note_of(source))


def _describe_part(path: Path, note: dict[str, Any]) -> Part:
    return Part(path, Window(*note["window"]), note.get("peak_bytes", 0))


def _note_of(source: Any) -> dict[str, Any]:
    note: dict[str, Any] = json.loads(source.tags()[_NOTE])
    return note
