"""Which labels a model learns from and which it is judged by: whole blocks, shapes or scenes, never
pixels at random.

Neighbouring pixels are alike, so a pixel drawn at random from among the training pixels is no test:
it is nearly known (Roberts et al. 2017, doi:10.1111/ecog.02881; Ploton et al. 2020,
doi:10.1038/s41467-020-18321-y).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import sqrt
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.access import is_there
from tiling.labels.base import Classes, Labels
from tiling.labels.raster_labels import codes_on_grid
from tiling.labels.vector_labels import ShapeLabels

TRAIN, VALIDATION, TEST = 1, 2, 3
"""Parts; 0 is neither."""

PARTS: Mapping[str, int] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
GIVEN: Mapping[str, int] = {"train": 1, "test": 2, "validation": 3}
"""What the values of a split raster mean, unless told otherwise."""

HELD_OUT = 0.2
"""Share of each class that validates."""
_BLOCKS = 40
"""Blocks that labels are cut into, about: enough to share rare classes out, large enough to be
apart."""
_LONGEST_BLOCK = 512
_FEW_SHAPES = 500
"""Up to so many shapes each is a unit of its own; of more, blocks are."""
_CELLS = 1024
"""Cells along the longer side of a scene in which labels are counted before the blocks are chosen,
at most."""

_LOOK = 1024
"""Side of the windows in which a given raster is looked for, in pixels."""

How = Literal["blocks", "shapes", "scenes"]
Unit = tuple[int, int]
"""Number of the scene, number of the block or shape in it; scenes count from 0."""
Counts = dict[Unit, npt.NDArray[np.int64]]
"""`(class value,)` labelled pixels of each unit; all of one length."""
Tally = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""The same of one scene where units are many: `256 × unit + class value`, ascending, and how many
pixels each has."""


