"""Results as a notebook shows them: blocks of text, tables and pictures."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.plan.aoi import crs_name
from flows.reports.blocks import (
    Block,
    Column,
    Facts,
    Figures,
    Notice,
    Picture,
    Swatch,
    Table,
    Text,
    Words,
)
from flows.reports.html import render_fragment

if TYPE_CHECKING:
    import pandas as pd

    from flows.change.model import Change, ObjectChange
    from segmentation.accuracy.confusion import Accuracy
    from segmentation.legend import Legend
    from segmentation.models.card import Card
    from tiling.scene.scene import Scene

MOST = 10
"""Rows of a table of transitions."""

LONG = 300
"""Characters of a fact."""

WIDTH = 1000
"""Pixels of a picture's longer side: each copy of a notebook holds it."""


def run_page(
    title: str, areas: pd.DataFrame, legend: Legend, notes: Sequence[str], folder: str, png: bytes
) -> str:
    """A run: the scene and its map, and the area of each class."""
    colours = {value: colour for value, _, colour in legend.rows}
    columns = (areas[name].tolist() for name in ("class_id", "class_name", "hectares", "share"))
    rows = [
        (colour_name(name, colours.get(value, "")), f"{hectares:,.1f}", f"{share:.1%}")
        for value, name, hectares, share in zip(*columns, strict=True)
    ]
    return render_fragment(
        f"Land cover of {title}",
        [
            *pictures(png, f"Scene and map of {title}"),
            table("class", rows, "hectares", "share"),
            *map(Notice, notes),
            Text(folder, small=True),
        ],
    )


def facts_page(title: str, facts: Mapping[str, Any]) -> str:
    """Facts by name."""
    return render_fragment(title, [facts_of(facts)])


def scene_page(scene: Scene) -> str:
    """A scene and its bands."""
    day = f", {scene.date}" if scene.date else ""
    size = f"{scene.width:,} × {scene.height:,} px"
    rows = [
        (
            band.name,
            f"{band.dtype}, {band.units}",
            f"{band.scale:g}",
            f"{band.offset:g}",
            "–" if band.nodata is None else f"{band.nodata:g}",
        )
        for band in scene.bands
    ]
    return render_fragment(
        f"Scene {scene.title}",
        [
            Text(f"{size} of {scene.gsd:.4g} m, {crs_name(scene)}{day}"),
            Table(
                (Column("band"), Column("pixels"), *numbers("scale", "offset", "no data")),
                tuple(rows),
            ),
            *(Text(note, small=True) for note in scene.notes),
        ],
    )


def accuracy_page(accuracy: Accuracy) -> str:
    """How a map fares against a reference."""
    return render_fragment("Accuracy", accuracy_blocks(accuracy))


def change_page(result: Change | ObjectChange, folder: Path) -> str:
    """What became of what: the picture and the largest transitions, or a table of objects."""
    look = folder / "quicklook.png"
    picture = look.read_bytes() if look.exists() else b""
    from flows.change.model import ObjectChange

    if isinstance(result, ObjectChange):
        kinds = [
            (colour_name(one.name, one.colour), f"{one.before:,}", f"{one.after:,}")
            for one in result.kinds
        ]
        return render_fragment(
            f"Objects from {result.earlier.title} to {result.later.title}",
            [
                *pictures(picture, "What became of objects"),
                Table((Column("what became of them"), *numbers("before", "now")), tuple(kinds)),
                *(Text(note, small=True) for note in (*result.notes, str(folder))),
            ],
        )
    rows = [
        (
            colour_name(*result.classes[was][1:]),
            colour_name(*result.classes[now][1:]),
            f"{metres / 10_000:,.1f}",
        )
        for was, now, _, metres in list(result.transitions())[:MOST]
    ]
    changed, compared = result.changed_m2 / 10_000, result.compared_m2 / 10_000
    return render_fragment(
        f"Change from {result.earlier.title} to {result.later.title}",
        [
            Text(f"{changed:,.1f} of {compared:,.1f} ha changed, {result.polygons:,} polygons"),
            *pictures(picture, "Both maps and what changed"),
            Table((Column("was"), Column("is"), *numbers("hectares")), tuple(rows)),
            *(Text(note, small=True) for note in result.notes),
            Text(str(folder), small=True),
        ],
    )


def model_page(
    card: Card, facts: Mapping[str, str], judged: Mapping[str, Accuracy], notes: Sequence[str]
) -> str:
    """A model's card: what it is, sees and says, and how good it is."""
    classes = [(colour_name(one.name, one.colour), str(one.value)) for one in card.legend.each()]
    bands = [(one.name, f"{one.mean:.4g}", f"{one.std:.4g}") for one in card.bands]
    measured = {} if judged else card.metrics
    figures = [(name, f"{value:.3f}") for name, value in measured.items()]
    return render_fragment(
        f"Model {card.name}",
        [
            table("class", classes, "value"),
            table("band", bands, "mean", "deviation"),
            *(
                block
                for part, one in judged.items()
                for block in (Text(part), *accuracy_blocks(one))
            ),
            *([table("measured", figures, "")] if figures else ()),
            facts_of(facts),
            *(Text(note, small=True) for note in notes),
        ],
    )


# ---------------------------------------------------------------------------------------- blocks


def accuracy_blocks(accuracy: Accuracy) -> Iterator[Block]:
    """Figures, each class, and where the pixels of each true class went."""
    figures = (accuracy.overall_accuracy, accuracy.mean_iou, accuracy.kappa)
    names = ("overall accuracy", "mean IoU", "kappa")
    yield Figures(tuple((plain(value), name) for value, name in zip(figures, names, strict=True)))
    yield from (Notice(doubt) for doubt in accuracy.doubts)
    each = [
        (
            colour_name(one.name, one.colour),
            *map(plain, (one.iou, one.f1, one.precision, one.recall)),
            f"{one.support:,}",
        )
        for one in accuracy.classes
    ]
    yield table("class", each, "IoU", "F1", "precision", "recall", "pixels")
    classes = [one.name for one in accuracy.classes]
    counts = [
        (name, *(f"{count:,}" if count else "" for count in row))
        for name, row in zip(classes, accuracy.matrix, strict=True)
    ]
    yield table("true class, and what the map has there", counts, *classes)
    yield from (Text(note, small=True) for note in (accuracy.compared, *accuracy.notes) if note)


def table(first: str, rows: Iterable[tuple[Words, ...]], *others: str) -> Table:
    """A table of names and their numbers."""
    return Table((Column(first), *numbers(*others)), tuple(rows))


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(name, number=True) for name in names)


def facts_of(facts: Mapping[str, Any]) -> Facts:
    """Facts by name, as text."""
    texts = ((name, str(value)) for name, value in facts.items())
    return Facts(
        tuple((name, f"{text[:LONG]} …" if len(text) > LONG else text) for name, text in texts)
    )


def colour_name(name: str, colour: str) -> Words:
    """The name of a class behind a square of its colour."""
    return (Swatch(colour), name) if colour else name


def pictures(png: bytes, alt: str) -> Iterator[Picture]:
    """A small copy of a PNG, which the page itself holds; none where there is none."""
    from PIL import Image

    if png:
        image = Image.open(BytesIO(png)).convert("RGB")
        image.thumbnail((WIDTH, WIDTH))
        small = BytesIO()
        image.quantize(256).save(small, "PNG", optimize=True)
        yield Picture(f"data:image/png;base64,{b64encode(small.getvalue()).decode()}", alt)


def plain(number: float | None) -> str:
    """A figure with three digits; a dash where there is none."""
    if number is None or isnan(number):
        return "–"
    return f"{number:.3f}"
