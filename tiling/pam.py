"""The `.aux.xml` beside a raster, GDAL's persistent auxiliary metadata: what a GeoTIFF itself has no place for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, tostring

Usage = Literal["generic", "pixels", "name", "min", "max", "value", "red", "green", "blue"]

_USAGES = {"generic": 0, "pixels": 1, "name": 2, "min": 3, "max": 4, "value": 5, "red": 6, "green": 7, "blue": 8}
_TYPES = {int: 0, float: 1, str: 2}
"""`GDALRATFieldUsage` and `GDALRATFieldType` of gdal.h."""

Column = tuple[str, type[int] | type[float] | type[str], Usage]
Cells = Iterable[Sequence[int | float | str]]


def sidecar_text(names: Mapping[int, str], columns: Sequence[Column] = (), rows: Cells = ()) -> str:
    """Text of the `.aux.xml` of a raster of one band: names by value, and an attribute table where it has columns.

    The table is of single values where a column is used as `value`, else of ranges from `min` to `max`.
    """
    root = Element("PAMDataset")
    band = SubElement(root, "PAMRasterBand", band="1")
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
    return tostring(root, encoding="unicode")
