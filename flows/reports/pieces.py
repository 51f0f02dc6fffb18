"""Blocks that many pages have: files, areas of classes, a legend, pictures, warnings, figures of
accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.reports.blocks import (
    Block,
    Code,
    Column,
    Command,
    Heading,
    Link,
    Notice,
    Part,
    Picture,
    Swatch,
    Table,
    Text,
    Words,
    join,
)
from flows.reports.catalogue import COLLECTED
from flows.reports.medium import Medium, Place
from flows.stac.run_item import ITEM

REPORT = "report.html"

FIT = "fit.png"
"""The picture of what a setting was chosen by."""

_LEVEL = re.compile(r"-[\d.]+(?=\.)")
"""What stands in the name of a level's file before its suffix."""

FILES = {
    REPORT: "all there is to see, on one page for the browser",
    "landcover.gpkg": "polygons with class, area and confidence; opens coloured, with a legend",
    "landcover.qgs": "a QGIS project with polygons and raster; opens at a click",
    "classes.tif": "the class of every pixel; a cloud-optimised GeoTIFF with colours and names",
    "confidence.tif": "how sure the segmenter is, 0–100",
    "probabilities.tif": "the probability of every class, 0–100, a band each",
    "entropy.tif": "how evenly the classes share a pixel, 0–100",
    "margin.tif": "by how much the likeliest class leads, 0–100",
    "layers.tif": "labels of which a pixel may have several, 0 or 1, a band each",
    "mask.tif": "what a model said of clouds before the map was made; they are left out of it",
    "areas.csv": "area of every class",
    "quicklook.png": "the map beside the image, with its legend",
    "outlines.png": "the polygons over the image, to zoom into",
    FIT: "what a setting was chosen by in the scene",
    ITEM: "the run as a STAC item: where, when, which files and classes",
    "change.gpkg": "polygons of what changed, with what was and what is",
    "change.tif": "what became of every pixel; a GeoTIFF with colours and names",
    "change.qgs": "a QGIS project with what changed; opens at a click",
    "change.json": "what was asked and every figure, for programs",
    "transition.csv": "what became of what, a row each",
    "change.csv": "what every class lost and gained, or how many objects each change has",
    "objects.csv": "what became of each object, a row each",
    "flows.png": "what became of what, as bands",
    "objects.gpkg": "outlines of objects with their measures; a layer for each level",
    "objects.qgs": "a QGIS project with the outlines over the image; opens at a click",
    "objects.tif": "the number of each pixel's object; a cloud-optimised GeoTIFF",
    "edges.gpkg": "edges as lines",
    "edges.qgs": "a QGIS project with the edges over the image; opens at a click",
    "edges.tif": "1 where a pixel lies on an edge; a cloud-optimised GeoTIFF",
    "zones.gpkg": "the zones as polygons, with what is told of each",
    "zones.csv": "what is told of each zone, as a table",
    "zones.tif": "the zone of every pixel; a cloud-optimised GeoTIFF with colours and names",
    "zones.png": "the zones inside fields",
    "zones.shp": "the zones as a shapefile, with the files beside it",
    "composite.tif": "the image of all dates; a cloud-optimised GeoTIFF",
    "composite.json": "the image as a STAC item: where, when, which bands",
    "series.json": "what was asked and what came of it, for programs",
    "series.parquet": "a row for each zone, date and index",
    "series.csv": "the rows of series.parquet as CSV",
    "series.gpkg": "the zones with their last figures, and a layer in time for each index",
    "series.png": "the indices of all zones over time",
    "crops.parquet": "a row for each field, date and index: value, vigour, anomaly, water stress",
    "crops.csv": "the rows of crops.parquet as CSV",
    "crops.json": "what was asked and what came of it, for programs",
    "crops.gpkg": "the fields by their vigour, and layers in time for each index",
    "crops.png": "each crop over time",
    "map.png": "the newest image, and the fields by what is told of them",
    "run.json": "what was asked, from what, with which versions, how long it took",
    "model.json": "what the model is: bands, classes, figures",
    "index.md": "the report in short, as Markdown",
    "collection.json": "the whole as a STAC collection",
    "accuracy.json": "every figure, for programs",
    "accuracy.csv": "the figures of every class",
    "confusion.csv": "which class was taken for which, in pixels",
    "confusion.png": "the same as a picture",
    "reliability.png": "whether the confidence is what it says",
    "curves.png": "loss and accuracy as it learned",
    "curves.csv": "the same as a table",
    **{
        name: title[:1].lower() + title[1:]
        for name, (title, _) in COLLECTED.items()
        if name not in ("areas.csv", "zones.csv", REPORT)
    },
}
"""What each file is, in a GIS person's words."""


