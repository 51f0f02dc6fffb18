"""The zone of each pixel of each field, window by window: whose it is ▸ a sample ▸ a fit for each
field ▸ its zone.

A field's zones follow from its own pixels alone. Of a large one every n-th pixel in both directions
is looked at for the fit, on a lattice that begins at the first pixel of the grid; then each pixel
gets its zone. So no window, worker or order shows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flows.composite.images import Images
from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items
from flows.plan.part_key import scene_facts
from flows.products.index_measures import IndexMeasure, in_ten_thousandths
from flows.storage.kept_parts import make_missing, part_path
from flows.storage.keys import content_key
from flows.timeseries.blocks import cut_grid
from segmentation.classical.field_zones import ZoneMethod, Zones, fit_zones
from tiling.classmaps.zonal_areas import UNIT, Edges, Outlines, coverage, repeat_and_count
from tiling.grid.window import Window
from tiling.io.spill import (
    Slice,
    Spilled,
    bucket_of,
    bucket_starts,
    by_bucket,
    fetch,
    load_arrays,
    save_arrays,
    spill,
)

PIXELS = 2**20
"""Of a window that is read at once, unless one block is larger."""
MOST = 2**17
"""Pixels of a field that its zones are fitted on, about; of a larger one every n-th in both
directions."""
BUCKET = 2**22
"""Pixels of several fields that are fitted on together."""
FARTHEST = 100_000
"""Ten-thousandths beyond which a value is cut off: sums of squares stay whole numbers of 64
bits."""


@dataclass(frozen=True, eq=False)
class ZonePlan:
    """What zones are made of. It travels to workers."""

    images: Images
    index: str
    sign: int
    k: int
    method: ZoneMethod
    usual: npt.NDArray[np.int32]
    """`(date, field)` the median of a field on a date, in ten-thousandths; `IndexMeasure.missing`
    where the date does not count for it."""
    step: npt.NDArray[np.int64]
    """`(field,)` of its pixels every how many-th is fitted on; 0 of a field without zones."""
    weight: npt.NDArray[np.int64]
    """`(field,)` how many pixels of it are fitted on, about."""

    @property
    def stride(self) -> int:
        """By how much the values of one field's zones lie above those of the field before."""
        return self.k + 1

    def key(self, shapes: str) -> str:
        """What tells the zones of these fields from any others."""
        facts = [scene_facts(scene, self.images.bands) for scene in self.images.scenes]
        return content_key(
            {
                "scenes": facts,
                "index": self.index,
                "zones": [self.k, self.method, MOST],
                "shapes": shapes,
                "usual": self.usual.tolist(),
                "step": self.step.tolist(),
            }
        )


class Owned(NamedTuple):
    """A window, and the file that says which field each of its pixels is of."""

    window: Window
    file: str


class Seen(NamedTuple):
    """The pixels of fields in a window."""

    row: npt.NDArray[np.intp]
    """In the window."""
    col: npt.NDArray[np.intp]
    field: npt.NDArray[np.int64]
    values: npt.NDArray[np.int32]
    """`(date, n)`; a date on which a pixel is not seen has its field's median."""
    counts: npt.NDArray[np.bool_]
    """`(date, n)` whether a date counts for the field."""


def window_bytes(dates: int) -> int:
    """What a worker takes for the zones of a window of so many dates: its values and medians,
    whether they count, and what is written."""
    return 2**28 + PIXELS * (10 * dates + 64)


