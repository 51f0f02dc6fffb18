"""How QGIS draws a map: legends as QML, the style format that GeoPackages carry and rasters have
beside them.

QGIS takes a GeoPackage's default style from its table `layer_styles`, as QML only: an SLD there is
ignored. A raster's style is the `.qml` of the same name in the same folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from tiling.classmaps.legend import LegendRow, rgb

QGIS = "3.22.0"
"""The version whose format styles and projects are written in; later ones read it too."""

HAIRLINE = "0.2"
"""Outline in the fill's own colour, in mm: without it antialiasing lets a quarter of the background
through between neighbours, which looks like seams; 0.1 mm leaves a tenth, 0.2 mm less than a
hundredth (measured in QGIS 3.22)."""

OUTLINE = "0.26"
"""Width of lines over an image, in mm."""

FINER = 'min(0.26, 25 * sqrt("area_m2") / @map_scale)'
"""Width of an object's line in mm: a fortieth of its side on the map where that is less, so that
lines do not hide what lies below when a map is seen as a whole."""


def vector_qml(
    legend: Sequence[LegendRow],
    *,
    aliases: Mapping[str, str],
    label: str,
    map_tip: str,
    outline: str = "",
) -> str:
    """QML of a polygon layer, one category for each class of its column `class_id`.

    Lines have the colour `outline`, or that of the class. `aliases` are what a person calls the
    columns, `label` an expression that names a feature, `map_tip` the HTML shown under the mouse,
    with expressions in [% %].
    """
    root = ET.Element("qgis", version=QGIS, styleCategories="Symbology|Fields|Forms|MapTips")
    add_vector_style(root, legend, aliases=aliases, label=label, map_tip=map_tip, outline=outline)
    ET.SubElement(root, "layerGeometryType").text = "2"
    return document(root)


def add_vector_style(
    parent: ET.Element,
    legend: Sequence[LegendRow],
    *,
    aliases: Mapping[str, str],
    label: str,
    map_tip: str,
    outline: str = "",
) -> None:
    """Put a polygon layer's style into a QML document or into a project's layer: the elements are
    the same."""
    rows = [(str(value), name, colour, outline or colour) for value, name, colour in legend]
    _add_categories(parent, "class_id", "integer", rows, OPAQUE)
    names = ET.SubElement(parent, "aliases")
    for field, alias in aliases.items():
        ET.SubElement(names, "alias", field=field, name=alias)
    ET.SubElement(parent, "mapTip").text = map_tip
    ET.SubElement(parent, "previewExpression").text = label


OPAQUE, PALE = 255, 70
"""How much of what lies below is hidden, of 255: all of it, and about a quarter."""


def _add_categories(
    parent: ET.Element,
    column: str,
    kind: str,
    rows: Sequence[tuple[str, str, str, str]],
    cover: int,
) -> None:
    """Draw polygons by the values of a column: value, name, colour and the line's of each."""
    renderer = ET.SubElement(
        parent, "renderer-v2", type="categorizedSymbol", attr=column, symbollevels="0"
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for number, (value, name, colour, line) in enumerate(rows):
        said = {"value": value, "type": kind, "symbol": str(number), "label": name}
        ET.SubElement(categories, "category", said, render="true")
        width = HAIRLINE if line == colour and cover == OPAQUE else OUTLINE
        tint, finer = _rgba(colour, cover), cover != OPAQUE
        _add_fill(symbols, str(number), tint, _rgba(line), width, finer=finer)


Classes = tuple[str, Sequence[LegendRow]]
"""A column of names of classes, and their colours."""


def outline_qml(
    colour: str,
    geometry: str,
    *,
    aliases: Mapping[str, str],
    label: str,
    classes: Classes | None = None,
) -> str:
    """QML of a layer of polygons or lines that are drawn as lines of one colour, `geometry` being
    "Polygon" or "LineString"; of polygons with `classes` in the colours of these, and lines too
    where `colour` is empty."""
    root = ET.Element("qgis", version=QGIS, styleCategories="Symbology|Fields|Forms|MapTips")
    add_outline_style(root, colour, geometry, aliases=aliases, label=label, classes=classes)
    ET.SubElement(root, "layerGeometryType").text = "1" if "Line" in geometry else "2"
    return document(root)


def add_outline_style(
    parent: ET.Element,
    colour: str,
    geometry: str,
    *,
    aliases: Mapping[str, str],
    label: str,
    classes: Classes | None = None,
) -> None:
    """Put the style of lines into a QML document or into a project's layer; polygons are not
    filled, or by their class so thinly that what lies below is seen."""
    if classes is not None:
        column, legend = classes
        rows = [(name, name, tint, colour or tint) for _, name, tint in legend]
        _add_categories(parent, column, "string", rows, PALE)
    else:
        renderer = ET.SubElement(parent, "renderer-v2", type="singleSymbol", symbollevels="0")
        _add_outline(ET.SubElement(renderer, "symbols"), colour, line="Line" in geometry)
    names = ET.SubElement(parent, "aliases")
    for field, alias in aliases.items():
        ET.SubElement(names, "alias", field=field, name=alias)
    ET.SubElement(parent, "previewExpression").text = label


def _add_outline(symbols: ET.Element, colour: str, *, line: bool) -> None:
    """A symbol of lines of one colour, or of polygons that have nothing but a line."""
    if not line:
        _add_fill(symbols, "0", "0,0,0,0", _rgba(colour), OUTLINE, style="no", finer=True)
        return
    symbol = ET.SubElement(symbols, "symbol", type="line", name="0", alpha="1", clip_to_extent="1")
    drawn = {"class": "SimpleLine", "enabled": "1", "locked": "0", "pass": "0"}
    settings = {"line_color": _rgba(colour), "line_style": "solid"}
    settings |= {"line_width": OUTLINE, "line_width_unit": "MM"}
    _add_options(ET.SubElement(symbol, "layer", drawn), settings)


def _add_options(parent: ET.Element, settings: Mapping[str, str]) -> None:
    options = ET.SubElement(parent, "Option", type="Map")
    for name, value in settings.items():
        ET.SubElement(options, "Option", type="QString", name=name, value=value)


def raster_qml(legend: Sequence[LegendRow]) -> str:
    """QML of a paletted raster: just its classes. QGIS alone would list all 256 entries of the
    colour table."""
    root = ET.Element("qgis", version=QGIS, styleCategories="Symbology")
    add_raster_style(root, legend)
    return document(root)


def add_raster_style(parent: ET.Element, legend: Sequence[LegendRow]) -> None:
    """Put a paletted raster's style into a QML document or into a project's layer."""
    renderer = ET.SubElement(
        ET.SubElement(parent, "pipe"),
        "rasterrenderer",
        type="paletted",
        band="1",
        opacity="1",
        alphaBand="-1",
    )
    palette = ET.SubElement(renderer, "colorPalette")
    for value, name, colour in legend:
        ET.SubElement(
            palette, "paletteEntry", value=str(value), color=colour, label=name, alpha="255"
        )


SURE = ((0.0, "#762a83"), (0.5, "#f7f7f7"), (1.0, "#1b7837"))
"""From doubtful to sure; purple and green are apart for the colour-blind too (ColorBrewer's
PRGn)."""

GREENNESS = (
    (-1.0, "#8c510a"),
    (0.0, "#f6e8c3"),
    (0.3, "#c7e9b4"),
    (0.6, "#41ab5d"),
    (1.0, "#00441b"),
)
"""Of an index of vegetation, -1 to 1."""

WETNESS = ((-1.0, "#8c510a"), (0.0, "#f5f5f5"), (0.3, "#74add1"), (1.0, "#08306b"))
"""Of an index of water, -1 to 1."""

Ramp = Sequence[tuple[float, str]]


def ramp_qml(ramp: Ramp, low: float, high: float, *, band: int = 1) -> str:
    """QML of a raster of measurements: a ramp's colours between `low` and `high`, in the ramp's own
    proportions."""
    root = ET.Element("qgis", version=QGIS, styleCategories="Symbology")
    add_ramp_style(root, ramp, low, high, band=band)
    return document(root)


def add_ramp_style(
    parent: ET.Element, ramp: Ramp, low: float, high: float, *, band: int = 1
) -> None:
    """Put the style of a raster of measurements into a QML document or into a project's layer."""
    renderer = ET.SubElement(
        ET.SubElement(parent, "pipe"), "rasterrenderer",
        type="singlebandpseudocolor", band=str(band), opacity="1", alphaBand="-1",
        classificationMin=f"{low:g}", classificationMax=f"{high:g}",
    )  # fmt: skip
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"), "colorrampshader",
        colorRampType="INTERPOLATED", classificationMode="1", clip="0",
        minimumValue=f"{low:g}", maximumValue=f"{high:g}",
    )  # fmt: skip
    first, last = ramp[0][0], ramp[-1][0]
    for place, colour in ramp:
        value = f"{low + (place - first) / (last - first) * (high - low):g}"
        ET.SubElement(shader, "item", value=value, label=value, color=colour, alpha="255")


