"""What a person sees: a bar while it works, and tables when it is done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, isnan
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.compute.progress import Progress
    from flows.objects.model import Objects
    from flows.reports.catalogue import Entry
    from flows.run.record import Published
    from flows.storage.remote import Place
    from segmentation.accuracy.area_estimation import AreaEstimates
    from segmentation.accuracy.confusion import Accuracy
    from segmentation.accuracy.instances import ObjectAccuracy
    from segmentation.models.card import Card


LINE_EVERY = 60.0
"""Seconds after which a long stage says how far it is where there is no terminal: in the log of a
batch job."""


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Progress]:
    """A bar per stage on a terminal; elsewhere a line at its end, and one a minute before; nothing
    when quiet."""
    from flows.compute.progress import silent

    if quiet:
        yield silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console, last = Console(stderr=True), time.monotonic()
    bars: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:

        def update(stage: str, done: int, total: int) -> None:
            nonlocal last
            if stage not in bars:
                bars[stage] = display.add_task(stage, total=total)
            display.update(bars[stage], completed=done, total=total)
            if not console.is_terminal and (done == total or time.monotonic() - last >= LINE_EVERY):
                last = time.monotonic()
                print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)

        yield update


def print_json(facts: Any) -> None:
    """One line for a program; what JSON has no word for, a path or a day, as text, and no number as
    null."""
    print(json.dumps(_plain(facts), ensure_ascii=False, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def show_files(files: Iterable[Place]) -> None:
    """Print the files that were written, a path a line."""
    for path in files:
        print(f"  {path}")


def show_warnings(warnings: Iterable[str]) -> None:
    """What a person should know, apart from what a program reads."""
    for warning in warnings:
        print(f"landweave: warning: {warning}", file=sys.stderr)


def show_run(published: Published, *, as_json: bool) -> None:
    """The closing tables of a run."""
    from flows.storage.remote import Remote
    from tiling.io.urls import gdal_path

    show_warnings(published.record["warnings"])
    if as_json:
        print_json(published.record)
        return
    table(
        [
            (a.class_name, f"{a.pixels:,}", f"{a.hectares:,.1f}", f"{100 * a.share:.1f} %")
            for a in published.areas
        ],
        ("class", "pixels", "hectares", "share"),
        right=(1, 2, 3),
    )
    if published.accuracy:
        show_accuracy(published.accuracy)
    print(f"\n{about_small(published.record['request']['min_area'])}")
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in published.seconds.items())
    polygons = f"{published.polygons:,} polygons; " if published.polygons is not None else ""
    print(f"{polygons}{took}")
    show_files(published.files)
    package = published.folder / "landcover.gpkg"
    look = package if package in published.files else published.folder / "classes.tif"
    if isinstance(look, Remote):
        there = quote(gdal_path(str(published.folder / "classes.tif")))
        print(f"\nOpen it in QGIS: fetch the folder, or run: qgis {there}")
        return
    print(
        f"\nOpen it in QGIS: drag {look.resolve()} onto the map, or run: qgis "
        f"{quote(str(look.resolve()))}"
    )


def show_objects(result: Objects, *, as_json: bool) -> None:
    """The closing table of a partition."""
    show_warnings(result.record["warnings"])
    if as_json:
        print_json(result.record)
        return
    rows = [
        (one.name, f"{one.count:,}", f"{one.area_m2 / 1e4:,.1f}", f"{one.mean_m2:,.0f}")
        for one in result.levels
    ]
    if result.record["gives"] == "edges":
        table([row[:2] for row in rows], ("layer", "lines"), right=(1,))
    else:
        table(rows, ("layer", "objects", "hectares", "mean m²"), right=(1, 2, 3))
    print("\n" + ", ".join(f"{stage} {took:.1f} s" for stage, took in result.seconds.items()))
    show_files(result.files)
    layer = next(path for path in result.files if path.suffix == ".gpkg").resolve()
    print(f"\nOpen it in QGIS: drag {layer} onto the map, or run: qgis {quote(str(layer))}")


def about_small(min_area: float | None) -> str:
    """What became of small regions, and how to have it otherwise."""
    if min_area is None:
        from flows.requests.request import SMALLEST

        return f"regions below {SMALLEST} pixels went to a neighbour; --min-area 0 keeps them"
    return (
        f"regions below {min_area:,g} m² went to a neighbour"
        if min_area
        else "every pixel is shown: --min-area 0"
    )


def show_accuracy(accuracy: Accuracy) -> None:
    """Print how a map fares against a reference."""
    facts = accuracy.to_dict()
    if accuracy.compared:
        print(f"\n{accuracy.compared}")
    keys, header = (
        ["iou", "f1", "precision", "recall"],
        ["class", "IoU", "F1", "precision", "recall", "pixels"],
    )
    if accuracy.boundaries:
        header.insert(5, "boundary F1")
    drawn = {row["value"]: [row["f1"]] for row in facts.get("boundaries", {}).get("classes", ())}
    rows = [
        (
            row["name"],
            *map(figure, [*(row[key] for key in keys), *drawn.get(row["value"], ())]),
            f"{row['support']:,}",
        )
        for row in facts["classes"]
    ]
    table(rows, tuple(header), right=tuple(range(1, len(header))))
    overall, iou, kappa = (figure(facts[key]) for key in ("overall_accuracy", "mean_iou", "kappa"))
    print(f"overall accuracy {overall}, mean IoU {iou}, kappa {kappa}")
    if accuracy.boundaries:
        mean = figure(facts["boundaries"]["mean_f1"])
        print(f"boundary F1 within {accuracy.boundaries.tolerance_m:g} m: mean {mean}")
    if told := accuracy.reliability:
        print(
            f"expected calibration error {told.expected_calibration_error:.3f}: on average "
            f"{100 * told.mean_confidence:.1f} % sure, {100 * told.accuracy:.1f} % right"
        )
    if accuracy.areas:
        show_areas(accuracy.areas)
    show_warnings(accuracy.doubts)
    for note in accuracy.notes:
        print(f"note: {note}")


def show_object_accuracy(accuracy: ObjectAccuracy) -> None:
    """Print how the objects of a map fare against those of a reference."""
    facts = accuracy.to_dict()
    print(f"\n{accuracy.compared}")
    keys = ["ap", "ap50", "ap75", "recall", "pq", "sq", "rq", "over", "under"]
    several = len(accuracy.classes) > 1
    rows = [
        (row["name"], *(figure(row[key]) for key in keys), f"{row['truth']:,}", f"{row['found']:,}")
        for row in (*facts["classes"], *([facts["mean"]] if several else []))
    ]
    names = [name if name in ("recall", "over", "under") else name.upper() for name in keys]
    header = ("class", *names, "reference", "map")
    table(rows, header, right=tuple(range(1, len(header))))
    if accuracy.tolerance_m:
        mean = figure(facts["boundary_f1"])
        print(f"F1 of outlines within {accuracy.tolerance_m:g} m: {mean}")
    for note in accuracy.notes:
        print(f"note: {note}")


def show_entries(entries: Sequence[Entry], unused: dict[str, str]) -> None:
    """Print a line on each scene of a series, for a person."""
    rows = [
        (
            entry.name, entry.date, f"{entry.mapped_m2 / 1e4:,.1f}", f"{100 * entry.invalid:.1f} %",
            entry.message or unused.get(entry.name, "done"),
        )
        for entry in entries
    ]  # fmt: skip
    table(rows, ("scene", "date", "hectares", "without data", ""), right=(2, 3))


def show_settings(settings: Sequence[Mapping[str, Any]]) -> None:
    """What each setting means, what it may be and what it is by default."""

    def words(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return (
            ""
            if value in (None, "", (), {})
            else ", ".join(map(str, value))
            if isinstance(value, tuple)
            else f"{value}"
        )

    rows = [
        (
            one["name"], "required" if one["required"] else words(one["default"]),
            " ".join(filter(None, (one["allowed"], one["unit"] and f"({one['unit']})"))),
            one["meaning"],
        )
        for one in settings
    ]  # fmt: skip
    table(rows, ("setting", "default", "may be", "meaning"))


def show_areas(areas: AreaEstimates) -> None:
    """What a sample says of a map's areas, with 95 % intervals."""

    def percent(part: float, margin: float) -> str:
        return "–" if isnan(part) else f"{100 * part:.1f} ± {100 * margin:.1f} %"

    print("\nestimated from the sample, with 95 % intervals")
    rows = [
        (
            one.name, f"{one.mapped_m2 / 1e4:,.1f}",
            f"{one.area_m2 / 1e4:,.1f} ± {one.area_margin_m2 / 1e4:,.1f}",
            percent(one.users, one.users_margin), percent(one.producers, one.producers_margin),
            f"{one.samples:,}",
        )
        for one in areas.classes
    ]  # fmt: skip
    header = (
        "class",
        "mapped ha",
        "estimated ha",
        "user's accuracy",
        "producer's accuracy",
        "samples",
    )
    table(rows, header, right=(1, 2, 3, 4, 5))
    print(f"overall accuracy {percent(areas.overall_accuracy, areas.overall_margin)}")


