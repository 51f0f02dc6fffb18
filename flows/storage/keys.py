"""Keys by content, and the versions of what decides results."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from typing import Any

LIBRARIES = (
    "landweave",
    "numpy",
    "rasterio",
    "torch",
    "segmentation-models-pytorch",
    "scikit-learn",
    "shapely",
    "pyogrio",
    "dask",
    "distributed",
)
"""What decides results, or how machines talk: it stands in records, and must be the same on all
workers."""


def content_key(facts: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of `facts`, as 64 hexadecimal digits; a no-data value may be
    NaN."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def _version(library: str) -> str:
    """Of an installed library; its metadata are hundreds of kilobytes while they are read."""
    return version(library)


def versions() -> dict[str, str]:
    """Versions of the libraries that decide results, read without importing them."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