@dataclass(frozen=True, eq=False)
class Split:
    """The labels of one scene, and to which part each belongs; read window by window."""

    labels: Labels
    block: int
    """Side of the blocks in pixels; 0 where the units are shapes, or all the scene is one."""
    held: frozenset[int] = field(default_factory=frozenset)
    """Units that validate."""
    buffer: int = 0
    """Training pixels nearer than this to a held one are nobody's."""
    given: str = ""
    """A raster that says which part a pixel belongs to."""
    values: Mapping[str, int] = field(default_factory=lambda: dict(GIVEN))
    """What its values mean."""

    def read(self, window: Window) -> tuple[Classes, npt.NDArray[np.uint8]]:
        """Classes and parts, both `(y, x) uint8`; no part without a class."""
        from scipy.ndimage import maximum_filter

        wide = window.pad(self.buffer)
        units = self.units(wide)
        classes, part = self.labels.read(wide), self.parts(wide)
        held = (part == TRAIN) & np.isin(units, list(self.held)) & (classes > 0)
        part[held] = VALIDATION
        if self.buffer and held.any():
            near = maximum_filter(held, 2 * self.buffer + 1, mode="constant")
            part[near & (part == TRAIN)] = 0
        at = window.within(wide)
        classes, part = classes[at], part[at]
        part[classes == 0] = 0
        return classes, part

    def parts(self, window: Window) -> npt.NDArray[np.uint8]:
        """`(y, x) uint8`: the part a given raster says, TRAIN everywhere without one."""
        part = np.full(window.shape, 0 if self.given else TRAIN, np.uint8)
        inside = window & Window.of_shape(*self.labels.geobox.shape)
        if self.given and inside:
            codes, known = codes_on_grid(self.given, self.labels.geobox, None, inside)
            there = part[inside.within(window)]
            for name, value in self.values.items():
                there[known & (codes == value)] = PARTS[name]
        return part

    def units(self, window: Window) -> npt.NDArray[np.int64]:
        """`(y, x) int64`: the number of the unit a pixel belongs to."""
        if self.block:
            rows, cols = (np.arange(start, stop) // self.block for start, stop in window.ranges)
            return (rows[:, None] * _across(self.labels, self.block) + cols).astype(np.int64)
        if isinstance(self.labels, ShapeLabels):
            return self.labels.owners(window).astype(np.int64)
        return np.zeros(window.shape, np.int64)


@dataclass(frozen=True)
class Splitting:
    """How the labels of all scenes were split."""

    scenes: tuple[Split, ...]
    how: str
    """In words, for the card."""
    notes: tuple[str, ...]
    """What a person should know of it."""


def split_labels(
    labels: Sequence[Labels],
    how: str = "",
    *,
    values: Mapping[str, int] | None = None,
    share: float = HELD_OUT,
    buffer: int | None = None,
    seed: int = 0,
) -> Splitting:
    """The split of all scenes' labels, drawn so that each class that can be is in both parts.

    `how` is blocks, shapes or scenes, the path of a raster on which `values` mark train, validation
    and test, or empty: shapes where there are few, blocks else. A raster without validation gets
    its validation from blocks of its training part.
    """
    given = _given_raster(labels, how, values)
    drawn = [Split(one, 0, given=given, values=dict(values or GIVEN)) for one in labels]
    if given and VALIDATION in _parts_given(drawn[0]):
        return Splitting(tuple(drawn), f"given by {Path(given).name}", ())
    kind = cast(How, how) if how and not given else _kind(labels, given)
    drawn, counts, words, buffer = _units(drawn, kind, buffer)
    held_out = stratify(counts, share, seed)
    scenes = tuple(
        replace(
            one,
            held=frozenset(unit for scene, unit in held_out if scene == number),
            buffer=buffer,
            given=given,
        )
        for number, one in enumerate(drawn)
    )
    how_drawn = f"{len(held_out)} of {len(counts)} {words} validate"
    how_drawn += f", {buffer} px around them left out"
    if given:
        how_drawn = f"given by {Path(given).name}; in its training part {how_drawn}"
    return Splitting(
        scenes,
        how_drawn,
        _notes_on(labels, counts, held_out, words),
    )


def _given_raster(labels: Sequence[Labels], how: str, values: Mapping[str, int] | None) -> str:
    """The raster that parts the labels; empty where units are drawn. `InputError` for what is
    neither."""
    if how == "random":
        raise InputError(
            "--split random is refused: neighbouring pixels are nearly the same, so pixels drawn "
            "at random judge a model by what it has seen; use blocks, shapes, scenes or a split "
            "raster"
        )
    given = how if how and how not in ("blocks", "shapes", "scenes") else ""
    if given and not is_there(given):
        raise InputError(f"--split {how} is neither a file nor one of blocks, shapes, scenes")
    if given and len(labels) > 1:
        raise InputError(
            f"--split {how} is a raster of one scene, and there are {len(labels)}; use blocks or "
            "scenes"
        )
    if values and not given:
        pairs = ",".join(f"{part}={value}" for part, value in values.items())
        raise InputError(
            f"--split-values {pairs}: there is no split raster whose values these are; give one "
            "with --split"
        )
    if odd := sorted(set(values or ()) - set(PARTS)):
        raise InputError(
            f"--split-values {odd[0]}=…: there is no such part; there are {', '.join(PARTS)}"
        )
    return given


def _parts_given(split: Split) -> set[int]:
    """The parts that a split raster marks on labels; `InputError` where nothing is left to train
    on."""
    parts = _part_values(split)
    if TRAIN in parts:
        return parts
    if not _reaches(split):
        raise InputError(
            f"--split {split.given} lies outside the scene, or is no data there; give one of the "
            "same place"
        )
    raise InputError(
        f"--split {split.given} marks no labelled pixel for training; say what its values mean, "
        "for example --split-values train=1,test=2"
    )


def _notes_on(
    labels: Sequence[Labels], counts: Counts, held_out: frozenset[Unit], words: str
) -> tuple[str, ...]:
    """What a person should know of units drawn to validate."""
    if not held_out:
        why = "there is but one unit" if len(counts) < 2 else "no class is in two units"
        return (f"nothing validates: {why} to split ({words}); give more labels or --split",)
    names = {value: name for one in labels for value, name, _ in one.rows}
    return tuple(
        f"{names.get(value, value)} is in one part of the split only: too few {words}"
        for value in _alone(counts, held_out)
    )


def _kind(labels: Sequence[Labels], given: str) -> How:
    shapes = [len(one.shapes) for one in labels if isinstance(one, ShapeLabels)]
    return (
        "shapes"
        if len(shapes) == len(labels) and sum(shapes) <= _FEW_SHAPES and not given
        else "blocks"
    )


def _part_values(split: Split) -> set[int]:
    found: set[int] = set()
    for window in split.labels.windows():
        found.update(np.unique(split.parts(window)[split.labels.read(window) > 0]).tolist())
    return found


def _reaches(split: Split) -> bool:
    """Whether the given raster says anything of the scene."""
    grid = split.labels.geobox
    windows = Window.of_shape(*grid.shape).blocks(_LOOK)
    return any(codes_on_grid(split.given, grid, None, window)[1].any() for window in windows)


def _units(
    drawn: Sequence[Split], kind: How, buffer: int | None
) -> tuple[list[Split], Counts, str, int]:
    """The splits with their units, how much of each class each unit holds, what units are called,
    and the buffer."""
    if kind == "scenes" or (
        kind == "shapes" and not all(isinstance(one.labels, ShapeLabels) for one in drawn)
    ):
        if kind == "shapes":
            raise InputError(f"--split shapes: {drawn[0].labels.path} is a raster; use blocks")
        # The whole scene is unit 0.
        whole = [
            Split(one.labels, max(one.labels.geobox.shape), given=one.given, values=one.values)
            for one in drawn
        ]
        return whole, _counts(map(_tally, whole)), "scenes", 0
    if kind == "shapes":
        return list(drawn), _counts(map(_tally, drawn)), "shapes", 2 if buffer is None else buffer
    longest = max(max(one.labels.geobox.shape) for one in drawn)
    cell = 8
    while longest > cell * _CELLS:
        cell *= 2
    fine = [_tally(Split(one.labels, cell, given=one.given, values=one.values)) for one in drawn]
    cells = sum(len(np.unique(keys // 256)) for keys, _ in fine)
    times = min(max(1, round(sqrt(cells / _BLOCKS))), max(1, _LONGEST_BLOCK // cell))
    block = cell * times
    coarse = [Split(one.labels, block, given=one.given, values=one.values) for one in drawn]
    counts = _counts(
        _coarser(tally, one.labels, cell, times) for tally, one in zip(fine, drawn, strict=True)
    )
    return coarse, counts, f"blocks of {block} px", max(1, block // 8) if buffer is None else buffer


def _across(labels: Labels, block: int) -> int:
    """Blocks in a row of a scene."""
    return -(-int(labels.geobox.width) // block) + 2  # a margin may reach past the raster


def _tally(split: Split) -> Tally:
    """Labelled training pixels of each class in each unit of a scene."""
    found: list[Tally] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for window in split.labels.windows():
        classes = split.labels.read(window)
        use = (classes > 0) & (split.parts(window) == TRAIN)
        found.append(np.unique(split.units(window)[use] * 256 + classes[use], return_counts=True))
    return _merge_tallies(found)


def _merge_tallies(tallies: Sequence[Tally]) -> Tally:
    """One tally of several, in which a key may be found more than once."""
    keys, pixels = (np.concatenate(arrays) for arrays in zip(*tallies, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, pixels = keys[order], pixels[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[first], np.add.reduceat(pixels, first) if len(first) else pixels


def _coarser(tally: Tally, labels: Labels, cell: int, times: int) -> Tally:
    """The tally of blocks of `times` × `times` cells, from that of the cells."""
    keys, pixels = tally
    units, values = keys // 256, keys % 256
    rows, cols = units // _across(labels, cell), units % _across(labels, cell)
    return _merge_tallies(
        [((rows // times * _across(labels, cell * times) + cols // times) * 256 + values, pixels)]
    )


def _counts(tallies: Iterable[Tally]) -> Counts:
    """The tallies of all scenes, unit by unit."""
    of_scenes = list(tallies)
    length = 1 + max((int((keys % 256).max()) for keys, _ in of_scenes if len(keys)), default=0)
    counts: Counts = {}
    for scene, (keys, pixels) in enumerate(of_scenes):
        for key, number in zip(keys.tolist(), pixels.tolist(), strict=True):
            unit, value = divmod(key, 256)
            counts.setdefault((scene, unit), np.zeros(length, np.int64))[value] = number
    return counts


def stratify(counts: Counts, share: float, seed: int = 0) -> frozenset[Unit]:
    """Units to hold out, so that about `share` of each class is in them and every class of two
    units is on both sides.

    Iterative stratification (after Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10): the
    rarest class is shared out first, each unit to the side that lacks most of what is in it. A pure
    function of the counts and the seed.
    """
    units = sorted(counts, key=lambda unit: _lot(unit, seed))
    if len(units) < 2:
        return frozenset()
    table = np.array([counts[unit] for unit in units], float)
    table = table[:, table.any(axis=0)]
    table /= table.sum(axis=0)
    # of each class, how much of what it shall have a side still lacks
    lacks = np.ones((2, table.shape[1]))
    side = np.full(len(units), -1)
    while (free := side < 0).any():
        holders = (table[free] > 0).sum(axis=0).astype(float)
        rarest = int(np.argmin(np.where(holders > 0, holders, np.inf)))
        having = np.flatnonzero(free & (table[:, rarest] > 0))
        for unit in having[np.argsort(-table[having, rarest], kind="stable")]:
            held_out, trains = lacks @ table[unit]
            side[unit] = int(trains >= held_out)
            lacks[side[unit]] -= table[unit] / (share, 1 - share)[side[unit]]
    _both_sides(table, side)
    return frozenset(unit for unit, where in zip(units, side, strict=True) if where == 0)


def _both_sides(table: npt.NDArray[np.float64], side: npt.NDArray[np.int_]) -> None:
    """Move units so that a class of two units or more lacks on neither side; what trains goes
    first."""
    for value in np.argsort((table > 0).sum(axis=0), kind="stable"):
        for lacking in (1, 0):
            having = np.flatnonzero(table[:, value] > 0)
            if len(having) < 2 or (side[having] == lacking).any():
                continue
            # The smallest whose leaving takes no class away from where it is.
            for unit in having[np.argsort(table[having].sum(axis=1), kind="stable")]:
                rest = (table[(side == side[unit]) & (np.arange(len(side)) != unit)] > 0).any(
                    axis=0
                )
                if (rest | (table[unit] == 0) | ((table > 0).sum(axis=0) < 2)).all():
                    side[unit] = lacking
                    break


def _alone(counts: Counts, held: frozenset[Unit]) -> list[int]:
    """Class values that are on one side only."""
    inside = sum(counts[unit] for unit in held)
    outside = sum(found for unit, found in counts.items() if unit not in held)
    return np.flatnonzero((inside > 0) != (outside > 0)).tolist()


def _lot(unit: Unit, seed: int) -> bytes:
    return blake2b(f"{seed}:{unit[0]},{unit[1]}".encode(), digest_size=8).digest()