def warn(sentence: str, medium: Medium, label: str = "Warning") -> Notice:
    """What a person should know, in the words of the medium."""
    return Notice(medium.reword(sentence), label)


def show_picture(
    alt: str,
    path: Place,
    medium: Medium,
    colours: Iterable[str] = (),
    share: float = 1.0,
    **more: Any,
) -> list[Block]:
    """A picture, where there is one."""
    if isinstance(path, Path) and not path.exists():
        return []
    return [Picture(medium.picture(path, colours, share), alt, **more)]


def link_files(ways: Mapping[str, Place | None], medium: Medium) -> tuple[str | Part, ...]:
    """Links in a line, those that lead somewhere."""
    links = {words: medium.link(path) for words, path in ways.items() if path is not None}
    return join([Link(words, address) for words, address in links.items() if address])


def link_line(ways: Mapping[str, Place | None], medium: Medium) -> list[Block]:
    """A paragraph of links; nothing where none of them leads anywhere."""
    links = link_files(ways, medium)
    return [Text(links)] if links else []


def list_files(files: Sequence[Place], medium: Medium) -> list[Block]:
    """Files with what they are; each opens or is downloaded where it has an address."""
    sizes = [medium.size(path) for path in files]
    told = any(size is not None for size in sizes)
    columns = (
        Column("file"),
        Column("what it is"),
        *([Column("size", number=True)] if told else []),
    )
    rows = tuple(
        (
            Link(path.name, way) if (way := medium.link(path)) else Code(path.name),
            describe_file(path.name),
            *([format_size(size or 0)] if told else []),
        )
        for path, size in zip(files, sizes, strict=True)
    )
    return [Table(columns, rows)]


def describe_file(name: str) -> str:
    """What a file is; "" where nobody knows. One of several levels, such as `objects-4.tif`, is
    what the one alone is.

    >>> describe_file("objects-2.8.tif") == FILES["objects.tif"]
    True
    """
    return FILES.get(name) or FILES.get(_LEVEL.sub("", name), "")


def head_files(folder: Place, medium: Medium) -> Heading:
    """The heading above a list of files: where they lie, unless the page lies there itself."""
    path = medium.find(folder)
    return Heading(("Files in ", Code(path)) if path else "Files")


def format_size(count: int) -> str:
    """A number of bytes as a person says it.

    >>> format_size(2_345_678)
    '2.3 MB'
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def paint(name: str, colour: str | None) -> Words:
    """The name of a class after its colour."""
    return (Swatch(colour), name) if colour else name


def list_areas(
    areas: Iterable[tuple[str, float, float]],
    colours: Mapping[str, str],
    sure: Mapping[str, float] | None = None,
) -> Table:
    """Name, hectares and share of classes, the largest first, with their colours and how sure the
    map is of them."""
    columns = [Column("class"), Column("hectares", number=True), Column("share", number=True)]
    if sure:
        columns.append(Column("how sure", number=True))
    rows = []
    for name, hectares, share in sorted(areas, key=lambda row: -row[1]):
        row = [paint(name, colours.get(name)), f"{hectares:,.1f}", f"{100 * share:.1f} %"]
        if sure:
            row.append(f"{sure[name]:.0f} %" if name in sure else "")
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))


def list_classes(classes: Iterable[tuple[str, str]]) -> Table:
    """Names of classes with their colours."""
    return Table((Column("class"),), tuple((paint(name, colour),) for name, colour in classes))


def list_accuracies(classes: Iterable[Mapping[str, Any]]) -> Table:
    """The figures of every class, as `Accuracy.to_dict` has them."""
    names = {"iou": "IoU", "f1": "F1", "precision": "precision", "recall": "recall"}
    columns = (
        Column("class"),
        *(Column(title, number=True) for title in (*names.values(), "pixels")),
    )
    rows = tuple(
        (
            paint(row["name"], row.get("colour")),
            *("–" if row[name] is None else f"{row[name]:.3f}" for name in names),
            f"{row['support']:,}",
        )
        for row in classes
    )
    return Table(columns, rows)


def repeat_by(command: str, title: str = "Do it again on the command line") -> list[Block]:
    """A line to copy, where there is one."""
    return [Heading(title), Command(command)] if command else []
