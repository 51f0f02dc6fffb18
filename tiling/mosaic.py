"""Parts joined into one raster: a virtual mosaic, then a cloud-optimised GeoTIFF.

The mosaic is a GDAL VRT: it costs a few hundred bytes a part, and the COG driver streams through it block by block, so
memory does not grow with the raster.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement

import rasterio
import rasterio.features
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox

from tiling.parts import Part
from tiling.window import Window

BLOCK = 512
_BURNT = 4 * BLOCK
LegendRows = Sequence[tuple[int, str, str]]


def _text(parent: Element, tag: str, text: object, **attributes: object) -> Element:
    element = SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    element.text = str(text)
    return element


def write_mosaic(
    path: Path,
    parts: Sequence[Part],
    geobox: GeoBox,
    *bands: int,
    nodata: int,
    legend: LegendRows = (),
    names: Sequence[str] = (),
) -> Path:
    """Write the VRT at `path` that shows `bands` of all `parts` as one uint8 raster on `geobox`.

    Pixels of no part are `nodata`. With a `legend` bands get its colour table and category names; `names` are those of
    the bands themselves.
    """
    height, width = geobox.shape
    root = Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    _text(root, "SRS", geobox.crs.to_wkt() if geobox.crs else "")
    _text(root, "GeoTransform", ", ".join(repr(float(x)) for x in Affine.to_gdal(geobox.transform)))
    for number, band in enumerate(bands, start=1):
        raster = SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        if names:
            _text(raster, "Description", names[number - 1])
        _text(raster, "NoDataValue", nodata)
        if legend:
            _colours(raster, legend)
        for part in parts:
            _source(raster, part, band)
    ElementTree(root).write(path, encoding="utf-8")
    return path


def _source(raster: Element, part: Part, band: int) -> None:
    window = part.window
    source = SubElement(raster, "SimpleSource")
    _text(source, "SourceFilename", part.path.resolve(), relativeToVRT=0)
    _text(source, "SourceBand", band)
    SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(window.width),
        RasterYSize=str(window.height),
        DataType="Byte",
        BlockXSize=str(BLOCK),
        BlockYSize=str(BLOCK),
    )
    size = {"xSize": str(window.width), "ySize": str(window.height)}
    SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    SubElement(source, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **size})


def _colours(raster: Element, legend: LegendRows) -> None:
    by_value = {value: (name, colour) for value, name, colour in legend}
    _text(raster, "ColorInterp", "Palette")
    table, names = SubElement(raster, "ColorTable"), SubElement(raster, "CategoryNames")
    for value in range(max(by_value) + 1):
        name, colour = by_value.get(value, ("No data" if value == 0 else "", "#000000"))
        red, green, blue = (str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
        SubElement(table, "Entry", c1=red, c2=green, c3=blue, c4="255" if value in by_value else "0")
        _text(names, "Category", name)


def write_cog(source: Path, target: Path, *, overviews: str) -> None:
    """Copy a raster into a COG: 512-px blocks, DEFLATE, overviews by `overviews` ("mode", "average", "nearest").

    The file and the `.aux.xml` beside it (GeoTIFF itself has no place for category names) appear whole.
    """
    with scratch(target.parent) as folder:
        rasterio.shutil.copy(
            str(source),
            str(folder / target.name),
            driver="COG",
            BLOCKSIZE=BLOCK,
            COMPRESS="DEFLATE",
            OVERVIEW_RESAMPLING=overviews.upper(),
            BIGTIFF="IF_SAFER",
            NUM_THREADS="ALL_CPUS",
        )
        for written in sorted(folder.iterdir(), reverse=True):  # the .aux.xml first, the raster last
            written.replace(target.with_name(written.name))


def plain_profile(raster: Any, window: Window) -> dict[str, Any]:
    """How a temporary GeoTIFF like `window` of a raster is written: tiled, and packed as fast as can be."""
    return {
        "driver": "GTiff",
        "height": window.height,
        "width": window.width,
        "count": raster.count,
        "dtype": raster.dtypes[0],
        "crs": raster.crs,
        "transform": raster.transform @ Affine.translation(window.col, window.row),
        "nodata": raster.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }


def write_masked(source: Path, target: Path, outline: Any, window: Window) -> Path:
    """Copy `window` of a raster into a plain GeoTIFF; pixels whose centre is outside `outline` become no data.

    `outline` is a geometry (shapely or GeoJSON) in the raster's CRS. It is burnt on a fixed grid of blocks, so the same
    pixel always gets the same answer.
    """
    with rasterio.open(source) as raster:
        profile = plain_profile(raster, window)
        with rasterio.open(target, "w", **profile) as masked:
            for block in window.blocks(_BURNT):
                cell = block.on_grid(_BURNT)
                inside = rasterio.features.geometry_mask(
                    [outline],
                    out_shape=cell.shape,
                    transform=raster.transform @ Affine.translation(cell.col, cell.row),
                    invert=True,
                )[block.within(cell)]
                pixels = raster.read(window=block.ranges)
                pixels[:, ~inside] = int(raster.nodata)
                masked.write(pixels, window=block.moved(-window.row, -window.col).ranges)
    return target


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, for what must not appear under a final name."""
    path = Path(tempfile.mkdtemp(prefix=".work-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
