"""A finished run as a STAC item: where, when, what each class means, and what it was made from and
with."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ITEM = "item.json"

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"

ASSETS = {
    "classes.tif": ("Classes", _COG, "data"),
    "confidence.tif": ("Confidence", _COG, "data"),
    "probabilities.tif": ("Probability of every class", _COG, "data"),
    "entropy.tif": ("Entropy", _COG, "data"),
    "margin.tif": ("Margin between the two likeliest classes", _COG, "data"),
    "layers.tif": ("Labels, a band each", _COG, "data"),
    "mask.tif": ("What is left out", _COG, "metadata"),
    "landcover.gpkg": ("Polygons", "application/geopackage+sqlite3", "data"),
    "areas.csv": ("Area of every class", "text/csv", "metadata"),
    "zones.gpkg": (
        "Area of every class in every zone",
        "application/geopackage+sqlite3",
        "metadata",
    ),
    "quicklook.png": ("Picture", "image/png", "overview"),
    "outlines.png": ("Polygons over the image", "image/png", "overview"),
    "fit.png": ("What a setting was chosen by", "image/png", "overview"),
    "report.html": ("Report", "text/html", "overview"),
    "run.json": ("Record of the run", "application/json", "metadata"),
}
"""Files of a run that its item lists: title, media type and role."""

EXTENSIONS = (
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)

_UNKNOWN_START = "1900-01-01T00:00:00Z"
"""An image without a date was taken between then and the run: an item needs some time."""


def item_of(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The STAC item, version 1.1, of the run whose record is given and whose products are in the
    folder."""
    classes, scene = folder / "classes.tif", record["scene"]
    assets: dict[str, Any] = {
        Path(name).stem: {"href": f"./{name}", "title": title, "type": kind, "roles": [role]}
        for name, (title, kind, role) in ASSETS.items()
        if (folder / name).exists() or name == "run.json"  # which is written after it
    }
    assets["classes"] |= {
        "data_type": "uint8",
        "nodata": 0,
        "classification:classes": [
            {"value": value, "name": slug(name), "title": name, "color_hint": colour[1:].upper()}
            for value, name, colour in record["legend"]
        ],
    }
    for name in ("confidence", "probabilities", "entropy", "margin"):
        if name in assets:
            assets[name] |= {"data_type": "uint8", "nodata": 255, "unit": "%"}
    if "layers" in assets:
        assets["layers"] |= {"data_type": "uint8", "nodata": 255}
    images = scene.get("images", [])
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": scene["name"],
        **extent_of(classes),
        "properties": {
            **time_of(
                sorted({str(image["date"]) for image in [scene, *images] if image["date"]}),
                record["finished"],
            ),
            "title": f"Land cover of {scene['name']}",
            "created": record["finished"].replace("+00:00", "Z"),
            **grid_of(classes),
            "processing:software": dict(record["versions"]),
            "processing:lineage": f"Segmented by {record['segmenter']['kind']} with landweave "
            f"{record['landweave']}",
            "landweave:segmenter": record["segmenter"]["kind"],
            "landweave:areas_m2": {area["class_name"]: area["area_m2"] for area in record["areas"]},
        },
        "links": [
            {"rel": "derived_from", "href": image["item"], "type": "application/geo+json"}
            for image in images
            if image["item"]
        ],
        "assets": assets,
    }


def time_of(days: list[str], finished: str) -> dict[str, Any]:
    """The time of an item whose images are of these days."""
    if len(days) == 1:
        return {"datetime": f"{days[0]}T00:00:00Z"}
    start, end = (
        (f"{days[0]}T00:00:00Z", f"{days[-1]}T23:59:59Z") if days else (_UNKNOWN_START, finished)
    )
    return {"datetime": None, "start_datetime": start, "end_datetime": end.replace("+00:00", "Z")}


def extent_of(raster: Path) -> dict[str, Any]:
    """The footprint; an item may be without one, as a map of the Moon or of a building is."""
    from pyproj.exceptions import ProjError

    try:
        outline = _outline(raster)
    except ProjError:
        return {"geometry": None}
    west, south, east, north = map(float, outline.bounds)
    # of NaN and infinity neither is true
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        return {"geometry": None}
    return {"geometry": _geojson(outline), "bbox": [west, south, east, north]}


def grid_of(raster: Path) -> dict[str, Any]:
    """The grid, in the words of the projection extension."""
    from tiling.io.datasets import open_dataset

    with open_dataset(str(raster)) as source:
        code = source.crs.to_epsg()
        known = (
            {"proj:code": f"EPSG:{code}"}
            if code
            else {"proj:code": None, "proj:wkt2": source.crs.to_wkt()}
        )
        return {
            **known,
            "proj:shape": list(source.shape),
            "proj:transform": list(source.transform)[:6],
        }


def footprint_of(raster: Path) -> dict[str, Any]:
    """The outline of a raster in degrees, as GeoJSON; edges have vertices enough to be followed on
    the globe."""
    return _geojson(_outline(raster))


def _outline(raster: Path) -> Any:
    import shapely
    from pyproj import Transformer

    from tiling.io.datasets import open_dataset

    with open_dataset(str(raster)) as source:
        height, width = source.shape
        corners = [
            source.transform @ corner
            for corner in ((0, 0), (0, height), (width, height), (width, 0))
        ]
        to_degrees = Transformer.from_crs(source.crs.to_wkt(), "EPSG:4326", always_xy=True)
    outline = shapely.Polygon(corners)
    dense = shapely.segmentize(outline, outline.length / 64)
    # to 1 cm
    return shapely.transform(
        dense, lambda xy: np.stack(to_degrees.transform(*xy.T), axis=1).round(7)
    )


def _geojson(outline: Any) -> dict[str, Any]:
    import shapely

    found: dict[str, Any] = json.loads(shapely.to_geojson(shapely.orient_polygons(outline)))
    return found


def slug(text: str) -> str:
    """A text as an identifier: lower case, accents off, words joined by hyphens.

    >>> slug("Wälder & Felder, 2024")
    'walder-felder-2024'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "unnamed"