def steps_of(sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Every how many-th pixel of fields of these sizes, in pixels, is fitted on."""
    return np.array([max(1, math.ceil(math.sqrt(size / MOST))) for size in sizes], np.int64)


def zone_windows(
    plan: ZonePlan,
    shapes: npt.NDArray[Any],
    key: str,
    work: Path,
    kept: Path,
    pool: Pool,
    progress: Progress,
    *,
    pixels: int = PIXELS,
) -> Iterator[tuple[Window, Path]]:
    """Windows with fields, each with a file of two arrays `(y, x) int32`: `stride` × (field + 1) +
    zone, 0 where there is none, and the mean of the index in ten-thousandths."""
    outlines = Outlines(shapes, plan.images.grid.affine)
    near = (
        (window, edges)
        for window in cut_grid(plan.images, pixels)
        if (edges := outlines.near(window)).zone.size
    )
    owned = [one for one in pool.map(partial(_own, str(work)), near) if one]
    known = part_path(kept, f"{key} fits", Window.of_shape(*plan.images.grid.shape))
    if not known.exists():
        save_fits(known, plan, fit_all(plan, owned, work, pool, progress))
    parts = [(one, part_path(kept, f"{key} zones", one.window)) for one in owned]
    done = make_missing(partial(_zone_window, plan, known), parts, pool.map)
    for one, file in zip(owned, report_items(done, "zones", len(parts), progress), strict=True):
        yield one.window, file


def _own(work: str, near: tuple[Window, Edges]) -> Owned | None:
    """The field of each pixel of the least window around fields, from 1; None where they only come
    near.

    A pixel is of the field that covers half of it or more; of two that do, of the one that covers
    more, then of the first.
    """
    window, edges = near
    covered = coverage(edges, window)
    half = 2 * covered.coverage >= UNIT
    run, col = repeat_and_count(covered.col[half], covered.length[half])
    if not run.size:
        return None
    row, zone, part = (one[half][run] for one in (covered.row, covered.zone, covered.coverage))
    order = np.lexsort((-zone, part))  # the last one to be written stays
    row, col, zone = row[order], col[order], zone[order]
    top, left = int(row.min()), int(col.min())
    least = Window(top, left, int(row.max()) + 1 - top, int(col.max()) + 1 - left)
    owner = np.zeros(least.shape, np.int32)
    owner[row - top, col - left] = zone + 1
    path = Path(work) / f"own-{least.row}-{least.col}-{least.height}-{least.width}.npy"
    save_arrays(path, owner)
    return Owned(least, str(path))


def read_fields(plan: ZonePlan, owned: Owned, *, sample: bool) -> Seen:
    """The pixels of fields that are seen on a date that counts; of a `sample` those to fit on."""
    window = owned.window
    (owner,) = load_arrays(Path(owned.file), 1)
    step = np.append(0, plan.step)[owner]
    there = step > 0
    if sample:
        rows, cols = np.ogrid[window.row : window.row_stop, window.col : window.col_stop]
        lattice = np.maximum(step, 1)
        there &= (rows % lattice == 0) & (cols % lattice == 0)
    row, col = np.nonzero(there)
    field = owner[row, col].astype(np.int64) - 1
    usual = plan.usual[:, field]
    counts = usual != IndexMeasure.missing
    values, seen = usual.copy(), np.zeros(field.size, bool)
    for date, scene in enumerate(plan.images.scenes):
        if not counts[date].any():
            continue
        chip = scene.read(window, plan.images.bands)
        found = in_ten_thousandths(plan.index, chip)[row, col]
        known = counts[date] & (found != IndexMeasure.missing)
        values[date, known] = np.clip(found[known], -FARTHEST, FARTHEST)
        seen |= known
    return Seen(row[seen], col[seen], field[seen], values[:, seen], counts[:, seen])


def fit_all(
    plan: ZonePlan, owned: Sequence[Owned], work: Path, pool: Pool, progress: Progress
) -> dict[int, Zones]:
    """The zones of each field that has any, by its number from 0."""
    fields = np.arange(plan.step.size)
    cuts = bucket_starts(fields, plan.weight, BUCKET)
    items = [(one, work / f"sample-{number}.npy") for number, one in enumerate(owned)]
    spilled = list(
        report_items(pool.map(partial(_sample, plan, cuts), items), "sample", len(items), progress)
    )
    buckets = by_bucket(spilled)
    found: dict[int, Zones] = {}
    fits = pool.map(partial(_fit, plan), [buckets[bucket] for bucket in sorted(buckets)])
    for some in report_items(fits, "fit", len(buckets), progress):
        found |= some
    return found


def _sample(plan: ZonePlan, cuts: npt.NDArray[np.int64], item: tuple[Owned, Path]) -> Spilled:
    """Write a window's pixels to fit on: field, place on the grid, values."""
    owned, path = item
    seen = read_fields(plan, owned, sample=True)
    width = plan.images.grid.shape[1]
    place = (seen.row + owned.window.row) * width + seen.col + owned.window.col
    rows = np.stack([seen.field, place, *seen.values.astype(np.int64)], axis=1)
    return spill(path, rows, bucket_of(seen.field, cuts))


def _fit(plan: ZonePlan, slices: Sequence[Slice]) -> dict[int, Zones]:
    """The zones of the fields of a bucket, each from its pixels in their order on the grid."""
    rows = fetch(slices)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    found = {}
    for some in np.split(rows, np.flatnonzero(np.diff(rows[:, 0])) + 1):
        if some.size:
            field = int(some[0, 0])
            dates = plan.usual[:, field] != IndexMeasure.missing
            found[field] = fit_zones(some[:, 2:].T[dates], plan.k, plan.method, plan.sign)
    return found


def save_fits(path: Path, plan: ZonePlan, fits: dict[int, Zones]) -> None:
    """Write the zones of fields, one after the other, as rows of numbers."""
    fields = sorted(fits)
    rows, sizes = [], []
    for field in fields:
        one = fits[field]
        mixture = one.weights is not None
        arrays = [one.mean, one.scale, one.centres, one.weights, one.precisions]
        rows.append(np.concatenate([np.ravel(part) for part in arrays if part is not None]))
        sizes.append((field, len(one.centres), one.mean.size, mixture, rows[-1].size))
    flat = np.concatenate(rows) if rows else np.empty(0)
    save_arrays(path, np.array(sizes, np.int64).reshape(-1, 5), flat, lasting=True)


def load_fits(path: Path, fields: Collection[int]) -> dict[int, Zones]:
    """The zones of these fields from a file that `save_fits` wrote."""
    sizes, flat = load_arrays(path, 2)
    found, starts = {}, np.cumsum(sizes[:, 4]) - sizes[:, 4]
    for (field, k, dates, mixture, length), start in zip(sizes.tolist(), starts, strict=True):
        if field not in fields:
            continue
        row = flat[start : start + length]
        mean, scale, centres, rest = np.split(row, np.cumsum([dates, dates, k * dates]))
        parts: list[Any] = [mean, scale, centres.reshape(k, dates)]
        if mixture:
            parts += [rest[:k], rest[k:].reshape(k, dates, dates)]
        found[field] = Zones(*parts)
    return found


def _zone_window(plan: ZonePlan, fits: Path, part: tuple[Owned, Path]) -> None:
    """Write the zones and the means of a window."""
    owned, path = part
    seen = read_fields(plan, owned, sample=False)
    known = load_fits(fits, {*np.unique(seen.field).tolist()})
    value, mean = np.zeros((2, *owned.window.shape), np.int32)
    order = np.argsort(seen.field, kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(seen.field[order])) + 1):
        if not some.size or (field := int(seen.field[some[0]])) not in known:
            continue
        dates = seen.counts[:, some[0]]
        values = seen.values[:, some][dates]
        at = seen.row[some], seen.col[some]
        zone = known[field].assign(values).astype(np.int64)
        value[at] = plan.stride * (field + 1) + zone
        mean[at] = np.rint(values.sum(axis=0, dtype=np.int64) / int(dates.sum()))
    save_arrays(path, value, mean, lasting=True)
