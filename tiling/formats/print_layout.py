"""The print layout of a project: an A4 sheet with title, map, legend, scale bar, north arrow and
sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from pyproj import CRS

PAGE = (297.0, 210.0)
"""Width and height in mm."""

_MAP = (10.0, 22.0, 205.0, 170.0)
"""Left, top, width and height on the page, in mm."""

# kinds of items, as QGIS numbers them (QgsLayoutItemRegistry::ItemType)
_PAGE, _MAP_ITEM, _PICTURE, _LABEL, _LEGEND, _SCALE_BAR = 65638, 65639, 65640, 65641, 65642, 65646

_LINE = 1300.0
"""Points of a font, times letters, that fill a line of the sheet."""

_MAP_ID = "{6c616e64-7765-4176-a500-000000000001}"

Sides = tuple[float, float, float, float]


def add_layout(
    parent: ET.Element,
    title: str,
    credits: str,
    sides: Sides,
    crs: CRS,
    shown: Sequence[tuple[str, str]],
) -> None:
    """Put the layout called "Map" among a project's `Layouts`.

    `sides` are west, south, east and north in `crs`; `shown` are ids and names of the layers in the
    legend, the uppermost first; `credits` is the line at the foot of the sheet.
    """
    layout = ET.SubElement(parent, "Layout", name="Map", printResolution="300", units="mm")
    pages = ET.SubElement(layout, "PageCollection")
    _add_item(pages, _PAGE, (0, 0, *PAGE), background="true")
    left, top, width, height = _MAP
    chart = _add_item(
        layout, _MAP_ITEM, _MAP, uuid=_MAP_ID, background="true", frame="true", zValue="1"
    )
    around = fit_box(sides, width / height)
    names = ("xmin", "ymin", "xmax", "ymax")
    ET.SubElement(
        chart, "Extent", {name: repr(side) for name, side in zip(names, around, strict=True)}
    )
    _add_label(
        layout, title, (left, 7, PAGE[0] - 2 * left, 12), size=min(18.0, _LINE / max(1, len(title)))
    )
    _add_label(layout, credits, (left, 195, PAGE[0] - 2 * left, 10), size=7)
    _add_legend(layout, top, shown)
    _add_scale_bar(layout, metres_across(around, crs))
    _add_item(
        layout,
        _PICTURE,
        (left + width - 17, top + 2, 15, 15),
        mapUuid=_MAP_ID,
        northMode="0",
        mode="2",
        zValue="4",
        file=":/images/north_arrows/layout_default_north_arrow.svg",
    )


def _add_legend(layout: ET.Element, top: float, shown: Sequence[tuple[str, str]]) -> None:
    legend = _add_item(
        layout,
        _LEGEND,
        (220, top, 67, 120),
        map_uuid=_MAP_ID,
        title="",
        resizeToContents="1",
        legendFilterByAtlas="0",
        symbolWidth="6",
        symbolHeight="4",
        boxSpace="2",
        columnCount="1",
        wrapChar="",
        zValue="2",
    )
    tree = ET.SubElement(legend, "layer-tree-group", name="", checked="Qt::Checked", expanded="1")
    for key, name in shown:
        ET.SubElement(
            tree, "layer-tree-layer", id=key, name=name, checked="Qt::Checked", expanded="1"
        )


def _add_scale_bar(layout: ET.Element, across: float) -> None:
    """Of a round length; the map is `across` metres wide on the ground."""
    segment, unit, label = round_length(0.14 * across)
    on_paper = _MAP[2] * segment * (1000 if label == "km" else 1) / across
    _add_item(
        layout,
        _SCALE_BAR,
        (220, 176, 67, 14),
        mapUuid=_MAP_ID,
        style="Single Box",
        unitType=unit,
        unitLabel=label,
        numSegments="2",
        numSegmentsLeft="0",
        numUnitsPerSegment=f"{segment:g}",
        numMapUnitsPerScaleBarUnit="1",
        segmentSizeMode="0",
        segmentMillimeters=f"{on_paper:.4f}",
        height="3",
        outlineWidth="0.3",
        zValue="3",
    )


def fit_box(sides: Sides, aspect: float) -> Sides:
    """The smallest box of that aspect, width to height, around another, with a margin of a
    fiftieth."""
    west, south, east, north = sides
    width, height = 1.04 * (east - west), 1.04 * (north - south)
    width, height = max(width, height * aspect), max(height, width / aspect)
    x, y = (west + east) / 2, (south + north) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def metres_across(sides: Sides, crs: CRS) -> float:
    """About how wide a box is on the ground."""
    west, south, east, north = sides
    if crs.is_geographic:
        return (east - west) * 111_320 * max(0.01, math.cos(math.radians((south + north) / 2)))
    factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    return (east - west) * (factor or 1.0)


def round_length(metres: float) -> tuple[float, str, str]:
    """A length a scale bar may have, 1, 2 or 5 times a power of ten, not above `metres`; QGIS's
    unit and its label."""
    power = 10.0 ** math.floor(math.log10(metres)) if metres > 0 else 1.0
    length = next(digit * power for digit in (5, 2, 1) if digit * power <= max(metres, power))
    return (length / 1000, "km", "km") if length >= 1000 else (length, "meters", "m")


def _add_item(parent: ET.Element, kind: int, place: Sequence[float], **settings: str) -> ET.Element:
    left, top, width, height = place
    return ET.SubElement(
        parent,
        "LayoutItem",
        {
            "type": str(kind),
            "position": f"{left:g},{top:g},mm",
            "positionOnPage": f"{left:g},{top:g},mm",
            "size": f"{width:g},{height:g},mm",
            "referencePoint": "0",
            "visibility": "1",
            "opacity": "1",
            "frame": "false",
            "background": "false",
            **settings,
        },
    )


def _add_label(parent: ET.Element, text: str, place: Sequence[float], *, size: float) -> None:
    item = _add_item(
        parent, _LABEL, place, labelText=text, htmlState="0", halign="1", valign="128", zValue="5"
    )
    # QGIS 3.22 reads the first of these, later ones the second
    ET.SubElement(item, "LabelFont", style="", description=f"Sans,{size:g},-1,5,50,0,0,0,0,0")
    ET.SubElement(
        item,
        "text-style",
        fontSize=f"{size:g}",
        fontSizeUnit="Point",
        fontFamily="Sans",
        textColor="30,30,30,255",
        textOpacity="1",
    )
