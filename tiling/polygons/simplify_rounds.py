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
import numpy.typing as npt

from tiling.io.spill import Map, load_arrays, save_arrays, write_batch
from tiling.polygons.attributes import Features, batch_of
from tiling.polygons.faces import failing
from tiling.polygons.lines import Mask
from tiling.polygons.measures import ClassRaster
from tiling.polygons.outlines import ragged_index
from tiling.polygons.simplify import Keys, arcs_of, simplify_arcs
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

    What travels from round to round are the lines that have to go back by a level, in a file: every
    task of a round looks for its own.
    """
    changed: Path | None = None
    for number in count():
        failed = chain.from_iterable(map(partial(check, lines, changed), finished))
        keys = np.unique(np.fromiter(failed, np.uint64))
        if not keys.size:
            break
        changed = Path(folder, f"changed-{number}.npy")
        save_arrays(changed, keys)
    return map(partial(draw, lines), finished)


def check(lines: Redraw, changed: Path | None, finished: Path) -> Keys:
    """Distinct keys of the lines that spoil polygons of a file; its lines and their levels are left
    beside it.

    In the first round all polygons are looked at, then those only whose lines changed in the round
    before.
    """
    rings = Features.read(finished).rings
    arcs = arcs_of(rings)
    if changed is None:
        levels = np.zeros(arcs.key.size, np.int8)
        outlines = simplify_arcs(arcs, lines.tolerance, levels, smooth=lines.smooth)
        save_arrays(_lines(finished), outlines.xy, outlines.rings, levels)
        return failing(outlines, rings, arcs, levels, lines.source.areas.geobox.affine)

    mine = _among(np.load(changed, mmap_mode="r"), arcs.key)
    if not mine.any():
        return np.empty(0, np.uint64)
    xy, offsets, levels = load_arrays(_lines(finished), 3)
    levels[mine] += 1
    face = np.repeat(np.arange(rings.regions.size - 1), np.diff(arcs.rings[rings.regions]))
    faces = distinct(face[mine])
    ring = ragged_index(rings.regions, faces)
    theirs, some = levels[ragged_index(arcs.rings, ring)], rings.where(faces)
    arcs = arcs_of(some)
    outlines = simplify_arcs(arcs, lines.tolerance, theirs, smooth=lines.smooth)
    save_arrays(
        _lines(finished), *_replace_rings(xy, offsets, ring, outlines.xy, outlines.rings), levels
    )
    return failing(outlines, some, arcs, theirs, lines.source.areas.geobox.affine)


def _among(known: Keys, keys: Keys) -> Mask:
    """True for each key that is among the known ones, which ascend."""
    near = known[
        np.searchsorted(known, keys.min()) : np.searchsorted(known, keys.max(), side="right")
    ]
    place = np.searchsorted(near, keys)
    found = place < near.size
    found[found] = near[place[found]] == keys[found]
    return found


def draw(lines: Redraw, finished: Path) -> Path:
    """A file with the batch of a file, with the lines that the last round left."""
    xy, rings, _ = load_arrays(_lines(finished), 3)
    batch = batch_of(lines.source, Features.read(finished), xy[:, 0], xy[:, 1], rings)
    return write_batch(finished.with_suffix(".arrow"), batch)


def _lines(finished: Path) -> Path:
    return finished.with_suffix(".lines.npy")


def _replace_rings(
    xy: npt.NDArray[np.float64],
    rings: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    new_xy: npt.NDArray[np.float64],
    new_rings: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices and offsets of rings, the chosen ones replaced."""
    source = np.arange(rings.size - 1)
    source[chosen] = rings.size - 1 + np.arange(chosen.size)
    both = np.append(rings, new_rings[1:] + rings[-1])
    sizes = np.diff(both)[source]
    return np.concatenate([xy, new_xy])[ragged_index(both, source)], np.append(0, np.cumsum(sizes))
