"""Facts about styles; what QGIS makes of them is in test_qgis.py."""

from __future__ import annotations

import colorsys
from typing import Any
from xml.etree import ElementTree as ET

from flows.products.index_rasters import ramp_of
from tiling.classmaps.legend import rgb, with_default_rows
from tiling.formats.qml import outline_qml, ramp_qml, raster_qml, vector_qml

LEGEND = ((1, "Water", "#3b7dd8"), (2, 'Crops & "grass" <5 m', "#a8d36a"), (-7, "Été", "#000000"))


def vector() -> ET.Element:
    return ET.fromstring(
        vector_qml(
            LEGEND, aliases={"area_m2": "Area (m²)"}, label='"class_name"', map_tip="<b>&</b>"
        )
    )


def test_a_polygon_layer_has_a_category_for_each_class() -> None:
    root = vector()
    assert root.find("renderer-v2").get("attr") == "class_id"
    assert [(c.get("value"), c.get("label")) for c in root.iter("category")] == [
        (str(v), n) for v, n, _ in LEGEND
    ]


def test_each_category_is_filled_and_outlined_in_its_colour() -> None:
    root = vector()
    fills = {
        symbol.get("name"): {
            o.get("name"): o.get("value") for o in symbol.iter("Option") if o.get("name")
        }
        for symbol in root.iter("symbol")
    }
    water = fills[root.find(".//category[@value='1']").get("symbol")]
    assert water["color"] == water["outline_color"] == "59,125,216,255"
    assert water["outline_style"] == "solid"


def test_texts_survive_as_written() -> None:
    root = vector()
    assert root.find(".//alias[@field='area_m2']").get("name") == "Area (m²)"
    assert root.findtext("mapTip") == "<b>&</b>"
    assert root.findtext("previewExpression") == '"class_name"'


def test_a_raster_lists_its_classes_and_no_others() -> None:
    entries = ET.fromstring(raster_qml(LEGEND)).iter("paletteEntry")
    assert [(int(e.get("value")), e.get("label"), e.get("color")) for e in entries] == list(LEGEND)


def test_a_complete_legend_stays_as_it_is() -> None:
    assert with_default_rows(LEGEND, [1, 2]) == LEGEND


def test_missing_classes_are_named_by_their_value_and_each_has_its_own_colour() -> None:
    rows = with_default_rows(LEGEND, [40, 1, 30, 30])[len(LEGEND) :]
    assert [(value, name) for value, name, _ in rows] == [(30, "30"), (40, "40")]
    assert rows[1] == with_default_rows((), [40])[0], "whatever else is in the legend"
    colours = {colour for _, _, colour in with_default_rows((), range(-50, 200))}
    assert len(colours) == 250
    assert all(len(bytes.fromhex(colour[1:])) == 3 for colour in colours)


def test_no_unknown_class_is_blue_as_water() -> None:
    for _, _, colour in with_default_rows((), range(-20, 255)):
        hue, saturation, _ = colorsys.rgb_to_hsv(
            *(part / 255 for part in bytes.fromhex(colour[1:]))
        )
        assert saturation < 0.2 or not 0.47 < hue < 0.72, colour


def test_a_ramp_spans_what_is_asked_in_its_own_proportions() -> None:
    items = list(
        ET.fromstring(
            ramp_qml(((0.0, "#000000"), (0.25, "#777777"), (1.0, "#ffffff")), -1, 1)
        ).iter("item")
    )
    assert [(float(item.get("value")), item.get("color")) for item in items] == [
        (-1, "#000000"), (-0.5, "#777777"), (1, "#ffffff")
    ]  # fmt: skip


def test_an_index_of_vegetation_is_green_where_high_and_one_of_water_blue() -> None:
    for name, strong in (("NDVI", 1), ("NDWI", 2)):
        *_, highest = ET.fromstring(ramp_qml(ramp_of(name), -1, 1)).iter("item")
        assert max(range(3), key=bytes.fromhex(highest.get("color")[1:]).__getitem__) == strong


def test_outlines_have_the_colours_of_classes_and_let_the_image_through() -> None:
    words: dict[str, Any] = {"aliases": {}, "label": "", "classes": ("class", LEGEND[:2])}
    root = ET.fromstring(outline_qml("", "Polygon", **words).split("\n", 1)[1])
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "class"
    names = [one.get("value") for one in root.iter("category")]
    assert names == [name for _, name, _ in LEGEND[:2]]
    assert {one.get("type") for one in root.iter("category")} == {"string"}
    for symbol, (_, _, colour) in zip(root.iter("symbol"), LEGEND, strict=False):
        said = {one.get("name"): one.get("value") for one in symbol.iter("Option")}
        assert said["outline_color"] == ",".join(map(str, (*rgb(colour), 255)))
        assert said["color"] == ",".join(map(str, (*rgb(colour), 70)))
    dark = outline_qml("#222222", "Polygon", **words)
    assert dark.count('value="34,34,34,255"') == 2
    plain = outline_qml("#222222", "Polygon", aliases={}, label="")
    assert [text.count("@map_scale") for text in (dark, plain)] == [2, 1]
