"""Tables of change: what became of what, gains and losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.change.codes import BASE
from flows.reports.tables import csv_text
from tiling.classmaps.legend import LegendRow, rgb
from tiling.formats.pam import Column, sidecar_text

if TYPE_CHECKING:
    from flows.change.model import Change


def transition_table(result: Change) -> str:
    """CSV: one row for each pair of classes that occurs, unchanged ones too, with pixels and exact
    m².

    Square metres are written to the last bit: they add up to the same totals in any order.
    """
    metres, total = result.square_metres, result.compared_m2
    rows: list[list[Any]] = []
    for i, (before, was, _) in enumerate(result.classes):
        for j, (now, name, _) in enumerate(result.classes):
            if result.pixels[i, j]:
                area = float(metres[i, j])
                share = 100 * area / total
                rows.append(
                    [
                        before,
                        was,
                        now,
                        name,
                        int(result.pixels[i, j]),
                        repr(area),
                        f"{area / 1e4:.4f}",
                        f"{share:.4f}",
                    ]
                )
    header = [
        "from_id",
        "from_name",
        "to_id",
        "to_name",
        "pixels",
        "area_m2",
        "area_ha",
        "share_percent",
    ]
    return csv_text(header, rows)


def balance_table(result: Change) -> str:
    """CSV: one row for each class, in hectares: before, now, what stayed, what it lost, gained, and
    the difference."""
    metres = result.square_metres / 1e4
    rows: list[list[Any]] = []
    for k, (value, name, _) in enumerate(result.classes):
        before, now, stayed = float(metres[k].sum()), float(metres[:, k].sum()), float(metres[k, k])
        figures = (before, now, stayed, before - stayed, now - stayed, now - before)
        percent = f"{100 * (now - before) / before:.2f}" if before else ""
        rows.append([value, name, *(f"{figure:.4f}" for figure in figures), percent])
    header = [
        "class_id",
        "class_name",
        "earlier_ha",
        "later_ha",
        "unchanged_ha",
        "lost_ha",
        "gained_ha",
        "net_ha",
    ]
    return csv_text([*header, "net_percent"], rows)


def attribute_table(result: Change, legend: Sequence[LegendRow]) -> str:
    """Text of the `.aux.xml` beside change.tif: names of the codes, and what each one was and is,
    with its colour."""
    names = {0: "Not compared"} | {value: name for value, name, _ in legend}
    columns: tuple[Column, ...] = (
        ("Value", int, "value"), ("Pixels", float, "pixels"), ("From", str, "generic"), ("To", str,
        "generic"),
        ("Change", str, "name"), ("Red", int, "red"), ("Green", int, "green"), ("Blue", int,
        "blue"),
    )  # fmt: skip
    place = {value: k for k, (value, _, _) in enumerate(result.classes)}
    rows = []
    for value, name, colour in legend:
        before, now = place[value // BASE], place[value % BASE]
        was, is_now = result.classes[before][1], result.classes[now][1]
        rows.append((value, int(result.pixels[before, now]), was, is_now, name, *rgb(colour)))
    return sidecar_text(names, columns, rows)
