"""What each pixel was and is, as one number: pairs of values counted, classes brought together,
codes written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.assessment.reclassify import is_class_value
from flows.change.map_pair import MapSource, Pair, read
from tiling.classmaps.legend import with_default_rows
from tiling.classmaps.raster import NO_CONFIDENCE, open_classes
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas, sum_by
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset

BASE = 100
"""A code is 100 × class before + class now, so that a person can read it: 205 was class 2 and is 5;
202 stayed 2."""


CODES = BASE * BASE
DENSE = 1 << 20
"""So many different pairs of values are counted in a table; more are sorted."""


@dataclass(frozen=True)
class PairCounts:
    """What the first pass saw: pixels and units of `PixelAreas`, Python's integers, exact in any
    order."""

    pairs: Mapping[tuple[int, int], tuple[int, int]]
    """Of each pair of values, earlier and later, where both are sure."""
    unsure: tuple[int, int] = (0, 0)
    only_earlier: tuple[int, int] = (0, 0)
    only_later: tuple[int, int] = (0, 0)

    def __add__(self, other: PairCounts) -> PairCounts:
        pairs = dict(self.pairs)
        for key, counts in other.pairs.items():
            pairs[key] = _plus(pairs.get(key, (0, 0)), counts)
        return PairCounts(
            pairs,
            _plus(self.unsure, other.unsure),
            _plus(self.only_earlier, other.only_earlier),
            _plus(self.only_later, other.only_later),
        )


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def count_pairs(pair: Pair, window: Window) -> PairCounts:
    """First pass over a block: which values meet, and on how much of the Earth."""
    seen = read(pair, window)
    with open_classes(pair.later.path) as now:
        units = PixelAreas(geobox_of(now)).read(window)

    def measured(where: npt.NDArray[np.bool_]) -> tuple[int, int]:
        return int(np.count_nonzero(where)), int(units[where].sum())

    both = seen.had & seen.has
    counted = both & seen.sure
    return PairCounts(
        _pairs(seen.before[counted], seen.now[counted], units[counted]),
        measured(both & ~seen.sure),
        measured(seen.had & ~seen.has),
        measured(seen.has & ~seen.had),
    )


def _pairs(
    before: npt.NDArray[np.integer], now: npt.NDArray[np.integer], units: npt.NDArray[np.int64]
) -> dict[tuple[int, int], tuple[int, int]]:
    if not before.size:
        return {}
    one, other = before.astype(np.int64), now.astype(np.int64)
    low, lowest = int(one.min()), int(other.min())
    span = int(other.max()) - lowest + 1
    key = (one - low) * span + (other - lowest)
    if int(key.max()) < DENSE:
        pixels, square = np.bincount(key), sum_by(key, units, int(key.max()) + 1)
        keys = np.flatnonzero(pixels)
        pixels, square = pixels[keys], square[keys]
    else:
        keys, place = np.unique(key, return_inverse=True)
        pixels, square = np.bincount(place), sum_by(place, units, keys.size)
    return {
        (int(k) // span + low, int(k) % span + lowest): (int(n), int(a))
        for k, n, a in zip(keys, pixels, square, strict=True)
    }


# ------------------------------------------------------------------------------------------ classes


@dataclass(frozen=True)
class Classes:
    """The classes that both maps are compared in, and what the values of either become."""

    rows: tuple[tuple[int, str, str], ...]
    """Number 1 … 99, name and colour of each."""
    earlier: Mapping[int, int]
    """The number of each value; a value without one is left out."""
    later: Mapping[int, int]
    notes: tuple[str, ...] = ()


def match_classes(
    earlier: MapSource, later: MapSource, regrouping: Mapping[str, str], found: PairCounts
) -> Classes:
    """The classes of two maps, brought together by name.

    A map without names takes the other's, value by value. Raises `InputError` where one map shows a
    class that the other does not know. Classes keep the later map's values where these are 1 … 99,
    else they are numbered.
    """
    sides = {"earlier": earlier, "later": later}
    rows, notes = _share_names(sides)
    values = {"earlier": {a for a, _ in found.pairs}, "later": {b for _, b in found.pairs}}
    names = _name_values(rows, values, regrouping)
    _check_known(sides, names, values)
    # Only what occurs, in the later map's order.
    shown = {names[w][v].casefold() for w in names for v in values[w] if v in names[w]}
    spelt: dict[str, str] = {}
    for which in ("later", "earlier"):
        for value in sorted(names[which]):
            spelt.setdefault(names[which][value].casefold(), names[which][value])
    order = [key for key in spelt if key in shown]
    if len(order) >= BASE:
        raise InputError(
            f"{earlier.path} and {later.path} show {len(order)} classes; bring them to 99 with "
            "--classes"
        )
    number = _number_classes(order, names["later"])
    colours = _colour_classes(number, rows, names)
    numbers = {
        which: {v: number[key] for v, name in called.items() if (key := name.casefold()) in number}
        for which, called in names.items()
    }
    legend = sorted((number[key], spelt[key], colours[key]) for key in order)
    return Classes(tuple(legend), numbers["earlier"], numbers["later"], tuple(notes))


Names = Mapping[str, Mapping[int, str]]
"""Of either map, "earlier" and "later", what each value is called."""


def _share_names(
    sides: Mapping[str, MapSource],
) -> tuple[dict[str, list[tuple[int, str, str]]], list[str]]:
    """The legends of both maps; one without names takes the other's, and a note says so."""
    rows, notes = {which: list(side.rows) for which, side in sides.items()}, []
    for one, other in (("earlier", "later"), ("later", "earlier")):
        if rows[other] and not rows[one]:
            rows[one] = rows[other]
            notes.append(
                f"{sides[one].name} names no classes; its values are taken for those of "
                f"{sides[other].name}"
            )
    return rows, notes


