"""What decides the pixels of a part: the facts its key is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flows.plan.model_grid import ModelScene
from tiling.errors import redact
from tiling.grid.window import Window
from tiling.scene.acquisition import Band, Mask
from tiling.scene.scene import Scene

FORMAT = 4
"""Version of what a part holds; raised when older parts can no longer be read as they are."""


def window_facts(window: Window) -> list[int]:
    return [window.row, window.col, window.height, window.width]


def scene_facts(scene: Scene, bands: Sequence[str]) -> dict[str, Any]:
    """What the pixels a segmenter sees follow from: files, grid, band map, calibration, masks."""
    return {
        "files": scene.identities(),
        **({"zoom": scene.zoom} if isinstance(scene, ModelScene) else {}),
        "grid": [scene.height, scene.width, *map(float, scene.transform[:6]), scene.crs.to_wkt()],
        "images": [
            {
                "bands": [_facts(image.band(name)) for name in bands],
                "mask": _facts(image.mask) if image.mask else None,
                "extent": window_facts(image.extent) if image.extent else None,
            }
            for image in scene.acquisitions
        ],
    }


def _facts(source: Band | Mask) -> dict[str, Any]:
    """A band or a mask as its fields; signatures in its address are renewed, pixels are not."""
    return asdict(source) | {"path": redact(source.path)}
