"""A change on a page: how much changed, where, and what became of what."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from flows.change.model import Change, ObjectChange
from flows.reports.blocks import Block, Column, Facts, Figures, Heading, Table
from flows.reports.medium import Medium
from flows.reports.pieces import head_files, link_line, list_files, paint, show_picture, warn

MOST_ROWS = 20
"""Rows of the table of changes."""


def sum_up_change(result: Change | ObjectChange) -> str:
    """What came of a comparison, in a sentence."""
    if isinstance(result, ObjectChange):
        return result.summary
    part = 100 * result.changed_m2 / result.compared_m2
    return (
        f"{result.changed_m2 / 1e4:,.1f} of {result.compared_m2 / 1e4:,.1f} ha changed "
        f"({part:.1f} %)"
    )


def title_change(result: Change) -> str:
    """What a page about a comparison is called."""
    return f"Change from {result.earlier.title} to {result.later.title}"


def describe_change(
    result: Change | ObjectChange, folder: Path, files: Sequence[Path], medium: Medium
) -> list[Block]:
    """The figures, pictures of where and of what became of what, the largest changes, all files."""
    if isinstance(result, ObjectChange):
        return describe_object_change(result, folder, files, medium)
    share = 100 * result.changed_m2 / result.compared_m2
    figures = (
        (f"{result.changed_m2 / 1e4:,.1f} ha", "changed"),
        (f"{result.compared_m2 / 1e4:,.1f} ha", "compared"),
        (f"{share:.1f} %", "of what was compared"),
    )
    pictures = {"Where it changed": "quicklook.png", "What became of what": "flows.png"}
    return [
        Figures(figures),
        *(warn(note, medium, "Note") for note in result.notes),
        Facts(
            (
                ("earlier", result.earlier.title),
                ("later", result.later.title),
                ("grid", result.aligned),
            )
        ),
        *(
            block
            for alt, name in pictures.items()
            for block in show_picture(alt, folder / name, medium, share=1 / len(pictures))
        ),
        Heading("The largest changes"),
        list_changes(result),
        *link_line({"all files": folder}, medium),
        head_files(folder, medium),
        *list_files(files, medium),
    ]


def list_changes(result: Change) -> Table:
    """What became of what, the largest change first, with the colours of the classes."""
    columns = (Column("from"), Column("to"), Column("hectares", number=True))
    rows = tuple(
        (
            paint(*result.classes[was][1:]),
            paint(*result.classes[now][1:]),
            f"{metres / 1e4:,.1f}",
        )
        for was, now, _, metres in islice(result.transitions(), MOST_ROWS)
    )
    return Table(columns, rows)


def describe_object_change(
    result: ObjectChange, folder: Path, files: Sequence[Path], medium: Medium
) -> list[Block]:
    """The figures, a picture, what became of how many objects, what they became, all files."""
    there = sum(one.before for one in result.kinds), sum(one.after for one in result.kinds)
    columns = (
        Column("what became of them"),
        *(
            Column(name, number=True)
            for name in ("before", "now", "ha before", "ha now", "ha more")
        ),
    )
    rows = tuple(
        (
            paint(one.name, one.colour),
            f"{one.before:,}",
            f"{one.after:,}",
            f"{one.before_m2 / 1e4:,.2f}",
            f"{one.after_m2 / 1e4:,.2f}",
            f"{(one.after_m2 - one.before_m2) / 1e4:+,.2f}",
        )
        for one in result.kinds
        if one.before or one.after
    )
    became = list(result.becomings())[:MOST_ROWS]
    asked = (Column("class before"), Column("class now"), Column("objects", number=True))
    table = Table(asked, tuple((was, now, f"{count:,}") for was, now, count in became))
    return [
        Figures(((f"{there[0]:,}", "objects before"), (f"{there[1]:,}", "objects now"))),
        *(warn(note, medium, "Note") for note in result.notes),
        Facts(
            (
                ("earlier", result.earlier.title),
                ("later", result.later.title),
                ("grid", result.aligned),
            )
        ),
        *show_picture("What became of objects", folder / "quicklook.png", medium),
        Heading("What became of objects"),
        Table(columns, rows),
        *([Heading("Their classes"), table] if became else []),
        *link_line({"all files": folder}, medium),
        head_files(folder, medium),
        *list_files(files, medium),
    ]
