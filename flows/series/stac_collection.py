"""A series as a static STAC collection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.reports.catalogue import COLLECTED, Catalogue, Entry
from flows.stac.run_item import ITEM, item_of, slug
from flows.storage.keys import versions


def item(catalogue: Catalogue, entry: Entry, folder: Path) -> dict[str, Any]:
    """The STAC item of a run, in the series if it is part of that."""
    here = folder / catalogue.runs / entry.name
    found = item_of(json.loads((here / "run.json").read_text(encoding="utf-8")), here)
    if entry not in catalogue.dated:
        return found
    up = "/".join([".."] * (1 + len([part for part in Path(catalogue.runs).parts if part != "."])))
    for change in catalogue.changes:
        if change.later == entry.name and not change.message:
            found["assets"]["change"] = {
                "href": f"{up}/changes/{change.name}/change.tif",
                "title": f"Change since {change.earlier_date or change.earlier}",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
            }
    found["properties"]["landweave:without_data"] = entry.invalid
    found["links"] += [
        {"rel": rel, "href": f"{up}/collection.json", "type": "application/json"}
        for rel in ("root", "parent", "collection")
    ]
    return {**found, "id": entry.name, "collection": slug(catalogue.title)}


def collection(catalogue: Catalogue, folder: Path) -> dict[str, Any]:
    """The STAC collection of the series."""
    used = catalogue.dated
    dates = sorted(entry.date for entry in used)
    interval = [f"{dates[0]}T00:00:00Z", f"{dates[-1]}T00:00:00Z"] if dates else [None, None]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": slug(catalogue.title),
        "title": catalogue.title,
        "description": f"Land cover of {len(used)} scenes, segmented with landweave "
        f"{versions()['landweave']}",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [list(_bounds(used)) if used else [-180, -90, 180, 90]]},
            "temporal": {"interval": [interval]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *(
                {
                    "rel": "item",
                    "href": f"./{catalogue.place(entry, ITEM)}",
                    "type": "application/geo+json",
                    "title": f"{entry.name} {entry.date}",
                }
                for entry in used
            ),
        ],
        "assets": {
            name.replace(".", "_"): {
                "href": f"./{name}",
                "title": title,
                "type": kind,
                "roles": ["metadata"],
            }
            for name, (title, kind) in COLLECTED.items()
            if (folder / name).exists()
        },
    }


def _bounds(entries: Sequence[Entry]) -> tuple[float, float, float, float]:
    import shapely

    shapes = [shapely.from_geojson(json.dumps(entry.footprint)) for entry in entries]
    west, south, east, north = shapely.total_bounds(shapes).tolist()
    return west, south, east, north
