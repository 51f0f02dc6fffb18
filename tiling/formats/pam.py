"""The `.aux.xml` beside a raster, GDAL's persistent auxiliary metadata: what a GeoTIFF itself has
no place for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from tiling.classmaps.legend import LegendRow, rgb
from tiling.formats.qml import Ramp

Usage = Literal["generic", "pixels", "name", "min", "max", "value", "red", "green", "blue"]

_USAGES = {
    "generic": 0,
    "pixels": 1,
    "name": 2,
    "min": 3,
    "max": 4,
    "value": 5,
    "red": 6,
    "green": 7,
    "blue": 8,
}
_TYPES = {int: 0, float: 1, str: 2}
"""`GDALRATFieldUsage` and `GDALRATFieldType` of gdal.h."""

Column = tuple[str, type[int] | type[float] | type[str], Usage]
_COLOURS: tuple[Column, ...] = (("Red", int, "red"), ("Green", int, "green"), ("Blue", int, "blue"))

Cells = Iterable[Sequence[int | float | str]]


def sidecar_text(
    names: Mapping[int, str], columns: Sequence[Column] = (), rows: Cells = (), *, bands: int = 1
) -> str:
    """Text of the `.aux.xml` of a raster: names by value, and an attribute table where it has
    columns.

    The table is of single values where a column is used as `value`, else of ranges from `min` to
    `max`.
    """
    root, rows = Element("PAMDataset"), list(rows)
    for number in range(1, bands + 1):
        _describe(SubElement(root, "PAMRasterBand", band=str(number)), names, columns, rows)
    return tostring(root, encoding="unicode")


def class_table(legend: Sequence[LegendRow], pixels: Mapping[int, int]) -> str:
    """Text of the `.aux.xml` of a class raster: names, colours and pixel counts of the classes that
    occur."""
    columns: tuple[Column, ...] = (
        ("Value", int, "value"),
        ("Pixels", float, "pixels"),
        ("Class", str, "name"),
        *_COLOURS,
    )
    rows = [
        (value, pixels[value], name, *rgb(colour))
        for value, name, colour in legend
        if pixels.get(value)
    ]
    return sidecar_text({0: "No data"} | {value: name for value, name, _ in legend}, columns, rows)


def ramp_table(ramp: Ramp, low: float, high: float, *, bands: int = 1, steps: int = 20) -> str:
    """Text of the `.aux.xml` of a raster of measurements: ranges from `low` to `high`, coloured as
    the ramp is."""
    edges = np.linspace(low, high, steps + 1).round(6).tolist()
    places, colours = (
        np.array([place for place, _ in ramp]),
        np.array([list(rgb(colour)) for _, colour in ramp]),
    )
    middles = np.interp((np.arange(steps) + 0.5) / steps, [0, 1], [places[0], places[-1]])
    shades = (
        np.stack([np.interp(middles, places, channel) for channel in colours.T], axis=1)
        .round()
        .astype(int)
    )
    columns: tuple[Column, ...] = (("From", float, "min"), ("To", float, "max"), *_COLOURS)
    rows = [(edges[step], edges[step + 1], *shades[step].tolist()) for step in range(steps)]
    return sidecar_text({}, columns, rows, bands=bands)


def _describe(
    band: Element, names: Mapping[int, str], columns: Sequence[Column], rows: Cells
) -> None:
    if names:
        categories = SubElement(band, "CategoryNames")
        for value in range(max(names) + 1):
            SubElement(categories, "Category").text = names.get(value, "")
    if columns:
        kind = "thematic" if any(usage == "value" for *_, usage in columns) else "athematic"
        table = SubElement(band, "GDALRasterAttributeTable", tableType=kind)
        for index, (name, type_, usage) in enumerate(columns):
            column = SubElement(table, "FieldDefn", index=str(index))
            for tag, text in (("Name", name), ("Type", _TYPES[type_]), ("Usage", _USAGES[usage])):
                SubElement(column, tag).text = str(text)
        for index, cells in enumerate(rows):
            row = SubElement(table, "Row", index=str(index))
            for cell in cells:
                SubElement(row, "F").text = str(cell)