def show_model(card: Card, facts: dict[str, str]) -> None:
    """A model, for a person."""
    from rich.text import Text

    table(list(facts.items()), ("", ""))
    print()
    table(
        [
            (band.name, band.units, band.dtype or "–", f"{band.mean:.4g}", f"{band.std:.4g}")
            + (
                (f"{band.quantiles[0]:.4g} … {band.quantiles[-1]:.4g}",)
                if band.quantiles
                else ("–",)
            )
            for band in card.bands
        ],
        ("band", "units", "files", "mean", "deviation", "98 % lie within"),
        right=(3, 4, 5),
    )
    print()
    table(
        [
            (one.value, Text("    ", f"on {one.colour}"), one.colour, one.name, one.parent)
            for one in card.legend.each()
        ],
        ("value", "", "colour", "class", "part of"),
        right=(0,),
    )
    if card.metrics:
        print()
        table(
            [(name, f"{value:.4g}") for name, value in card.metrics.items()],
            ("measured", ""),
            right=(1,),
        )


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def table(
    rows: list[tuple[Any, ...]], header: tuple[str, ...], right: tuple[int, ...] = ()
) -> None:
    """A plain table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, show_header=any(header))
    for position, name in enumerate(header):
        drawn.add_column(name, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    console = Console()
    Console(width=max(console.width, 100), highlight=False, markup=False).print(drawn)
