"""A QGIS project beside the products: the map in its colours, polygons over raster, at one
click."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from pyproj import CRS
from rasterio.errors import NodataShadowWarning

from tiling.classmaps.legend import LegendRow
from tiling.formats.about import About
from tiling.formats.geopackage import outline_speech, speech
from tiling.formats.layer import Layer
from tiling.formats.print_layout import add_layout
from tiling.formats.qml import (
    QGIS,
    SURE,
    add_natural_style,
    add_outline_style,
    add_ramp_style,
    add_raster_style,
    add_vector_style,
    document,
)
from tiling.grid.geobox import north_up_bounds
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset

MIDDLE = 1024
"""Pixels along the side of the part of an image that tells how bright it is."""

EARTH = 6_378_137
"""Metres from the centre to the equator of WGS 84, the ellipsoid EPSG:7030."""

POLYGONS, RASTER = "landcover_polygons", "landcover_raster"
"""Ids of the layers. QGIS 3.22 replaces ids of ten letters and fewer, and the tree of layers then
names nobody."""


@dataclass(frozen=True)
class Backdrop:
    """A class raster that lies below the others, unchecked, wherever its file is."""

    name: str
    path: Path
    legend: Sequence[LegendRow]


@dataclass(frozen=True)
class Beside:
    """A raster that lies below the others, unchecked: percents from doubtful to sure, or the image
    in its colours."""

    name: str
    path: Path
    bands: tuple[int, ...] = ()
    """Of an image: red, green and blue."""


def project(
    about: About,
    raster: Path,
    legend: Sequence[LegendRow],
    vector: tuple[Path, Layer] | None = None,
    *,
    backdrops: Sequence[Backdrop] = (),
    beside: Sequence[Beside] = (),
) -> str:
    """Text of a `.qgs` that shows a class raster and, above it, polygons made from it, if any.

    Files are named relative to the project, which belongs into the raster's folder: the folder can
    be moved. The map opens on the raster's extent, which is also a bookmark, and the layout "Map"
    is a sheet to print. With polygons the raster is there, unchecked.
    """
    sheet = Sheet.begin(about, raster)
    if vector is not None:
        _add_polygons(sheet, *vector, legend)
    drawn = sheet.add_product(raster, about, shown=vector is None)
    add_raster_style(drawn, legend)
    for number, other in enumerate(beside):
        sheet.add_beside(f"{RASTER}_beside_{number}", other, raster)
    for number, below in enumerate(backdrops):
        key = f"{RASTER}_below_{number}"
        drawn = sheet.add_raster(key, below.name, below.path, raster)
        add_raster_style(drawn, below.legend)
    return sheet.end(about, [(POLYGONS, "Polygons") if vector is not None else (RASTER, "Raster")])


def outline_project(
    about: About,
    raster: Path,
    vectors: tuple[Path, Sequence[Layer]],
    *,
    classes: Backdrop | None = None,
    beside: Sequence[Beside] = (),
) -> str:
    """Text of a `.qgs` that shows the outlines of layers of a file, the first of them checked, over
    a raster of classes, where there is one, and an image, and unchecked a raster of numbers they
    were made from. Else as `project`."""
    sheet = Sheet.begin(about, raster)
    path, layers = vectors
    top = []
    for number, layer in enumerate(layers):
        key = f"{POLYGONS}_{number}"
        source = f"./{path.name}|layername={layer.name}"
        name = layer.name.capitalize()
        drawn = sheet.add_layer("vector", key, name, source, "ogr", shown=number == 0)
        drawn.set("geometry", "Line" if "Line" in layer.geometry_type else "Polygon")
        add_outline_style(drawn, layer.outline, layer.geometry_type, **outline_speech(layer))
        layer.about.add_to(ET.SubElement(drawn, "resourceMetadata"))
        top.append((key, name))
    top = top[:1]
    if classes is not None:
        key = f"{RASTER}_classes"
        drawn = sheet.add_raster(key, classes.name, classes.path, raster, shown=True)
        add_raster_style(drawn, classes.legend)
        top.append((key, classes.name))
    for number, other in enumerate(beside):
        key = f"{RASTER}_beside_{number}"
        sheet.add_beside(key, other, raster, shown=bool(other.bands))
    sheet.add_product(raster, about, shown=False)
    return sheet.end(about, top)


class Sheet(NamedTuple):
    """A project in the making."""

    root: ET.Element
    group: ET.Element
    """The tree of layers."""
    layers: ET.Element
    crs: CRS
    sides: tuple[float, float, float, float]
    """West, south, east and north of what it opens on."""

    @classmethod
    def begin(cls, about: About, raster: Path) -> Sheet:
        """A project that opens on the extent of a raster, still without layers."""
        with open_dataset(str(raster)) as source:
            crs, sides = CRS.from_wkt(source.crs.to_wkt()), north_up_bounds(source)
        title = about.title
        root = ET.Element("qgis", projectname=title, version=QGIS)
        ET.SubElement(root, "title").text = title
        _with_licence(about).add_to(ET.SubElement(root, "projectMetadata"))
        _add_crs(ET.SubElement(root, "projectCrs"), crs)
        tree = ET.SubElement(root, "layer-tree-group")
        group = ET.SubElement(tree, "layer-tree-group", name=title)
        group.attrib |= {"checked": "Qt::Checked", "expanded": "1"}
        _add_canvas(ET.SubElement(root, "mapcanvas", name="theMapCanvas"), sides, crs)
        return cls(root, group, ET.SubElement(root, "projectlayers"), crs, sides)

    def end(self, about: About, legend: Sequence[tuple[str, str]]) -> str:
        """The text of the project, with a bookmark and a sheet to print whose legend shows these
        layers, by id and name."""
        _add_properties(ET.SubElement(self.root, "properties"), self.crs)
        marks = ET.SubElement(self.root, "Bookmarks")
        _add_bookmark(marks, about.title, self.sides, self.crs)
        layouts = ET.SubElement(self.root, "Layouts")
        add_layout(layouts, about.title, about.credits, self.sides, self.crs, legend)
        view = ET.SubElement(self.root, "ProjectViewSettings")
        _add_crs(ET.SubElement(view, "DefaultViewExtent", _attributes(self.sides)), self.crs)
        return document(self.root)

    def add_product(self, raster: Path, about: About, *, shown: bool) -> ET.Element:
        """The raster beside which the project lies."""
        drawn = self.add_layer("raster", RASTER, "Raster", f"./{raster.name}", "gdal", shown=shown)
        about.add_to(ET.SubElement(drawn, "resourceMetadata"))
        return drawn

    def add_beside(self, key: str, other: Beside, raster: Path, *, shown: bool = False) -> None:
        """A raster of percents, or an image in its colours."""
        drawn = self.add_raster(key, other.name, other.path, raster, shown=shown)
        if other.bands:
            add_natural_style(drawn, other.bands, spans_of(other))
        else:
            add_ramp_style(drawn, SURE, 0, 100)

    def add_raster(
        self, key: str, name: str, path: Path, raster: Path, *, shown: bool = False
    ) -> ET.Element:
        """A further raster, by its way from the folder of the project's own."""
        with open_dataset(str(path)) as source:
            crs = CRS.from_wkt(source.crs.to_wkt())
        place = Path(os.path.relpath(path, raster.parent)).as_posix()
        return self.add_layer("raster", key, name, place, "gdal", shown=shown, crs=crs)

    def add_layer(
        self,
        kind: str,
        key: str,
        name: str,
        source: str,
        provider: str,
        *,
        shown: bool,
        crs: CRS | None = None,
    ) -> ET.Element:
        """Name a file in the tree of layers and describe it in their list; what is returned takes
        its style."""
        ET.SubElement(
            self.group,
            "layer-tree-layer",
            id=key,
            name=name,
            source=source,
            providerKey=provider,
            checked="Qt::Checked" if shown else "Qt::Unchecked",
            expanded="1" if shown else "0",
        )
        layer = ET.SubElement(self.layers, "maplayer", type=kind)
        ET.SubElement(layer, "id").text = key
        ET.SubElement(layer, "datasource").text = source
        ET.SubElement(layer, "layername").text = name
        _add_crs(ET.SubElement(layer, "srs"), crs or self.crs)
        ET.SubElement(layer, "provider", encoding="UTF-8").text = provider
        return layer