_STEPS = 8
"""Colours by which polygons are told apart."""


def graduated_qml(
    column: str, ramp: Ramp, low: float, high: float, *, aliases: Mapping[str, str], date: str = ""
) -> str:
    """QML of a polygon layer coloured by a column of measurements, in eight steps between `low` and
    `high`; beyond them in the colours of the ends.

    The ramp's own numbers say which colour a measurement has. `date` is the column that says when a
    feature is shown as time runs.
    """
    categories = "Symbology|Fields" + ("|Temporal" if date else "")
    root = ET.Element("qgis", version=QGIS, styleCategories=categories)
    if date:
        time = {"enabled": "1", "mode": "1", "startField": date, "durationUnit": "d"}
        empty = ("endField", "durationField", "startExpression", "endExpression")
        rest = {"limitMode": "0", "fixedDuration": "0", "accumulate": "0"}
        ET.SubElement(root, "temporal", {**time, **rest, **dict.fromkeys(empty, "")})
    renderer = ET.SubElement(
        root, "renderer-v2",
        type="graduatedSymbol", attr=column, graduatedMethod="GraduatedColor", symbollevels="0",
    )  # fmt: skip
    ranges = ET.SubElement(renderer, "ranges")
    symbols = ET.SubElement(renderer, "symbols")
    cuts = [low + (high - low) * step / _STEPS for step in range(_STEPS + 1)]
    for number in range(_STEPS):
        lower = cuts[number] if number else -1e9
        upper = cuts[number + 1] if number < _STEPS - 1 else 1e9
        label = f"{cuts[number]:.2f} – {cuts[number + 1]:.2f}"
        ET.SubElement(
            ranges, "range",
            lower=f"{lower:g}", upper=f"{upper:g}", label=label, symbol=str(number), render="true",
        )  # fmt: skip
        colour = ramp_colour(ramp, (cuts[number] + cuts[number + 1]) / 2)
        _add_fill(symbols, str(number), _rgba(colour), "90,90,90,255", OUTLINE)
    names = ET.SubElement(root, "aliases")
    for field, alias in aliases.items():
        ET.SubElement(names, "alias", field=field, name=alias)
    ET.SubElement(root, "layerGeometryType").text = "2"
    return document(root)


