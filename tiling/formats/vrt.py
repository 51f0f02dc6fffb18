"""Parts joined into one raster: a virtual mosaic, as a GDAL VRT.

The mosaic is a GDAL VRT: whoever reads a window of it opens the parts that lie there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import or_
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from affine import Affine
from odc.geo.geobox import GeoBox

from tiling.classmaps.legend import rgb
from tiling.formats.shard_tiff import Part
from tiling.grid.window import Window
from tiling.io.profiles import BLOCK

LegendRows = Sequence[tuple[int, str, str]]


def _text(parent: Element, tag: str, text: object, **attributes: object) -> Element:
    element = SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    element.text = str(text)
    return element


TYPES = {"uint8": "Byte", "uint32": "UInt32"}
"""What GDAL calls the types of rasters that are joined."""


class _Shown(NamedTuple):
    """What a VRT shows at a place: all of a raster, and which of its bands."""

    path: Path
    window: Window
    bands: Sequence[int]
    dtype: str


def write_mosaic(
    path: Path,
    parts: Sequence[Part],
    geobox: GeoBox,
    *bands: int,
    nodata: int,
    legend: LegendRows = (),
    names: Sequence[str] = (),
    tags: Mapping[str, str] = {},
    dtype: str = "uint8",
) -> Path:
    """Write the VRT at `path` that shows `bands` of `parts`, in raster order, as one raster of
    their `dtype` on `geobox`.

    Pixels of no part are `nodata`. With a `legend` bands get its colour table and category names;
    `names` are those of the bands themselves, `tags` metadata of the whole. Each row of parts is a
    VRT of its own beside it, which GDAL opens when it comes to it: of a hundred thousand parts it
    knows a few hundred at a time.
    """
    rows = []
    for row, members in groupby(parts, key=lambda part: part.window.row):
        shown = [_Shown(part.path, part.window, bands, dtype) for part in members]
        if len(shown) > 1:
            window = reduce(or_, (each.window for each in shown))
            file = path.with_name(f"{path.stem}-{row}{path.suffix}")
            inside = [
                each._replace(window=each.window.shift(-window.row, -window.col)) for each in shown
            ]
            _write_vrt(
                file,
                window.shape,
                [_band(number, nodata, dtype) for number, _ in enumerate(bands, 1)],
                inside,
            )
            shown = [_Shown(file, window, range(1, len(bands) + 1), dtype)]
        rows += shown
    described = [_band(number, nodata, dtype, legend, names) for number, _ in enumerate(bands, 1)]
    _write_vrt(path, (geobox.height, geobox.width), described, rows, geobox, tags)
    return path


def _band(
    number: int, nodata: int, dtype: str, legend: LegendRows = (), names: Sequence[str] = ()
) -> Element:
    band = Element("VRTRasterBand", dataType=TYPES[dtype], band=str(number))
    if names:
        _text(band, "Description", names[number - 1])
    _text(band, "NoDataValue", nodata)
    if legend:
        _colours(band, legend)
    return band


def _write_vrt(
    path: Path,
    shape: tuple[int, int],
    bands: Sequence[Element],
    shown: Sequence[_Shown],
    geobox: GeoBox | None = None,
    tags: Mapping[str, str] = {},
) -> None:
    """Write the VRT of that height and width source by source: as a tree the sources would take
    kilobytes each."""
    root = Element("VRTDataset", rasterXSize=str(shape[1]), rasterYSize=str(shape[0]))
    if geobox is not None:
        _text(root, "SRS", geobox.crs.to_wkt() if geobox.crs else "")
        _text(
            root,
            "GeoTransform",
            ", ".join(repr(float(x)) for x in Affine.to_gdal(geobox.transform)),
        )
    if tags:
        metadata = SubElement(root, "Metadata")
        for key, text in tags.items():
            _text(metadata, "MDI", text, key=key)
    with open(path, "w", encoding="utf-8") as file:
        file.write(_open_tag(root))
        for place, band in enumerate(bands):
            file.write(_open_tag(band))
            for each in shown:
                file.write(tostring(_source(each, each.bands[place]), encoding="unicode"))
            file.write(f"</{band.tag}>")
        file.write(f"</{root.tag}>")


def _open_tag(element: Element) -> str:
    """An element with its children, not yet closed."""
    return tostring(element, encoding="unicode", short_empty_elements=False).removesuffix(
        f"</{element.tag}>"
    )


def _source(shown: _Shown, band: int) -> Element:
    window = shown.window
    source = Element("SimpleSource")
    _text(source, "SourceFilename", shown.path.absolute(), relativeToVRT=0)
    _text(source, "SourceBand", band)
    SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(window.width),
        RasterYSize=str(window.height),
        DataType=TYPES[shown.dtype],
        BlockXSize=str(BLOCK),
        BlockYSize=str(BLOCK),
    )
    size = {"xSize": str(window.width), "ySize": str(window.height)}
    SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    SubElement(source, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **size})
    return source


def _colours(raster: Element, legend: LegendRows) -> None:
    by_value = {value: (name, colour) for value, name, colour in legend}
    _text(raster, "ColorInterp", "Palette")
    table, names = SubElement(raster, "ColorTable"), SubElement(raster, "CategoryNames")
    for value in range(max(by_value) + 1):
        name, colour = by_value.get(value, ("No data" if value == 0 else "", "#000000"))
        red, green, blue = map(str, rgb(colour))
        SubElement(
            table, "Entry", c1=red, c2=green, c3=blue, c4="255" if value in by_value else "0"
        )
        _text(names, "Category", name)
