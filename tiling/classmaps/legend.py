"""The legend that a class raster carries itself: colours in its colour table, names in the `.aux.xml` beside it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tiling.formats.qml import LegendRow, completed
from tiling.io.access import is_there
from tiling.scene.decode import open_dataset


def legend_of(raster: str | Path) -> tuple[LegendRow, ...]:
    """A row for each value with a name or a colour, without the raster's no data; no rows where it carries neither.

    A value without a name is named by its number, one without a colour gets that of `tiling.formats.qml.completed`.
    `Mistake` where there is no raster.
    """
    with open_dataset(str(raster)) as source:
        try:
            table = source.colormap(1)
        except ValueError:  # it has none
            table = {}
        nodata = source.nodata
    named = {value: name for value, name in enumerate(_names(Path(raster))) if name}
    missing = {value: colour for value, _, colour in completed((), named)}
    colours = missing | {value: "#{:02x}{:02x}{:02x}".format(*colour) for value, colour in table.items()}
    return tuple(
        (value, named.get(value, str(value)), colour) for value, colour in sorted(colours.items()) if value != nodata
    )


def _names(raster: Path) -> list[str]:
    """GDAL's category names, by value: a GeoTIFF itself has no place for them."""
    sidecar = raster.with_name(f"{raster.name}.aux.xml")
    if not is_there(str(sidecar)):
        return []
    try:
        root = ElementTree.parse(sidecar)
    except ElementTree.ParseError:  # GDAL reads the raster without it, too
        return []
    return [node.text or "" for node in root.iterfind(".//CategoryNames/Category")]
