"""What decides the pixels of a part: the facts its key is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiling.errors import redact
from tiling.grid.window import Window
from tiling.scene.scene import Scene

FORMAT = 3
"""Version of what a part holds; raised when older parts can no longer be read as they are."""


def window_facts(window: Window) -> list[int]:
    return [window.row, window.col, window.height, window.width]


def scene_facts(scene: Scene, bands: Sequence[str]) -> dict[str, Any]:
    """What the pixels a segmenter sees follow from: files, grid, band map, calibration, masks."""
    return {
        "files": scene.identities(),
        "grid": [scene.height, scene.width, *map(float, scene.transform[:6]), scene.crs.to_wkt()],
        # Signatures are renewed, pixels are not.
        "bands": [redact(repr(scene.band(name))) for name in bands],
        "mask": redact(repr(scene.mask)),
        "beneath": [
            redact(repr(([layer.band(name) for name in bands], layer.mask, layer.extent)))
            for layer in scene.beneath
        ],
    }