def _name_values(
    rows: Mapping[str, Sequence[tuple[int, str, str]]],
    values: Mapping[str, set[int]],
    regrouping: Mapping[str, str],
) -> dict[str, dict[int, str]]:
    """What each value counts as; those left out have no name."""
    known = {which: {value: name for value, name, _ in rows[which]} for which in rows}
    names = {
        which: {v: known[which].get(v, str(v)) for v in values[which] | set(known[which])}
        for which in rows
    }
    counted_as = _regroup(regrouping, names)
    return {
        which: {v: new for v, name in called.items() if (new := counted_as(v, name))}
        for which, called in names.items()
    }


def _check_known(
    sides: Mapping[str, MapSource], names: Names, values: Mapping[str, set[int]]
) -> None:
    """Raise `InputError` where one map shows a class that the other does not know."""
    for one, other in (("earlier", "later"), ("later", "earlier")):
        theirs = {name.casefold() for name in names[other].values()}
        shown = {names[one][value] for value in values[one] if value in names[one]}
        if strange := sorted(name for name in shown if name.casefold() not in theirs):
            knows = ", ".join(dict.fromkeys(names[other].values())) or "no classes"
            raise InputError(
                f"{sides[one].path} shows {', '.join(strange)}, which {sides[other].path} does "
                f"not know (it has {knows}); say what they count as on both maps: "
                f"--classes '{strange[0]}=NAME', or leave them out: '{strange[0]}='"
            )


def _number_classes(order: Sequence[str], later: Mapping[int, str]) -> dict[str, int]:
    """A number 1 … 99 of each class: the later map's values if all are such, else its place."""
    own = {key: next((v for v in sorted(later) if later[v].casefold() == key), 0) for key in order}
    if all(0 < value < BASE for value in own.values()):
        return own
    return {key: place for place, key in enumerate(order, start=1)}


