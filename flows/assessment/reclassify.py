"""Classes that count as others: by value or name, of class rasters and of shapes, and what tables
name in vain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flows.parsing import nearest
from segmentation.legend import UNKNOWN
from tiling.classmaps.legend import legend_of, with_default_rows
from tiling.classmaps.raster import Groups, open_classes, read_classes
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels.open_labels import column_with
from tiling.labels.vector_labels import ShapeLabels

_BLOCK = 1024
"""Pixels of a side that are looked at together."""

MOST_NAMED = 20
"""An error lists so many classes, at most."""

LegendRows = Sequence[tuple[int, str, str]]
Regrouping = Mapping[Any, int | str | None]
"""What classes, by value or name, become, by value or name; None or nothing leaves them out."""


def reclass_table(option: str, given: Regrouping, own: LegendRows, target: LegendRows) -> Groups:
    """What classes become: keys are values or names of the legend `own`, values those of `target`
    or None."""
    values = {name.casefold(): value for value, name, _ in own}
    found = {}
    for key, value in given.items():
        if is_class_value(key):
            old = int(key)
        elif str(key).casefold() in values:
            old = values[str(key).casefold()]
        else:
            has = ", ".join(f"{v}={name}" for v, name, _ in own)
            raise InputError(
                f"{option}: there is no class {key}; "
                f"{f'known are {has}' if has else 'give its value'}"
            )
        found[old] = value_of(option, value, target)
    return tuple(found.items())


class Matched(NamedTuple):
    """What the values of a reference become, and notes."""

    groups: Groups
    notes: tuple[str, ...]


def by_name(
    given: Groups, own: LegendRows, theirs: LegendRows, map_name: str, reference: str
) -> Matched:
    """What the values of a named reference become where the map's classes are named too: the class
    of the same name.

    `given` goes before. A class whose name the map does not have is a class of its own, whatever
    its number. Raises
    `InputError` where no name of either is the other's, for then nothing can be compared.
    """
    called = {name.casefold(): value for value, name, _ in own}
    decided, found, strange = dict(given), {}, {}
    free = count(
        max(
            [
                2**16,
                *(value for value, _, _ in (*own, *theirs)),
                *(v or 0 for v in decided.values()),
            ]
        )
        + 1
    )
    for value, name, _ in theirs:
        if value in decided:
            continue
        if name.casefold() in called:
            found[value] = called[name.casefold()]
        else:
            strange[value] = (next(free), name)
    if strange and not found and not any(new is not None for new in decided.values()):
        has, lacks = (", ".join(name for _, name, _ in rows[:MOST_NAMED]) for rows in (own, theirs))
        first = next(name for _, name, _ in theirs)
        raise InputError(
            f"{reference} names {lacks} and {map_name} names {has}: no class is called the same "
            "in both; say which is "
            f"which with --reference-classes, for example '{first}={own[0][1]}'"
        )
    words = ", ".join(name for _, name in strange.values())
    notes = (
        f"{map_name} has no class called {words}, so it is nowhere right where {reference} has "
        f"{'them' if len(strange) > 1 else 'it'}; if one of its own is the same, say so with "
        "--reference-classes",
    )
    own_classes = {value: new for value, (new, _) in strange.items()}
    becomes = {old: new for old, new in (decided | found | own_classes).items() if old != new}
    return Matched(tuple(becomes.items()), notes if strange else ())


def by_number(own: LegendRows, theirs: LegendRows, map_name: str, reference: str) -> str:
    """What stands beside every figure where one side names its classes and the other has bare
    numbers."""
    bare, names, rows = (reference, map_name, own) if own else (map_name, reference, theirs)
    option = "--reference-classes" if own else "--map-classes"
    meant = ", ".join(f"{value} {name}" for value, name, _ in rows[:MOST_NAMED])
    return (
        f"{bare} names no class, so its numbers were taken for those of {names} ({meant}); if "
        "they mean something "
        f"else, these figures mean nothing: say what they are with {option} NUMBER=CLASS"
    )


def rename_classes(
    option: str, given: Regrouping, own: LegendRows
) -> tuple[LegendRows, tuple[str, ...]]:
    """The legend after regrouping: a name that is nobody's is a new class, in the place of the
    first that counts as it.

    Beside it a note for each new name that looks like a slip of one that is there.
    """
    rows, notes = {value: (value, name, colour) for value, name, colour in own}, []
    names = {name.casefold(): value for value, name, _ in own}
    new: dict[str, str] = {}
    for key, target in given.items():
        name = "" if target is None else str(target).strip()
        if not name or is_class_value(name) or name.casefold() in names:
            continue
        value = int(key) if is_class_value(key) else names.get(str(key).casefold())
        # that there is no such class is said by `reclass_table`
        if value is None or name.casefold() in new:
            continue
        new[name.casefold()] = name
        colour = rows[value][2] if value in rows else with_default_rows((), [value])[0][2]
        rows[value] = (value, name, colour)
        if slip := nearest(name, (known for _, known, _ in own)):
            notes.append(f"{option}: {name} is a new class{slip}")
    return tuple(rows.values()), tuple(notes)


def unused_classes(
    option: str, path: str | Path, given: Groups, legend: LegendRows
) -> tuple[str, ...]:
    """A note on classes to regroup that a raster has neither in its legend nor in its pixels.

    Pixels are looked at for what the legend does not know, and only until all of it is found.
    Raises `InputError` where none of the classes is there: one table may serve many maps, but not
    be of none.
    """
    missing, held = {old for old, _ in given} - {value for value, _, _ in legend}, set[int]()
    if not missing:
        return ()
    with open_classes(path) as source:
        # is left out as it is
        missing -= {old for old, new in given if new is None and old == source.nodata}
        for window in Window.of_shape(*source.shape).blocks(_BLOCK):
            if not missing:
                return ()
            values, valid = read_classes(source, window, ())
            held.update(np.unique(values[valid]).tolist())
            missing -= held
    there = map(str, sorted({value for value, _, _ in legend} | held))
    return unknown_class_note(option, path, map(str, sorted(missing)), list(there), len(given))


def unknown_class_note(
    option: str,
    path: str | Path,
    missing: Iterable[str],
    held: Sequence[str],
    given: int,
    column: str = "",
) -> tuple[str, ...]:
    """A note on the classes to regroup that a file does not have; `InputError` where they are all
    that was `given`.

    `column` is another one of the file that has them.
    """
    named = list(missing)
    if not named:
        return ()
    listed = ", ".join([*held[:MOST_NAMED], *(["…"] if len(held) > MOST_NAMED else [])]) or "none"
    said = (
        f"{option} {', '.join(f'{name}=…' for name in named[:MOST_NAMED])}: {path} has no such "
        f"class; it has {listed}"
    )
    if column:
        said += f"; its column {column} has: take that with --column {column}"
    if len(named) == given:
        raise InputError(said)
    return (said,)


def shape_groups(
    labels: ShapeLabels, given: Regrouping, own: LegendRows
) -> tuple[Groups, tuple[str, ...]]:
    """What the values of shapes become, and notes. Theirs are numbers of their own: what stands in
    the column counts.

    A number there is the class itself, a word the class of the map with that name, unless `given`
    says otherwise.
    """
    known: dict[str, int | None] = {name.casefold(): value for value, name, _ in own}
    names = [name for _, name, _ in labels.rows]
    missing = []
    for key, value in given.items():
        # 01 in a column of text is 1
        word = str(int(key)) if is_class_value(key) else str(key).strip().casefold()
        if word not in map(str.casefold, names):
            missing.append(str(key))
        known[word] = value_of("--reference-classes", value, own)
    column = column_with(labels.path, missing) if missing else ""
    notes = unknown_class_note(
        "--reference-classes", labels.path, missing, names, len(given), column
    )
    found: dict[int, int | None] = {}
    lost = []
    for value, name, _ in labels.rows:
        if name.casefold() in known:
            found[value] = known[name.casefold()]
        elif is_class_value(name):
            found[value] = int(name)
        else:
            lost.append(name)
    if lost:
        has = ", ".join(f"{value}={name}" for value, name, _ in own)
        raise InputError(
            f"{labels.path}: {', '.join(lost)} "
            f"{'are no classes' if len(lost) > 1 else 'is no class'} of the map"
            f"{f', which has {has}' if has else ''}; say which they are with --reference-classes "
            + ",".join(f"'{name}=VALUE'" if " " in name else f"{name}=VALUE" for name in lost)
        )
    return tuple(found.items()), notes


def value_of(option: str, given: int | str | None, target: LegendRows) -> int | None:
    """The class that a value or a name of a legend means; None for none."""
    if given is None or str(given).strip() == "":
        return None
    if is_class_value(given):
        return int(given)
    named = next(
        (value for value, name, _ in target if name.casefold() == str(given).strip().casefold()),
        None,
    )
    if named is None:
        has = ", ".join(f"{v}={name}" for v, name, _ in target)
        raise InputError(
            f"{option}: the map has no class {given}; {f'it has {has}' if has else 'give a value'}"
        )
    return named


def class_without_answer(given: Regrouping, legend: LegendRows) -> int | None:
    """The class of a map called Unknown, which is no answer; None where there is none, or where the
    regrouping speaks of it."""
    value = next((v for v, name, _ in legend if name.casefold() == UNKNOWN.casefold()), None)
    asked = {str(key).strip().casefold() for key in given}
    return None if asked & {UNKNOWN.casefold(), str(value)} else value


def is_class_value(text: int | str) -> bool:
    """Whether something names a class by its value."""
    return str(text).strip().lstrip("-").isdecimal()


def rows_with_names(path: str | Path) -> LegendRows:
    """The rows of a raster's own legend that give a name."""
    return [row for row in legend_of(path) if row[1] != str(row[0])]


def legend_for(values: Iterable[int], legend: LegendRows) -> LegendRows:
    """A row for each value, by its number where the legend does not know it."""
    rows = {value: (value, name, colour) for value, name, colour in legend}
    colours = {value: colour for value, _, colour in with_default_rows((), values)}
    return [rows.get(value, (value, f"Class {value}", colours[value])) for value in values]
