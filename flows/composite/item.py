"""A composite of several dates as a STAC item: where, when, and what it was made from."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.stac.run_item import EXTENSIONS, extent_of, grid_of, time_of
from flows.storage.keys import versions
from tiling.io.urls import is_local
from tiling.scene.scene import Scene


def item_of(raster: Path, scenes: Sequence[Scene], method: str) -> dict[str, Any]:
    """The STAC item, version 1.1, of a composite of scenes in the order of their dates.

    It is derived from the STAC items of its scenes, or from their rasters where they have none. Its
    time is from the first day to the last; without any it ends now.
    """
    days = sorted({str(scene.date) for scene in scenes if scene.date})
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [name for name in EXTENSIONS if "classification" not in name],
        "id": raster.stem,
        **extent_of(raster),
        "properties": {
            **time_of(days, now),
            "title": f"Composite of {len(scenes)} images",
            "created": now,
            **grid_of(raster),
            "processing:software": versions(),
            "processing:lineage": f"{method} of the valid dates of each pixel of "
            + ", ".join(scene.name for scene in scenes),
        },
        "links": [
            _derived_from(image.origin, image.bands[0].path)
            for scene in scenes
            for image in scene.acquisitions
        ],
        "assets": {
            "composite": {
                "href": f"./{raster.name}",
                "title": "Composite",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "data_type": "float32",
                "nodata": "nan",
            }
        },
    }


def _derived_from(item: str, raster: str) -> dict[str, str]:
    """The link to what an image was read from."""
    if item:
        return {"rel": "derived_from", "href": item, "type": "application/geo+json"}
    place = Path(raster).as_uri() if is_local(raster) else raster
    return {"rel": "derived_from", "href": place}