def _colour_classes(
    number: Mapping[str, int], rows: Mapping[str, Sequence[tuple[int, str, str]]], names: Names
) -> dict[str, str]:
    """The colour of each class: the later map's, else the earlier's, else one for its number."""
    known = {
        names[w][v].casefold(): c
        for w in ("earlier", "later")
        for v, _, c in rows[w]
        if v in names[w]
    }
    spare = {value: colour for value, _, colour in with_default_rows((), number.values())}
    return {key: known.get(key, spare[value]) for key, value in number.items()}


def hiding(
    names: Iterable[str], regrouping: Mapping[str, str], sides: Iterable[MapSource]
) -> tuple[str, ...]:
    """Names that are classes of either map and that a person does not name, by text or value."""
    rows = [row for side in sides for row in side.rows]
    asked = {key.strip().casefold() for key in regrouping}
    asked |= {name.casefold() for value, name, _ in rows if str(value) in asked}
    held = {name.casefold() for _, name, _ in rows} - asked
    return tuple(name for name in names if name.casefold() in held)


def _regroup(
    regrouping: Mapping[str, str], names: Mapping[str, Mapping[int, str]]
) -> Callable[[int, str], str]:
    """A function from a class, by value and name, to the name it counts as; empty where it is left
    out."""
    by_name: dict[str, str] = {}
    by_value: dict[int, str] = {}
    everyone = {name.casefold() for called in names.values() for name in called.values()}
    later = names["later"]
    for key, given in regrouping.items():
        new = given.strip()
        if is_class_value(new) and int(new) in later:
            new = later[int(new)]
        if key.strip().casefold() in everyone:
            by_name[key.strip().casefold()] = new
        elif is_class_value(key) and any(int(key) in called for called in names.values()):
            by_value[int(key)] = new
        else:
            has = ", ".join(
                dict.fromkeys(name for called in names.values() for name in called.values())
            )
            raise InputError(f"--classes: neither map has a class {key}; there are {has or 'none'}")
    return lambda value, name: by_name.get(name.casefold(), by_value.get(value, name))


# ---------------------------------------------------------------------------------------- the codes


@dataclass(frozen=True)
class Encoding:
    """What the second pass has to know."""

    pair: Pair
    classes: Classes


def encode(
    coding: Encoding, window: Window
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8] | None]:
    """Second pass over a block: the code of each pixel, 0 where it is not compared; and the lower
    confidence."""
    seen = read(coding.pair, window)
    before = _numbers(seen.before, coding.classes.earlier)
    now = _numbers(seen.now, coding.classes.later)
    there = seen.had & seen.has & seen.sure & (before > 0) & (now > 0)
    codes = np.where(there, before * BASE + now, 0).astype(np.uint16)
    confidence = None
    if seen.confidence is not None:
        confidence = np.where(is_change(codes), seen.confidence, NO_CONFIDENCE).astype(np.uint8)
    return codes, confidence


def _numbers(values: npt.NDArray[np.integer], number: Mapping[int, int]) -> npt.NDArray[np.int32]:
    known = np.array(sorted(number), np.int64)
    numbers = np.array([number[value] for value in known.tolist()], np.int32)
    place = np.minimum(np.searchsorted(known, values), known.size - 1)
    return np.where(known[place] == values, numbers[place], 0).astype(np.int32)


def is_change(codes: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """True where a code says that the class changed."""
    differs: npt.NDArray[np.bool_] = codes % (BASE + 1) != 0
    return differs


def count_codes(
    raster: Path, window: Window
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The codes that occur in a block, and `(2, codes)` pixels and area units of each."""
    with open_dataset(str(raster)) as source:
        codes = source.read(1, window=window.ranges)
        units = PixelAreas(geobox_of(source)).read(window)
    counts = np.stack(
        [np.bincount(codes.ravel(), minlength=CODES), sum_by(codes.ravel(), units.ravel(), CODES)]
    )
    there = np.flatnonzero(counts[0])
    return there, counts[:, there]
