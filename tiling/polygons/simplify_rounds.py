"""Finished polygons drawn again with simplified and smoothed lines, in rounds until no line spoils
a polygon.

A line is a pure function of its own vertices (`tiling.polygons.simplify`), so neighbours agree on
it, whichever file they are in; one that spoils a polygon, in whatever file, goes back towards the
original in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path

import numpy as np

from tiling.io.spill import Map, save_arrays, write_batch
from tiling.polygons.attributes import Features, batch_of
from tiling.polygons.faces import failing
from tiling.polygons.lines import Mask
from tiling.polygons.measures import ClassRaster
from tiling.polygons.outlines import ragged_index
from tiling.polygons.simplify import Arcs, Keys, Levels, Outlines, arcs_of, simplify_arcs
from tiling.regions.components import distinct


@dataclass(frozen=True)
class Redraw:
    """How far lines may move from the pixels' edges, and how often their corners are cut."""

    source: ClassRaster
    tolerance: float
    """Pixels by which they may move."""
    smooth: int
    """How often their corners are cut."""


def simplify_in_rounds(
    lines: Redraw, finished: Sequence[Path], folder: Path, map: Map
) -> Iterable[Path]:
    """Files with the batches, after rounds until no line spoils a polygon; the last level of a line
    is its original.

    What travels from round to round are the lines that have to go back by a level, in a file for
    each round: every task looks for its own. Few files have any, so each is drawn as soon as it is
    looked at, and again in the end where lines of it went back.
    """
    changed: tuple[Path, ...] = ()
    for number in count():
        failed = chain.from_iterable(map(partial(check, lines, changed), finished))
        keys = np.unique(np.fromiter(failed, np.uint64))
        if not keys.size:
            break
        changed += (Path(folder, f"changed-{number}.npy"),)
        save_arrays(changed[-1], keys)
    return map(partial(draw, lines, changed), finished)


def check(lines: Redraw, changed: Sequence[Path], finished: Path) -> Keys:
    """Distinct keys of the lines that spoil polygons of a file, after rounds that `changed` some.

    In the first round all polygons are looked at, and drawn; then those only whose lines changed in
    the round before.
    """
    features = Features.read(finished)
    rings, arcs = features.rings, arcs_of(features.rings)
    levels = _levels(arcs, changed)
    if changed:
        mine = _levels(arcs, changed[-1:]) > 0
        if not mine.any():
            return np.empty(0, np.uint64)
        face = np.repeat(np.arange(rings.regions.size - 1), np.diff(arcs.rings[rings.regions]))
        faces = distinct(face[mine])
        levels = levels[ragged_index(arcs.rings, ragged_index(rings.regions, faces))]
        rings = rings.where(faces)
        arcs = arcs_of(rings)
    outlines = simplify_arcs(arcs, lines.tolerance, levels, smooth=lines.smooth)
    if not changed:
        _write(lines, finished, features, outlines)
    return failing(outlines, rings, arcs, levels, lines.source.areas.geobox.affine)


def _levels(arcs: Arcs, changed: Sequence[Path]) -> Levels:
    """`(n,)` level of each line: in how many rounds it was among those that had to go back."""
    levels = np.zeros(arcs.key.size, np.int8)
    for keys in changed:
        levels += _among(np.load(keys, mmap_mode="r"), arcs.key)
    return levels


def _among(known: Keys, keys: Keys) -> Mask:
    """True for each key that is among the known ones, which ascend."""
    near = known[
        np.searchsorted(known, keys.min()) : np.searchsorted(known, keys.max(), side="right")
    ]
    place = np.searchsorted(near, keys)
    found = place < near.size
    found[found] = near[place[found]] == keys[found]
    return found


def draw(lines: Redraw, changed: Sequence[Path], finished: Path) -> Path:
    """A file with the batch of a file, its lines as they are after rounds that `changed` some."""
    if changed:
        features = Features.read(finished)
        arcs = arcs_of(features.rings)
        levels = _levels(arcs, changed)
        if levels.any():
            outlines = simplify_arcs(arcs, lines.tolerance, levels, smooth=lines.smooth)
            _write(lines, finished, features, outlines)
    return _batch(finished)


def _write(lines: Redraw, finished: Path, features: Features, outlines: Outlines) -> None:
    x, y = outlines.xy.T
    write_batch(_batch(finished), batch_of(lines.source, features, x, y, outlines.rings))


def _batch(finished: Path) -> Path:
    return finished.with_suffix(".arrow")