def _add_canvas(canvas: ET.Element, sides: tuple[float, float, float, float], crs: CRS) -> None:
    _add_extent(canvas, sides)
    _add_crs(ET.SubElement(canvas, "destinationsrs"), crs)


def _with_licence(about: About) -> About:
    """What a project says of itself: its licence in the abstract, since it has no field for one."""
    licence = f"Licence: {about.licence}" if about.licence else ""
    return replace(about, abstract=". ".join(filter(None, [about.abstract, licence])))


def _add_polygons(sheet: Sheet, path: Path, layer: Layer, legend: Sequence[LegendRow]) -> None:
    source = f"./{path.name}|layername={layer.name}"
    drawn = sheet.add_layer("vector", POLYGONS, "Polygons", source, "ogr", shown=True)
    drawn.set("geometry", "Polygon")
    add_vector_style(drawn, legend, **speech(layer))
    layer.about.add_to(ET.SubElement(drawn, "resourceMetadata"))


def _add_properties(properties: ET.Element, crs: CRS) -> None:
    # Without this the project has no CRS, whatever stands in projectCrs.
    projected = ET.SubElement(properties, "SpatialRefSys")
    ET.SubElement(projected, "ProjectionsEnabled", type="int").text = "1"
    ET.SubElement(ET.SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    if (globe := crs.ellipsoid) is not None and abs(globe.semi_major_metre - EARTH) < 1000:
        # QGIS measures on it, also the bar of the layout; without one, in the units of the grid.
        measure = ET.SubElement(properties, "Measure")
        ET.SubElement(measure, "Ellipsoid", type="QString").text = "EPSG:7030"


def spans_of(image: Beside) -> list[tuple[float, float]]:
    """What most pixels of each band lie between, by those in the middle of the image."""
    with open_dataset(str(image.path)) as source:
        height, width = min(MIDDLE, source.height), min(MIDDLE, source.width)
        row, col = (source.height - height) // 2, (source.width - width) // 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NodataShadowWarning)  # it is only a picture
            pixels = source.read(
                list(image.bands), window=Window(row, col, height, width).ranges, masked=True
            )
    spans = []
    for band in pixels:
        seen = band.compressed()
        seen = seen[np.isfinite(seen)]
        low, high = (0.0, 1.0) if seen.size == 0 else map(float, np.percentile(seen, (2, 98)))
        spans.append((low, high if high > low else low + 1))
    return spans


def _attributes(sides: tuple[float, float, float, float]) -> dict[str, str]:
    return {
        name: repr(side) for name, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)
    }


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


def _add_bookmark(
    parent: ET.Element, name: str, sides: tuple[float, float, float, float], crs: CRS
) -> None:
    west, south, east, north = sides
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    outline = f"Polygon (({', '.join(f'{x!r} {y!r}' for x, y in corners)}))"
    _add_crs(
        ET.SubElement(parent, "Bookmark", id="extent", name=name, group="", extent=outline), crs
    )
