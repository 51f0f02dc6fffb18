"""The legend that a class raster carries itself: colours in its colour table, names in the
`.aux.xml` beside it."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tiling.io.access import is_there
from tiling.io.datasets import open_dataset

LegendRow = tuple[int, str, str]
"""Value, name, "#rrggbb"."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0-255, of a colour.

    >>> rgb("#3b7dd8")
    (59, 125, 216)
    """
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


UNNAMED = ("#e69f00", "#cc79a7", "#009e73", "#f0e442", "#d55e00", "#999999", "#8c6d31")
"""Colours of the values 1 … 7 that nothing is known of: those of Okabe and Ito, which the
colour-blind tell apart, without their blues, which on a map are water."""


def legend_of(raster: str | Path) -> tuple[LegendRow, ...]:
    """A row for each value with a name or a colour, without the raster's no data; no rows where it
    carries neither.

    A value without a name is named by its number, one without a colour gets that of
    `tiling.classmaps.legend.with_default_rows`. `InputError` where there is no raster.
    """
    with open_dataset(str(raster)) as source:
        try:
            table = source.colormap(1)
        except ValueError:  # it has none
            table = {}
        nodata = source.nodata
    named = {value: name for value, name in enumerate(_names(Path(raster))) if name}
    missing = {value: colour for value, _, colour in with_default_rows((), named)}
    colours = missing | {
        value: "#{:02x}{:02x}{:02x}".format(*colour) for value, colour in table.items()
    }
    return tuple(
        (value, named.get(value, str(value)), colour)
        for value, colour in sorted(colours.items())
        if value != nodata
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


def with_default_rows(legend: Sequence[LegendRow], values: Iterable[int]) -> tuple[LegendRow, ...]:
    """The legend with a row for each of `values` it lacks: its number for a name, and a colour that
    is always the same.

    The first values have the colours of `UNNAMED`. Other hues step by the golden section, which
    keeps neighbouring values apart, and leave out the blues.
    """
    missing = sorted(set(values) - {value for value, _, _ in legend})
    return (*legend, *((value, str(value), _colour_of(value)) for value in missing))


def _colour_of(value: int) -> str:
    if 1 <= value <= len(UNNAMED):
        return UNNAMED[value - 1]
    hue = value * 0.618034 % 1 * 0.7
    colour = colorsys.hsv_to_rgb(hue if hue < 0.44 else hue + 0.3, 0.5 + 0.15 * (value % 2), 0.85)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
