"""A QGIS project beside the products: the map in its colours, polygons over raster, at one click."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import rasterio
from pyproj import CRS

from tiling.geopackage import speech
from tiling.layer import Layer
from tiling.reading import open_dataset
from tiling.style import QGIS, LegendRow, add_raster_style, add_vector_style, document

POLYGONS, RASTER = "landcover_polygons", "landcover_raster"
"""Ids of the layers. QGIS 3.22 replaces ids of ten letters and fewer, and the tree of layers then names nobody."""


@dataclass(frozen=True)
class Backdrop:
    """A class raster that lies below the others, unchecked, wherever its file is."""

    name: str
    path: Path
    legend: Sequence[LegendRow]


def project(
    title: str,
    raster: Path,
    legend: Sequence[LegendRow],
    vector: tuple[Path, Layer] | None = None,
    *,
    backdrops: Sequence[Backdrop] = (),
) -> str:
    """Text of a `.qgs` that shows a class raster and, above it, the polygons made from it, if there are any.

    Files are named relative to the project, which belongs into the raster's folder: the folder can be moved. The map
    opens on the raster's extent, which is also a bookmark. With polygons the raster is there, unchecked.
    """
    with open_dataset(str(raster)) as source:
        crs, sides = CRS.from_wkt(source.crs.to_wkt()), sorted_bounds(source)
    root = ET.Element("qgis", projectname=title, version=QGIS)
    ET.SubElement(root, "title").text = title
    _add_crs(ET.SubElement(root, "projectCrs"), crs)
    group = ET.SubElement(
        ET.SubElement(root, "layer-tree-group"), "layer-tree-group", name=title, checked="Qt::Checked", expanded="1"
    )
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas")
    _add_extent(canvas, sides)
    _add_crs(ET.SubElement(canvas, "destinationsrs"), crs)
    layers = ET.SubElement(root, "projectlayers")
    if vector is not None:
        path, layer = vector
        source_name = f"./{path.name}|layername={layer.name}"
        drawn = _add_layer(layers, group, "vector", POLYGONS, "Polygons", source_name, "ogr", crs, shown=True)
        drawn.set("geometry", "Polygon")
        add_vector_style(drawn, legend, **speech(layer))
    drawn = _add_layer(layers, group, "raster", RASTER, "Raster", f"./{raster.name}", "gdal", crs, shown=vector is None)
    add_raster_style(drawn, legend)
    for number, below in enumerate(backdrops):
        with open_dataset(str(below.path)) as source:
            system = CRS.from_wkt(source.crs.to_wkt())
        place = Path(os.path.relpath(below.path, raster.parent)).as_posix()
        key = f"{RASTER}_below_{number}"
        add_raster_style(
            _add_layer(layers, group, "raster", key, below.name, place, "gdal", system, shown=False), below.legend
        )
    properties = ET.SubElement(root, "properties")
    # Without this the project has no CRS, whatever stands in projectCrs.
    enabled = ET.SubElement(ET.SubElement(properties, "SpatialRefSys"), "ProjectionsEnabled", type="int")
    enabled.text = "1"
    ET.SubElement(ET.SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    _add_bookmark(ET.SubElement(root, "Bookmarks"), title, sides, crs)
    view = ET.SubElement(ET.SubElement(root, "ProjectViewSettings"), "DefaultViewExtent", _attributes(sides))
    _add_crs(view, crs)
    return document(root)


def sorted_bounds(source: rasterio.DatasetReader) -> tuple[float, float, float, float]:
    """West, south, east, north of a raster, also of one whose rows run north."""
    (west, east), (south, north) = sorted(source.bounds[0::2]), sorted(source.bounds[1::2])
    return west, south, east, north


def _attributes(sides: tuple[float, float, float, float]) -> dict[str, str]:
    return {name: repr(side) for name, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)}


def _add_extent(parent: ET.Element, sides: tuple[float, float, float, float]) -> None:
    extent = ET.SubElement(parent, "extent")
    for name, side in _attributes(sides).items():
        ET.SubElement(extent, name).text = side


def _add_crs(parent: ET.Element, crs: CRS) -> None:
    """QGIS reads the WKT; the authority's code alone left the project without a CRS (3.22)."""
    system = ET.SubElement(parent, "spatialrefsys")
    ET.SubElement(system, "wkt").text = crs.to_wkt()
    if authority := crs.to_authority():
        ET.SubElement(system, "authid").text = ":".join(authority)


def _add_layer(
    layers: ET.Element,
    group: ET.Element,
    kind: str,
    key: str,
    name: str,
    source: str,
    provider: str,
    crs: CRS,
    *,
    shown: bool,
) -> ET.Element:
    """Name a file in the tree of layers and describe it in their list; what is returned takes its style."""
    ET.SubElement(
        group,
        "layer-tree-layer",
        id=key,
        name=name,
        source=source,
        providerKey=provider,
        checked="Qt::Checked" if shown else "Qt::Unchecked",
        expanded="1" if shown else "0",
    )
    layer = ET.SubElement(layers, "maplayer", type=kind)
    ET.SubElement(layer, "id").text = key
    ET.SubElement(layer, "datasource").text = source
    ET.SubElement(layer, "layername").text = name
    _add_crs(ET.SubElement(layer, "srs"), crs)
    ET.SubElement(layer, "provider", encoding="UTF-8").text = provider
    return layer


def _add_bookmark(parent: ET.Element, name: str, sides: tuple[float, float, float, float], crs: CRS) -> None:
    west, south, east, north = sides
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    outline = f"Polygon (({', '.join(f'{x!r} {y!r}' for x, y in corners)}))"
    _add_crs(ET.SubElement(parent, "Bookmark", id="extent", name=name, group="", extent=outline), crs)
