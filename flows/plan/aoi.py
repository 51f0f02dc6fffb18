"""The area of interest on a scene's grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.scene import Scene


def area_of_interest(path: str, scene: Scene) -> tuple[Any, Window]:
    """The polygons of a vector file in the scene's CRS, united, and the smallest window that holds
    their pixels."""
    from tiling.io.vector_files import read_frame

    frame = read_frame(path)
    frame = frame[frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    if frame.empty:
        raise InputError(f"{path} holds no polygon; an area of interest is one polygon or several")
    outline = frame.to_crs(scene.crs.to_wkt()).geometry.make_valid().union_all()
    if not np.all(np.isfinite(outline.bounds)):
        raise InputError(
            f"{path} has corners that are nowhere in {crs_name(scene)}; check its coordinates and "
            "its CRS"
        )
    west, south, east, north = outline.bounds
    corners = [
        ~scene.transform @ corner
        for corner in ((west, north), (east, north), (east, south), (west, south))
    ]
    cols, rows = zip(*corners, strict=True)
    row, col = int(np.floor(min(rows))), int(np.floor(min(cols)))
    window = (
        Window(row, col, int(np.ceil(max(rows))) - row, int(np.ceil(max(cols))) - col)
        & scene.window
    )
    if not window:
        raise InputError(
            f"{path} lies outside {scene.name}: its bounds there are {outline.bounds}, the "
            "scene's are "
            f"{tuple(scene.geobox.extent.boundingbox)}"
        )
    return outline, window


def crs_name(scene: Scene) -> str:
    """The CRS as a person names it: its EPSG code, else its own name."""
    return f"EPSG:{scene.crs.epsg}" if scene.crs.epsg else str(scene.crs.proj.name)
