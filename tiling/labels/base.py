"""Labels on a scene's grid, whatever they are read from, and the names and colours of their
classes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.classmaps.legend import LegendRow, rgb, with_default_rows
from tiling.errors import InputError
from tiling.grid.window import Window

COLOURS: tuple[tuple[str, str], ...] = (
    ("water|river|lake|sea|ocean|subtidal", "#3b7dd8"),
    ("tree|forest|wood|canopy", "#2f7d3b"),
    ("wetland|marsh|swamp|mangrove", "#6fb3a5"),
    ("shrub|bush", "#7da453"),
    ("crop|field|agric|farm|cultivat", "#e0c766"),
    ("grass|herb|meadow|pasture|low veg", "#a8d36a"),
    ("road|paved", "#8a8a8a"),
    ("urban|built|building|impervious|town|settlement|develop", "#d6453d"),
    ("sand|beach", "#eadcb0"),
    ("bare|barren|soil|rock|quarry", "#b9a48c"),
    ("snow|ice|glacier", "#e8f4fb"),
    ("cloud", "#c9c9c9"),
)
"""Colours that a reader expects, by what a class is called; the first pattern that is in the name
counts."""

_ALIKE = 3 * 20**2
"""Squared distance of two colours, in red, green and blue, below which a reader takes one for the
other."""

BLOCK = 1024
"""Side of the windows that are looked at, in pixels."""

Classes = npt.NDArray[np.uint8]
Owners = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Labels(ABC):
    """Classes on a scene's grid, read window by window."""

    path: str
    geobox: GeoBox
    rows: tuple[LegendRow, ...]
    """The classes found, as `(value, name, colour)` with values 1…254."""
    notes: tuple[str, ...]
    """What a person should know of how the file was read."""

    @abstractmethod
    def read(self, window: Window) -> Classes:
        """`(y, x) uint8`: a value of `rows`, 0 = unlabelled; the window may reach past the
        scene."""

    def windows(self) -> Iterable[Window]:
        """Windows that hold all labels between them, none of them twice."""
        return Window.of_shape(*self.geobox.shape).blocks(BLOCK)


def legend_of_classes(
    path: str, found: Mapping[int, str], classes: Mapping[int, str], regroup: Mapping[int, int]
) -> tuple[dict[int, int], tuple[LegendRow, ...]]:
    """Foreign values to ours, and the legend of what remains, out of the values found and their
    names."""
    for what, asked in (
        ("--regroup", regroup),
        ("--classes", {c: n for c, n in classes.items() if not regroup}),
    ):
        odd = sorted(set(asked) - set(found))
        if odd and (what == "--regroup" or len(odd) == len(asked)):
            raise InputError(
                f"{what} {odd[0]}=…: {path} has no such class here; it has {_list_names(found)}"
            )
    merged = {code: regroup.get(code, code) for code in found}
    kept = {code: target for code, target in merged.items() if not classes or target in classes}
    targets = sorted(set(kept.values()))
    if not targets:
        raise InputError(
            f"{path} labels no pixel of the scene; check that both show the same place, and its "
            "no data"
        )
    if len(targets) > 254:
        raise InputError(
            f"{path} has {len(targets)} classes, and a map holds up to 254; merge some with "
            "--regroup"
        )
    fits = targets[0] >= 1 and targets[-1] <= 254
    ours = {target: target if fits else number for number, target in enumerate(targets, 1)}
    names = {
        ours[target]: classes.get(target) or found.get(target) or str(target) for target in targets
    }
    plain = {value: colour for value, _, colour in with_default_rows((), names)}
    rows = tuple(
        (value, name, _colour(name) or plain[value]) for value, name in sorted(names.items())
    )
    return {code: ours[target] for code, target in kept.items()}, _apart(rows)


def _list_names(found: Mapping[int, str]) -> str:
    return ", ".join(
        f"{code} ({name})" if name != str(code) else name for code, name in found.items()
    )


def _colour(name: str) -> str | None:
    return next((colour for pattern, colour in COLOURS if re.search(pattern, name.lower())), None)


def _apart(rows: tuple[LegendRow, ...]) -> tuple[LegendRow, ...]:
    """Rows whose colours differ: one too like an earlier one gets a colour unlike all others."""
    others = [colour for _, _, colour in with_default_rows((), range(1, 64))]
    made: list[LegendRow] = []
    for number, (value, name, colour) in enumerate(rows):
        before, after = ([known for _, _, known in some] for some in (made, rows[number + 1 :]))
        alike = bool(before) and _nearest(colour, before) < _ALIKE
        own = max(others, key=lambda c: _nearest(c, [*before, *after])) if alike else colour
        made.append((value, name, own))
    return tuple(made)


def _nearest(colour: str, taken: Sequence[str]) -> int:
    """Distance to the nearest of other colours, in red, green and blue."""
    channels = [np.array(rgb(other), int) for other in (colour, *taken)]
    return min((int(np.sum((channels[0] - other) ** 2)) for other in channels[1:]), default=0)
