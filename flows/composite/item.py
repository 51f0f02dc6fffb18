"""What was made of several dates as a STAC item: where, when, and what it was made from."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.stac.run_item import EXTENSIONS, extent_of, grid_of, time_of
from flows.storage.keys import versions
from tiling.io.urls import is_local
from tiling.scene.scene import Scene

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def item_of(raster: Path, scenes: Sequence[Scene], method: str) -> dict[str, Any]:
    """The STAC item, version 1.1, of a composite of scenes in the order of their dates."""
    lineage = f"{method} of the valid dates of each pixel of"
    asset = describe_raster(raster, "Composite")
    title = f"Composite of {len(scenes)} images"
    return item_of_dates(raster.stem, title, lineage, scenes, raster, {"composite": asset})


def describe_raster(raster: Path, title: str) -> dict[str, Any]:
    """A raster of float32 with NaN = no data as an asset of the item beside it."""
    return {
        "href": f"./{raster.name}",
        "title": title,
        "type": COG,
        "roles": ["data"],
        "data_type": "float32",
        "nodata": "nan",
    }


def item_of_dates(
    name: str,
    title: str,
    lineage: str,
    scenes: Sequence[Scene],
    raster: Path,
    assets: dict[str, Any],
) -> dict[str, Any]:
    """The STAC item of what was made of scenes in the order of their dates, on the grid of a
    raster.

    It is derived from the STAC items of its scenes, or from their rasters where they have none. Its
    time is from the first day to the last; without any it ends now.
    """
    days = sorted({str(scene.date) for scene in scenes if scene.date})
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [name for name in EXTENSIONS if "classification" not in name],
        "id": name,
        **extent_of(raster),
        "properties": {
            **time_of(days, now),
            "title": title,
            "created": now,
            **grid_of(raster),
            "processing:software": versions(),
            "processing:lineage": f"{lineage} {', '.join(scene.name for scene in scenes)}",
        },
        "links": [
            _derived_from(image.origin, image.bands[0].path)
            for scene in scenes
            for image in scene.acquisitions
        ],
        "assets": assets,
    }


def _derived_from(item: str, raster: str) -> dict[str, str]:
    """The link to what an image was read from."""
    if item:
        return {"rel": "derived_from", "href": item, "type": "application/geo+json"}
    place = Path(raster).as_uri() if is_local(raster) else raster
    return {"rel": "derived_from", "href": place}