def _add_fill(
    symbols: ET.Element,
    name: str,
    fill: str,
    line: str,
    width: str,
    *,
    style: str = "solid",
    finer: bool = False,
) -> None:
    """A symbol of polygons, colours as QGIS writes them; the line as wide as `FINER` says where it
    is to be."""
    symbol = ET.SubElement(symbols, "symbol", type="fill", name=name, alpha="1", clip_to_extent="1")
    drawn = {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    settings = {"color": fill, "style": style, "outline_color": line, "outline_style": "solid"}
    settings |= {"outline_width": width, "outline_width_unit": "MM"}
    layer = ET.SubElement(symbol, "layer", drawn)
    _add_options(layer, settings)
    if finer:
        told = ET.SubElement(ET.SubElement(layer, "data_defined_properties"), "Option", type="Map")
        ET.SubElement(told, "Option", name="name", type="QString", value="")
        by_name = ET.SubElement(told, "Option", name="properties", type="Map")
        width_of = ET.SubElement(by_name, "Option", name="outlineWidth", type="Map")
        ET.SubElement(width_of, "Option", name="active", type="bool", value="true")
        ET.SubElement(width_of, "Option", name="expression", type="QString", value=FINER)
        ET.SubElement(width_of, "Option", name="type", type="int", value="3")
        ET.SubElement(told, "Option", name="type", type="QString", value="collection")


def ramp_colour(ramp: Ramp, value: float) -> str:
    """The colour of a ramp at a value, between its stops mixed, beyond them that of the end.

    >>> ramp_colour(((0.0, "#000000"), (1.0, "#ffffff")), 0.5)
    '#808080'
    """
    value = min(max(value, ramp[0][0]), ramp[-1][0])
    for (low, one), (high, other) in pairwise(ramp):
        if value <= high:
            part = (value - low) / (high - low)
            mixed = (round(a + part * (b - a)) for a, b in zip(rgb(one), rgb(other), strict=True))
            return "#" + "".join(f"{channel:02x}" for channel in mixed)
    return ramp[-1][1]


def add_natural_style(
    parent: ET.Element, bands: Sequence[int], spans: Sequence[tuple[float, float]]
) -> None:
    """Put the style of an image into a project's layer: three bands as red, green and blue, each
    over what it spans."""
    channels = ("red", "green", "blue")
    renderer = ET.SubElement(
        ET.SubElement(parent, "pipe"),
        "rasterrenderer",
        type="multibandcolor",
        opacity="1",
        alphaBand="-1",
    )
    for channel, band, (low, high) in zip(channels, bands, spans, strict=True):
        renderer.set(f"{channel}Band", str(band))
        stretch = ET.SubElement(renderer, f"{channel}ContrastEnhancement")
        for tag, text in (
            ("minValue", f"{low:g}"), ("maxValue", f"{high:g}"), ("algorithm",
            "StretchToMinimumMaximum")
        ):  # fmt: skip
            ET.SubElement(stretch, tag).text = text


def _rgba(colour: str, cover: int = OPAQUE) -> str:
    return ",".join(str(part) for part in (*rgb(colour), cover))


def document(root: ET.Element) -> str:
    """The text of a QML file or a project."""
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + ET.tostring(
        root, encoding="unicode"
    )
